# What the hub's models and data sets are: revisions, files and checksums, resolved once. Never part of the default run.


localrules:
    lock,


rule lock:
    output:
        lock="config/sources.lock.yaml",
    log:
        "<results>/logs/lock.log",
    benchmark:
        "<results>/benchmarks/lock.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        models=config["models"],
        benchmarks=list(config["benchmarks"]),
        code=code_digest("sources/hub.py", *BENCHMARKS_CODE),
    script:
        "../scripts/lock_sources.py"
