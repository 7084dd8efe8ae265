"""Write which image tokens of the explorer's page each KV head keeps under every policy and budget."""

from job import job

with job(snakemake) as run:
    from sparsemm.evaluation.cells import make_cells
    from sparsemm.evaluation.kept_tokens import kept_tokens
    from sparsemm.heads.probe import read_probe
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    scores = run.head_scores()
    loaded = run.load_model()
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    cells = make_cells(
        snakemake.params.cells,
        scores=scores,
        num_kv_heads=scores.num_kv_heads,
        ranking=settings["ranking"]["dtype"],
        **options,
    )
    most = settings["attention_maps"]["cells"]
    page = read_probe(snakemake.input.probe)[0]
    found = kept_tokens(loaded, page, cells, prompt=run.probe_prompt, most=most)
    metadata = run.record(loaded.processor, model_revision=loaded.revision, dataset=run.probe_name)
    write_table(snakemake.output.ranks, found.ranks, "token_ranks", metadata)
    write_table(snakemake.output.kept, found.keep, "page_keep", metadata)
