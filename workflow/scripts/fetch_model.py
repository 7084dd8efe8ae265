"""Fetch a model of the hub into the hub's own cache, and write down where it is."""

from job import job, say_fetches

with job(snakemake):
    from sparsemm.sources.fetching import fetch_model, write_marker
    from sparsemm.sources.lock import LOCK_FILE
    from sparsemm.sources.obtain import locked_source

    say_fetches()
    asked = snakemake.params.source
    source = locked_source(LOCK_FILE, "model", [asked["hub"]], asked["revision"])
    write_marker(snakemake.output.marker, source, fetch_model(source, asked["family"]))
