"""Generated pages, their words and fonts. No torch."""
