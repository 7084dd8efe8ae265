"""What tests share: tiny models, reference implementations, made-up results, guards."""
