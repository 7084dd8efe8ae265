"""One prefill a sample, any number of policies decoded from it."""
