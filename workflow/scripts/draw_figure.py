"""Draw the figure that the rule is named after, from the result files that are its inputs."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.reporting import figures

    draw = getattr(figures, snakemake.rule)
    draw(stem=Path(snakemake.output.pdf).with_suffix(""), **snakemake.input)
