"""Answer a benchmark with visual heads, or as many random heads, switched off."""

from job import job

with job(snakemake) as run:
    from sparsemm.benchmarks import get_benchmark
    from sparsemm.evaluation.masking import Masking, evaluate_masks
    from sparsemm.evaluation.settings import RunSettings, run_facts
    from sparsemm.heads.scores import HeadScores
    from sparsemm.results import resume
    from sparsemm.results.parquet import write_table

    settings, asked = snakemake.params.settings, snakemake.params.benchmark
    name, masking = snakemake.wildcards.model, settings["masking"]
    benchmark = get_benchmark(snakemake.wildcards.benchmark, max_new_tokens=asked.get("max_new_tokens"))
    samples = list(benchmark.load(masking["samples"], settings["seed"]))
    scores = HeadScores.load(snakemake.input.scores)
    scores.require_model(name)
    loaded = run.load_model()
    masks = Masking(scores, masking["fractions"], masking["seeds"], masking["how"])
    run_settings = RunSettings(
        batch_size=masking["batch_size"],
        rules=settings["rules"],
        generation=settings["generation"],
        workdir=snakemake.params.work,
    )
    frame = evaluate_masks(loaded, benchmark, samples, masks, run_settings)
    facts = run_facts(loaded, benchmark, samples, run_settings) | run.dataset(benchmark)
    facts |= {"limit": settings["limit"], "unreadable": frame.attrs["unreadable"]}
    metadata = run.record(loaded.processor, **facts)
    write_table(snakemake.output.masks, frame, "masks", metadata)
    resume.discard(snakemake.params.work)
