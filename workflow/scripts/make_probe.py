"""Write the probe set: generated documents, or the first rows of a local copy of synthdog-en-detection."""

from job import job

with job(snakemake):
    from sparsemm.heads.probe import generate_probe, write_probe
    from sparsemm.heads.synthdog import read_synthdog
    from sparsemm.results.provenance import provenance

    settings = snakemake.params.settings
    probe, seed = settings["probe"], settings["seed"]
    if probe["source"] == "generated":
        images = generate_probe(probe["images"], seed)
    else:
        images = read_synthdog(probe["source"], probe["images"])
    metadata = provenance(settings, dataset=probe["source"], seed=seed)
    write_probe(snakemake.output.probe, images, metadata)
