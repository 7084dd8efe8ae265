"""Let a language model, in one of its states, read pages as text or as images, with copying or visual heads masked."""

from job import job

with job(snakemake) as run:
    from sparsemm.embedded.smol.readers import load_reader
    from sparsemm.evaluation.reading_masks import reader_of, reading_masks
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.scores import HeadScores
    from sparsemm.heads.text_pages import text_pages
    from sparsemm.results.parquet import write_table

    params, inputs = snakemake.params, snakemake.input
    settings, adapters = params.settings, params.adapters
    emergence = settings["emergence"]
    reading, folder = snakemake.wildcards.reading, params.model["path"]
    model, processor = load_reader(reading, folder, **adapters, device=run.device)
    probe = read_probe(inputs.probe)[: emergence["masked_pages"]]
    pages = text_pages(processor, probe, run.probe_prompt)
    images = reading == "image"
    how = {"prompt": run.probe_prompt, "images": images, "batch_size": emergence["batch_size"]}
    frame = reading_masks(
        model,
        reader_of(model, processor, probe, pages, **how),
        pages,
        {"visual": HeadScores.load(inputs.visual), "copying": HeadScores.load(inputs.copying)},
        fractions=emergence["fractions"],
        seeds=emergence["seeds"],
        how=settings["masking"]["how"],
    )
    record = run.record(dataset=run.probe_name, reading=reading)
    write_table(snakemake.output.masks, frame, "reading_masks", record)
