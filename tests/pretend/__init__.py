"""A pretend CUDA device: CPU tensors that follow the rules of a GPU, for tests on machines without one."""
