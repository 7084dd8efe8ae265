"""Write which image tokens cover each word of the probe images, and where those tokens stand in the prompt."""

from job import job

with job(snakemake) as run:
    from sparsemm.heads.patch_map import map_patches, write_patches
    from sparsemm.heads.probe import read_probe

    settings = snakemake.params.settings
    processor = run.load_processor()
    patches = map_patches(
        processor,
        read_probe(snakemake.input.probe),
        prompt=run.probe_prompt,
        convention=settings["scoring"]["convention"],
    )
    metadata = run.record(processor, dataset=run.probe_name)
    write_patches(snakemake.output.patches, patches, metadata)
