"""Side-by-side benchmarks, and their recorded results."""
