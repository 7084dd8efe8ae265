"""Answer one shard of a benchmark under every policy and budget, from one prefill a sample."""

from job import job

with job(snakemake) as run:
    from sparsemm.evaluation.evaluate import evaluate

    shard, scores = run.shard(), run.head_scores()
    benchmark = shard.make_benchmark()
    samples = shard.samples(benchmark)
    loaded = shard.load_model(run.device, run.dtype)
    cells = shard.cells(snakemake.params.cells, loaded, scores, run.set_scores())
    how = shard.run_settings(snakemake.params.work)
    frame = evaluate(loaded, benchmark, samples, cells, how)
    made = {"loaded": loaded, "benchmark": benchmark, "samples": samples, "settings": how, "shard": shard}
    run.write_answers(snakemake.output.predictions, frame, "predictions", **made)
