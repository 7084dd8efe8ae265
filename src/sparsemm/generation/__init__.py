"""Generation with a compressed cache: compress(), prefill, greedy loops, CUDA graphs."""
