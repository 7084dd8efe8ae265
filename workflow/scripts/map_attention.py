"""Write where the best visual heads, and as many others, look while the model reads a probe image."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.attention_maps import attention_maps, choose_heads
    from sparsemm.heads.probe import read_probe
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    asked, scores = settings["attention_maps"], run.head_scores()
    loaded = run.load_model()
    heads = choose_heads(scores, visual=asked["heads"], other=asked["heads"], seed=settings["seed"])
    frame = attention_maps(
        loaded,
        read_probe(snakemake.input.probe)[: asked["images"]],
        heads,
        scores=scores,
        prompt=settings["probe"]["prompt"],
        generation=settings["generation"],
        **settings["scoring"],
    )
    dataset = settings["probe"]["source"]
    metadata = run.record(loaded.processor, model_revision=loaded.revision, dataset=dataset)
    write_table(snakemake.output.maps, frame, "attention_maps", metadata)
