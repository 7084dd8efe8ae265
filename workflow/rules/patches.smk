# The patch map: which image tokens cover each word of the probe images, and where they stand in the prompt. From the
# processor alone: no model, no GPU.


rule map_patches:
    input:
        probe=probe_of,
        processor=processor_files,
    output:
        patches="<results>/patches/{model}.parquet",
    log:
        "<results>/logs/patches/{model}.log",
    benchmark:
        "<results>/benchmarks/patches/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "rules", "probe", "scoring"),
        code=code_digest("heads/patch_map.py", "heads/probe.py", "models/loading.py"),
    script:
        "../scripts/map_patches.py"


use rule map_patches as map_set_patches with:
    input:
        probe=set_of,
        processor=processor_files,
    output:
        patches="<results>/patches/sets/{probe}/{model}.parquet",
    log:
        "<results>/logs/patches/sets/{probe}/{model}.log",
    benchmark:
        "<results>/benchmarks/patches/sets/{probe}/{model}.tsv"
    params:
        settings=lambda wildcards: set_settings(wildcards.probe, "seed", "rules", "probe", "scoring"),
        code=code_digest(
            "heads/patch_map.py", "heads/probe.py", "models/loading.py", "documents/scenes/base.py"
        ),
