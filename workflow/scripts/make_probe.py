"""Write a probe set: generated documents or scenes, or the first rows of a local copy of synthdog-en-detection."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.probe import generate_probe, write_probe
    from sparsemm.heads.scenes import generate_scenes
    from sparsemm.heads.synthdog import read_synthdog

    settings = snakemake.params.settings
    probe, seed = settings["probe"], settings["seed"]
    facts = run.probe_set()
    generated, kind = probe["source"] == "generated", probe.get("kind")
    if generated and kind:
        images = generate_scenes(kind, probe["images"], seed, probe["documents"])
    elif generated:
        images = generate_probe(probe["images"], seed)
    else:
        images = read_synthdog(probe["source"], probe["images"], clip="hub" in probe)
    write_probe(snakemake.output.probe, images, run.record(**facts))
