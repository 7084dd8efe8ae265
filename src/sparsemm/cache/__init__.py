"""The ragged KV cache: layers, the attention function that transformers calls, and the stores behind it."""
