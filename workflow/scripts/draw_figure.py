"""Draw one figure of `sparsemm.reporting.figures` from the result files that are its inputs."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.reporting.figures import FIGURES

    draw = FIGURES[snakemake.wildcards.figure]
    draw(stem=Path(snakemake.output.pdf).with_suffix(""), **snakemake.input)
