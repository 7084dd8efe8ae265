"""Score every attention head of one model by what it looks at while the model reads the probe images."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.patch_map import read_patches
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.scoring import score_heads
    from sparsemm.results import resume

    settings = snakemake.params.settings
    loaded = run.load_model()
    metadata = run.record(loaded.processor, model_revision=loaded.revision, dataset=run.probe_name)
    scores = score_heads(
        loaded.model,
        loaded.processor,
        read_probe(snakemake.input.probe),
        patches=read_patches(snakemake.input.patches),
        prompt=run.probe_prompt,
        generation=settings["generation"],
        **settings["scoring"],
        workdir=snakemake.params.work,
        seed=settings["seed"],
        metadata=metadata,
    )
    scores.save(snakemake.output.scores, samples=snakemake.output.samples)
    resume.discard(snakemake.params.work)
