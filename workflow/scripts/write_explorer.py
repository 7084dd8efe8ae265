"""Write the explorer, one page in which a reader looks into the run."""

from job import job

with job(snakemake):
    from sparsemm.reporting.explorer.gathering import Sources
    from sparsemm.reporting.explorer.page import write_explorer

    facts = snakemake.params.facts
    sources = Sources(**dict(snakemake.input.items()))
    write_explorer(snakemake.output.page, f"SparseMM: run {facts['run']}", sources, facts)
