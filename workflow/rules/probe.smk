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
        mem_mb=2000,
        runtime=30,
    params:
        settings=settings("seed", "probe"),
        code=code_digest("heads/probe.py", "heads/synthdog.py"),
    script:
        "../scripts/make_probe.py"
