"""A pretend CUDA device for tests on a CPU."""
