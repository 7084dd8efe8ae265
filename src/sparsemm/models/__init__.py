"""Models: loading, sizes, inputs, the text decoder, head masks."""
