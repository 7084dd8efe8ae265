"""Write one table of `sparsemm.reporting.tables` from the result files that are its inputs."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.reporting.tables import TABLES

    make = TABLES[snakemake.wildcards.table]
    make(stem=Path(snakemake.output.csv).with_suffix(""), **snakemake.input, **snakemake.params.options)
