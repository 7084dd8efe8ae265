"""Train the embedded model from scratch; a stopped training goes on from its last checkpoint."""

from job import job

with job(snakemake) as run:
    from sparsemm.embedded.train import train

    train(snakemake.output.checkpoint, snakemake.params.work, seed=snakemake.params.settings["seed"])
