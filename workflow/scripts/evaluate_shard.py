"""Answer one shard of a benchmark under every policy and budget, from one prefill a sample."""

from job import job

with job(snakemake) as run:
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.evaluation.evaluate import RunSettings, evaluate, make_cells
    from sparsemm.heads.scores import HeadScores
    from sparsemm.models.loading import shape
    from sparsemm.results import resume
    from sparsemm.results.parquet import write_table

    settings, asked = snakemake.params.settings, snakemake.params.benchmark
    name, shard = snakemake.wildcards.model, snakemake.params.shard
    benchmark = get_benchmark(snakemake.wildcards.benchmark, max_new_tokens=asked.get("max_new_tokens"))
    samples = list(benchmark.load(asked["samples"], settings["seed"], shard=shard, shards=asked["shards"]))
    scores = HeadScores.load(snakemake.input.scores)
    scores.require_model(name)
    loaded = run.load_model()
    sizes = shape(loaded.model)
    scores.require_model(name, num_layers=sizes.num_layers, num_heads=sizes.num_heads)
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    options["ranking"] = settings["ranking"]["dtype"]
    cells = make_cells(snakemake.params.cells, scores=scores, num_kv_heads=sizes.num_kv_heads, **options)
    run_settings = RunSettings(batch_size=asked["batch_size"], workdir=snakemake.params.work)
    frame = evaluate(loaded, benchmark, samples, cells, run_settings)
    facts = {"model_revision": loaded.revision, "dataset": benchmark.name, "metric": benchmark.metric}
    metadata = run.record(loaded.processor, **facts)
    write_table(snakemake.output.predictions, frame, "predictions", metadata)
    resume.discard(snakemake.params.work)
