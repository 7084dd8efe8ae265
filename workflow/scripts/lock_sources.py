"""Resolve every model and data set of the configuration on the hub, and write the lock file. Downloads nothing else."""

from job import job, say_fetches

with job(snakemake):
    from sparsemm.benchmarks.named import named_sources
    from sparsemm.errors import InputError
    from sparsemm.sources.lock import LOCK_FILE, write_lock
    from sparsemm.sources.obtain import lock_all

    say_fetches()
    params = snakemake.params
    named = named_sources(params.models, params.benchmarks, params.probe)
    if not named:
        raise InputError(
            "models, benchmarks: nothing of this configuration comes from the hub; use --configfile config/paper.yaml"
        )
    write_lock(snakemake.output.lock, lock_all(LOCK_FILE, [each.wanted for each in named]))
