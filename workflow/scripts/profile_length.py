"""Time decode and measure peak memory of every policy at one prompt length, each in a process of its own."""

import os

# Asking whether there is a GPU must not start CUDA here: the forked processes could not use it.
os.environ["PYTORCH_NVML_BASED_CUDA_CHECK"] = "1"

from job import job

with job(snakemake, measured=True) as run:
    import pandas as pd

    from sparsemm.efficiency import MeasureSettings, Profile, profile_cell
    from sparsemm.heads.scores import HeadScores
    from sparsemm.models.loading import shape
    from sparsemm.policies import make_policy
    from sparsemm.results.parquet import write_table
    from sparsemm.runtime.forked import call_in_fork

    settings = snakemake.params.settings
    name, asked = snakemake.wildcards.model, settings["efficiency"]
    tokens = int(snakemake.wildcards.tokens)

    def cell(label: str, batch: int | str) -> tuple[Profile, dict]:
        """One cell's rows and metadata; everything that belongs to a model is loaded in here."""
        scores = HeadScores.load(snakemake.input.scores)
        loaded = run.load_model()
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
        counts = {key: asked[key] for key in ("new_tokens", "repeats", "warmup")}
        how = MeasureSettings(batch=batch, **counts)
        found = profile_cell(loaded, policy, tokens, how, label=label, seed=settings["seed"])
        facts = {"model_revision": loaded.revision, "dataset": "generated pages", "threads": run.threads}
        return found, run.record(loaded.processor, **facts)

    out = snakemake.output
    for label, repeats, profile in zip(asked["policies"], out.efficiency, out.profile, strict=True):
        summaries = []
        for batch in asked["batches"]:
            what = f"{label} at {tokens} tokens, batch {batch}"
            found, metadata = call_in_fork(lambda label=label, batch=batch: cell(label, batch), what)
            if batch == 1:
                write_table(repeats, found.repeats, "efficiency", metadata)
            summaries.append(found.summary)
        write_table(profile, pd.concat(summaries, ignore_index=True), "profile", metadata)
