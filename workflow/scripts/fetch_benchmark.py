"""Fetch the split of a hub benchmark's data set, as it is, and index its images."""

from job import job, say_fetches

with job(snakemake):
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.benchmarks.fetching import fetch_rows
    from sparsemm.sources.lock import LOCK_FILE

    say_fetches()
    asked = snakemake.params.source
    benchmark = get_benchmark(snakemake.wildcards.benchmark)
    fetch_rows(benchmark.stored, benchmark.folder, LOCK_FILE, asked["hub"], asked["revision"])
