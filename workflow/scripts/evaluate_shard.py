"""Answer one shard of a benchmark under every policy and budget, from one prefill a sample."""

from job import job, rows_asked

with job(snakemake) as run:
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.evaluation.evaluate import evaluate, make_cells
    from sparsemm.evaluation.settings import RunSettings, run_facts
    from sparsemm.heads.scores import HeadScores
    from sparsemm.models.loading import shape
    from sparsemm.results import resume
    from sparsemm.results.parquet import write_table

    settings, asked = snakemake.params.settings, snakemake.params.benchmark
    name, shard = snakemake.wildcards.model, snakemake.params.shard
    benchmark = get_benchmark(snakemake.wildcards.benchmark, max_new_tokens=asked.get("max_new_tokens"))
    count = rows_asked(asked["samples"])
    samples = list(benchmark.load(count, settings["seed"], shard=shard, shards=asked["shards"]))
    scores = HeadScores.load(snakemake.input.scores)
    scores.require_model(name)
    loaded = run.load_model()
    sizes = shape(loaded.model)
    scores.require_model(name, num_layers=sizes.num_layers, num_heads=sizes.num_heads)
    options = {key: settings[key] for key in ("window", "kernel", "rho", "beta", "floor", "seed")}
    options["ranking"] = settings["ranking"]["dtype"]
    cells = make_cells(snakemake.params.cells, scores=scores, num_kv_heads=sizes.num_kv_heads, **options)
    run_settings = RunSettings(
        batch_size=asked["batch_size"],
        rules=settings["rules"],
        generation=settings["generation"],
        workdir=snakemake.params.work,
    )
    frame = evaluate(loaded, benchmark, samples, cells, run_settings)
    facts = run_facts(loaded, benchmark, samples, run_settings) | run.dataset(benchmark)
    facts |= {"limit": settings["limit"], "unreadable": frame.attrs["unreadable"]}
    metadata = run.record(loaded.processor, **facts)
    write_table(snakemake.output.predictions, frame, "predictions", metadata)
    resume.discard(snakemake.params.work)
