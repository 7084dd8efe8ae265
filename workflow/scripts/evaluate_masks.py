"""Answer a benchmark with visual heads, or as many random heads, switched off."""

from job import job, rows_asked

with job(snakemake) as run:
    from sparsemm.evaluation.masking import Masking, evaluate_masks

    settings = snakemake.params.settings
    masking = settings["masking"]
    benchmark, scores = run.benchmark(), run.head_scores()
    asked = rows_asked(snakemake.params.benchmark["samples"])
    count = masking["samples"] if asked is None else min(masking["samples"], asked)
    samples = list(benchmark.load(count, settings["seed"]))
    loaded = run.load_model()
    masks = Masking(scores, masking["fractions"], masking["seeds"], masking["how"])
    how = run.run_settings(masking["batch_size"])
    frame = evaluate_masks(loaded, benchmark, samples, masks, how)
    made = {"loaded": loaded, "benchmark": benchmark, "samples": samples, "settings": how}
    run.write_answers(snakemake.output.masks, frame, "masks", **made)
