"""What tests share: tiny models, oracles, made-up results."""
