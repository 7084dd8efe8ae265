"""Train an adapter of SmolLM2; a stopped training goes on from its last checkpoint."""

from pathlib import Path

from job import job

with job(snakemake) as run:
    from sparsemm.embedded.smol.train import train

    params = snakemake.params
    out = Path(snakemake.output.adapter).parent
    # The tiny model's vision tower, where the architecture has one like it.
    start = Path(snakemake.input[0]).parent if snakemake.input else None
    train(snakemake.wildcards.adapter, out, params.work, seed=params.settings["seed"], start=start)
