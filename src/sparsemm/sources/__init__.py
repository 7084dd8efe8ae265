"""Models and data sets of the hub: revisions locked once, files fetched and checked. No torch."""
