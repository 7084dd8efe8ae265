"""The explorer: one page, explorer.html, in which a reader looks into a run; made from result files alone."""
