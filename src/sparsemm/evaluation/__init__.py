"""Benchmarks answered under every policy, and with heads masked."""
