"""Score every attention head of one model by every recipe, on the first probe images."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.recipes import score_recipes
    from sparsemm.heads.settings import ScoringSettings
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    loaded = run.load_model()
    probe = read_probe(snakemake.input.probe)[: settings["recipes"]["images"]]
    asked = {"prompt": run.probe_prompt, "generation": settings["generation"], **settings["scoring"]}
    frame = score_recipes(loaded.model, loaded.processor, probe, ScoringSettings(**asked))
    record = run.record(loaded.processor, model_revision=loaded.revision, dataset=run.probe_name)
    write_table(snakemake.output.recipes, frame, "recipes", record)
