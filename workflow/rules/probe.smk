# OCR images with words and boxes: generated, or read from a local copy of synthdog-en-detection.


rule make_probe:
    input:
        fetched=probe_files,
    output:
        probe="<results>/probe/{family}.parquet",
    log:
        "<results>/logs/probe/{family}.log",
    benchmark:
        "<results>/benchmarks/probe/{family}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(30),
    params:
        settings=settings("seed", "probe"),
        code=code_digest("heads/probe.py", "heads/synthdog.py"),
    script:
        "../scripts/make_probe.py"


# A further probe set, of scenes that models of one kind of documents can read.
use rule make_probe as make_probe_set with:
    input:
        fetched=[],
    output:
        probe="<results>/probe/sets/{probe}/{documents}.parquet",
    log:
        "<results>/logs/probe/sets/{probe}/{documents}.log",
    benchmark:
        "<results>/benchmarks/probe/sets/{probe}/{documents}.tsv"
    params:
        settings=lambda wildcards: scene_settings(wildcards.probe, wildcards.documents),
        code=code_digest("heads/probe.py", "heads/synthdog.py", "heads/scenes.py"),
