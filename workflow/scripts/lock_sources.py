"""Resolve every model and data set of the configuration on the hub, and write the lock file. Downloads nothing else."""

import logging

from job import job

with job(snakemake):
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.errors import InputError
    from sparsemm.sources.hub import resolve
    from sparsemm.sources.lock import write_lock

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    models = [model for model in snakemake.params.models.values() if "hub" in model]
    wanted = {("model", model["hub"]): model.get("revision", "main") for model in models}
    data_sets = [getattr(get_benchmark(name), "hub", ())[:1] for name in snakemake.params.benchmarks]
    wanted |= {("dataset", data_set): "main" for first in data_sets for data_set in first}
    if not wanted:
        raise InputError(
            "models, benchmarks: nothing of this configuration comes from the hub; use --configfile config/paper.yaml"
        )
    sources = [resolve(kind, name, revision) for (kind, name), revision in wanted.items()]
    write_lock(snakemake.output.lock, sources)
