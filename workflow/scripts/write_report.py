"""Write one HTML page of all tables and figures with their captions."""

from pathlib import Path

from job import job

with job(snakemake):
    from sparsemm.reporting.page import Item, write_report

    captions = snakemake.params.captions
    items = [Item(Path(path), captions[Path(path).stem]) for path in snakemake.input.shown]
    title = f"SparseMM: run {snakemake.params.facts['run']}"
    write_report(snakemake.output.page, title, items, snakemake.params.facts)
