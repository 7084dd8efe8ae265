"""The models shipped under data/models: tokenizer, architecture, training data and training recipe."""
