"""The process and its device: GPU lease, allocator, clock, peak memory, forked calls."""
