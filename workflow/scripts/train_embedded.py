"""Train the embedded model from scratch; a stopped training goes on from its last checkpoint."""

from job import job

with job(snakemake):
    from sparsemm.embedded.train import train

    train(snakemake.output.checkpoint, snakemake.params.work, seed=snakemake.params.settings["seed"])
