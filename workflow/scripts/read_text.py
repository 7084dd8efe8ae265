"""Score the heads of a language model, in one of its states, by what it looks at while it copies pages of text."""

from job import job

with job(snakemake) as run:
    from sparsemm.embedded.smol.readers import load_reader
    from sparsemm.heads.probe import read_probe
    from sparsemm.heads.text_pages import text_pages
    from sparsemm.heads.text_reading import score_text

    params = snakemake.params
    settings, adapters = params.settings, params.adapters
    emergence = settings["emergence"]
    reading, folder = snakemake.wildcards.reading, params.model["path"]
    model, processor = load_reader(reading, folder, **adapters, device=run.device)
    probe = read_probe(snakemake.input.probe)[: emergence["pages"]]
    scores = score_text(
        model,
        text_pages(processor, probe, run.probe_prompt),
        batch_size=emergence["batch_size"],
        seed=settings["seed"],
        no_match=settings["scoring"]["no_match"],
        metadata=run.record(dataset=run.probe_name, reading=reading),
    )
    scores.save(snakemake.output.scores, samples=snakemake.output.samples)
