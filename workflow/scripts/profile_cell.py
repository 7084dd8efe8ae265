"""Time decode and measure peak memory of one policy at one prompt length; the process runs nothing else."""

from job import image_limits, job

with job(snakemake, measured=True) as run:
    from sparsemm.efficiency import profile_cell
    from sparsemm.models import load_model, shape
    from sparsemm.policies import make_policy
    from sparsemm.results import provenance, write_table
    from sparsemm.scores import HeadScores

    settings, model = snakemake.params.settings, snakemake.params.model
    name, label, asked = snakemake.wildcards.model, snakemake.wildcards.policy, settings["efficiency"]
    scores = HeadScores.load(snakemake.input.scores)
    loaded = load_model(model["path"], device=run.device, dtype=model["dtype"])
    sizes = shape(loaded.model)
    scores.require_model(name, num_layers=sizes.num_layers, num_heads=sizes.num_heads)
    options = {key: settings[key] for key in ("kernel", "rho", "beta", "floor", "seed")}
    policy = make_policy(
        label,
        budget=asked["budget"],
        window=asked["window"],
        scores=scores,
        num_kv_heads=sizes.num_kv_heads,
        **options,
    )
    frame = profile_cell(
        loaded,
        policy,
        int(snakemake.wildcards.tokens),
        label=label,
        new_tokens=asked["new_tokens"],
        repeats=asked["repeats"],
        warmup=asked["warmup"],
        seed=settings["seed"],
    )
    metadata = provenance(
        {**settings, "model": model},
        model=name,
        model_revision=loaded.revision,
        dataset="generated pages",
        seed=settings["seed"],
        image_limits=image_limits(loaded.processor),
        device=run.device,
        threads=run.threads,
    )
    write_table(snakemake.output.efficiency, frame, "efficiency", metadata)
