"""Put a base model and an adapter together into a checkpoint folder."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.embedded.smol.assemble import assemble

    assemble(Path(snakemake.input.adapter).parent, Path(snakemake.output.weights).parent)
