"""Visual heads: probe set, recorded attention, matching, visual scores, attention maps."""
