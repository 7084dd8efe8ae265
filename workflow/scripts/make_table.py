"""Write the table that the rule is named after, from the result files that are its inputs."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.reporting import tables

    make = getattr(tables, snakemake.rule)
    make(stem=Path(snakemake.output.csv).with_suffix(""), **snakemake.input, **snakemake.params.options)
