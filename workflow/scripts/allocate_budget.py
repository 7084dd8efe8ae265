"""Write what each policy that needs no data keeps, per layer and KV head, where the prompt sets no limit."""

from job import job

with job(snakemake):
    import pandas as pd
    import torch

    from sparsemm.heads.scores import HeadScores
    from sparsemm.policies import make_policy
    from sparsemm.results.parquet import write_table
    from sparsemm.results.provenance import provenance

    settings, name = snakemake.params.settings, snakemake.wildcards.model
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    scores = HeadScores.load(snakemake.input.scores)
    scores.require_model(name)
    layers, query_heads = scores.values.shape
    heads = scores.num_kv_heads or query_heads
    rows = []
    for label in settings["policies"]:
        # AdaKV shares a layer's budget by each sample's attention: what it keeps is measured, not planned.
        if label == "adakv":
            continue
        for budget in snakemake.params.budgets:
            policy = make_policy(label, budget=budget, scores=scores, num_kv_heads=heads, **options)
            # No head can be given more than the whole model's tokens, so that nothing is cut at the prompt's end.
            endless = torch.zeros(1).expand(1, heads, budget * layers * heads)
            for layer in range(layers):
                kept = policy.keep(endless, layer=layer, num_layers=layers)[0].tolist()
                rows += [(label, budget, layer, head, keep) for head, keep in enumerate(kept)]
    frame = pd.DataFrame(rows, columns=["policy", "budget", "layer", "kv_head", "keep"])
    write_table(snakemake.output.keep, frame, "keep", provenance(settings, model=name, seed=settings["seed"]))
