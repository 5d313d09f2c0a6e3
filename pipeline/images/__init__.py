"""Files to tensors: decoding, audit, split, the array store, the rendered sample, classifier transforms."""
