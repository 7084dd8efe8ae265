"""Write what each policy that does not look at the prompt's attention keeps, per layer and KV head."""

from job import job

with job(snakemake) as run:
    import pandas as pd

    from sparsemm.heads.scores import HeadScores
    from sparsemm.policies import make_policy
    from sparsemm.policies.planning import planned_keep
    from sparsemm.results.parquet import write_table

    settings = snakemake.params.settings
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    scores = HeadScores.load(snakemake.input.scores)
    scores.require_model(snakemake.wildcards.model)
    layers, query_heads = scores.values.shape
    heads = scores.num_kv_heads or query_heads
    rows = []
    for label in settings["policies"]:
        for budget in snakemake.params.budgets:
            policy = make_policy(label, budget=budget, scores=scores, num_kv_heads=heads, **options)
            kept = planned_keep(policy, layers, heads)
            if kept is not None:
                planned = kept.tolist()
                rows += [
                    (label, budget, layer, head, planned[layer][head])
                    for layer in range(layers)
                    for head in range(heads)
                ]
    frame = pd.DataFrame(rows, columns=["policy", "budget", "layer", "kv_head", "keep"])
    write_table(snakemake.output.keep, frame, "keep", run.record())
