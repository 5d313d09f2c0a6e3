"""Networks one looks through: pixels in, features or logits out."""
