"""One thin entry a DVC stage."""
