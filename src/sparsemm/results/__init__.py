"""Result files: schemas, atomic writes, provenance, resume. Works without torch."""
