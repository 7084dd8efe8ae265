"""Decode kernels: attention of one step's queries over the ragged cache."""
