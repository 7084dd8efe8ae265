"""Write where the best visual heads, and as many others, look while a model reads a probe image; of one page, all."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.attention_maps import attention_maps, choose_heads
    from sparsemm.heads.head_maps import head_maps
    from sparsemm.heads.probe import read_probe
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    asked, scores = settings["attention_maps"], run.head_scores()
    rules = {"prompt": run.probe_prompt, "generation": settings["generation"], **settings["scoring"]}
    loaded = run.load_model()
    heads = choose_heads(scores, visual=asked["heads"], other=asked["heads"], seed=settings["seed"])
    images = read_probe(snakemake.input.probe)[: asked["images"]]
    frame = attention_maps(loaded, images, heads, scores=scores, **rules)
    metadata = run.record(loaded.processor, model_revision=loaded.revision, dataset=run.probe_name)
    write_table(snakemake.output.maps, frame, "attention_maps", metadata)
    if snakemake.output.get("heads") is not None:
        found = head_maps(loaded, images[0], tokens=asked["tokens"], cells=asked["cells"], **rules)
        write_table(snakemake.output.page, found.page, "head_pages", metadata)
        write_table(snakemake.output.heads, found.maps, "head_maps", metadata)
