"""The embedded models: their documents, tokenizer, architecture and training recipe."""
