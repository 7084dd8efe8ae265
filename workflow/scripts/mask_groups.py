"""What masking single heads, or small groups, costs on the last probe images, from which no recipe's scores are."""

from job import job

with job(snakemake) as run:
    from sparsemm.evaluation.head_losses import head_groups, head_losses
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.settings import ScoringSettings
    from sparsemm.models import shape
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    recipes = settings["recipes"]
    loaded = run.load_model()
    size = shape(loaded.model)
    most = None if recipes["groups"] == "all" else recipes["groups"]
    groups = head_groups(size.num_layers * size.num_heads, recipes["size"], most, settings["seed"])
    probe = read_probe(snakemake.input.probe)[-recipes["samples"] :]
    asked = {"prompt": run.probe_prompt, "generation": settings["generation"], **settings["scoring"]}
    how = settings["masking"]["how"]
    frame = head_losses(loaded.model, loaded.processor, probe, groups, ScoringSettings(**asked), how=how)
    record = run.record(loaded.processor, model_revision=loaded.revision, dataset=run.probe_name)
    write_table(snakemake.output.losses, frame, "head_losses", record)
