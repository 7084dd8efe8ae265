"""Train the embedded model from scratch; a stopped training goes on from its last checkpoint."""

from job import job

with job(snakemake) as run:
    pass
