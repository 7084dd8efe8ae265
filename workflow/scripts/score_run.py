"""Score the predictions of a benchmark whose metric needs the whole run."""

from job import job, rows_asked

with job(snakemake) as run:
    import pandas as pd

    from sparsemm.benchmarks import get_benchmark
    from sparsemm.evaluation.run_scores import no_score, score_run
    from sparsemm.results.parquet import read_table, write_table

    settings, asked = snakemake.params.settings, snakemake.params.benchmark
    benchmark = get_benchmark(snakemake.wildcards.benchmark)
    samples = list(benchmark.load(rows_asked(asked["samples"]), settings["seed"]))
    columns = ["sample_id", "policy", "budget", "prediction"]
    predictions = pd.concat(read_table(path, "predictions", columns) for path in snakemake.input.predictions)
    frame = score_run(benchmark, samples, predictions, settings["rules"])
    facts = {key: settings[key] for key in ("rules", "limit")}
    facts |= {**run.dataset(benchmark), "metric": benchmark.metric, "no_score": no_score(benchmark)}
    write_table(snakemake.output.scores, frame, "run_scores", run.record(**facts))
