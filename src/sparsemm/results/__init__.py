"""Result files: schemas, atomic writes, provenance, resuming. No torch."""
