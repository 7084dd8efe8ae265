"""Score every attention head of one model by what it looks at while the model reads the probe images."""

import shutil

from job import image_limits, job

with job(snakemake) as run:
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.scoring import score_heads
    from sparsemm.models.loading import load_model
    from sparsemm.results.provenance import provenance

    settings, model = snakemake.params.settings, snakemake.params.model
    loaded = load_model(model["path"], device=run.device, dtype=model["dtype"])
    metadata = provenance(
        {**settings, "model": model},
        model=snakemake.wildcards.model,
        model_revision=loaded.revision,
        dataset=settings["probe"]["source"],
        seed=settings["seed"],
        image_limits=image_limits(loaded.processor),
        device=run.device,
    )
    scores = score_heads(
        loaded.model,
        loaded.processor,
        read_probe(snakemake.input.probe),
        prompt=settings["probe"]["prompt"],
        max_new_tokens=settings["scoring"]["max_new_tokens"],
        batch_size=settings["scoring"]["batch_size"],
        convention=settings["scoring"]["convention"],
        matching=settings["scoring"]["matching"],
        workdir=snakemake.params.work,
        seed=settings["seed"],
        metadata=metadata,
    )
    scores.save(snakemake.output.scores, samples=snakemake.output.samples)
    shutil.rmtree(snakemake.params.work, ignore_errors=True)
