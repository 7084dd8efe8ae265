"""Fetch the probe set's images from the hub to its folder, and write down what is there."""

from job import job, say_fetches

with job(snakemake):
    from sparsemm.sources.fetching import fetch_probe, write_marker
    from sparsemm.sources.lock import LOCK_FILE
    from sparsemm.sources.obtain import locked_source

    say_fetches()
    asked = snakemake.params.source
    source = locked_source(LOCK_FILE, "dataset", [asked["hub"]], asked["revision"])
    folder = fetch_probe(source, asked["split"], asked["folder"], asked["images"])
    write_marker(snakemake.output.marker, source, folder)
