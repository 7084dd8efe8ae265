"""Answer one shard of a benchmark under every policy and budget, from one prefill a sample."""

from job import job, rows_asked

with job(snakemake) as run:
    from sparsemm.evaluation.evaluate import evaluate, make_cells
    from sparsemm.models.loading import shape

    settings, asked = snakemake.params.settings, snakemake.params.benchmark
    benchmark, scores = run.benchmark(), run.head_scores()
    count, shard = rows_asked(asked["samples"]), snakemake.params.shard
    samples = list(benchmark.load(count, settings["seed"], shard=shard, shards=asked["shards"]))
    loaded = run.load_model()
    sizes = shape(loaded.model)
    scores.require_model(snakemake.wildcards.model, num_layers=sizes.num_layers, num_heads=sizes.num_heads)
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    options["ranking"] = settings["ranking"]["dtype"]
    cells = make_cells(snakemake.params.cells, scores=scores, num_kv_heads=sizes.num_kv_heads, **options)
    how = run.run_settings(asked["batch_size"])
    frame = evaluate(loaded, benchmark, samples, cells, how)
    made = {"loaded": loaded, "benchmark": benchmark, "samples": samples, "settings": how}
    run.write_answers(snakemake.output.predictions, frame, "predictions", **made)
