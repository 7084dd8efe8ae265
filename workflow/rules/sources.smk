# What the hub's models and data sets are (revisions, files and checksums, resolved once), and fetching them. Local rules:
# a login node does them, and compute nodes need no network.


localrules:
    lock,
    fetch_benchmark,
    fetch_model,
    fetch_probe,


# Completes config/sources.lock.yaml, which fetches complete too: what it has stays. The output is this run's part of it.
rule lock:
    input:
        lambda wildcards: [LOCK_FILE] if Path(LOCK_FILE).exists() else [],
    output:
        lock="<results>/sources.lock.yaml",
    log:
        "<results>/logs/lock.log",
    benchmark:
        "<results>/benchmarks/lock.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(1000),
        runtime=grows(30),
    params:
        models=config["models"],
        benchmarks=config["benchmarks"],
        probe=config["probe"],
        code=code_digest("sources/obtain.py", *BENCHMARKS_CODE),
    script:
        "../scripts/lock_sources.py"


# The files of a benchmark's split as they are on the hub, under data/benchmarks/<name>, and an index of their images.
rule fetch_benchmark:
    output:
        index="data/benchmarks/{benchmark}/index.parquet",
    log:
        "<results>/logs/fetch/benchmarks/{benchmark}.log",
    benchmark:
        "<results>/benchmarks/fetch/benchmarks/{benchmark}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(1440),
    params:
        source=lambda wildcards: data_set_of(wildcards.benchmark),
        code=code_digest("benchmarks/fetching.py"),
    script:
        "../scripts/fetch_benchmark.py"


# A model's files in the hub's own cache, and a file that says where. A folder at the model's `path` is used as it is.
rule fetch_model:
    output:
        marker="data/fetched/models/{model}.json",
    log:
        "<results>/logs/fetch/models/{model}.log",
    benchmark:
        "<results>/benchmarks/fetch/models/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(1440),
    params:
        source=lambda wildcards: hub_model(wildcards.model),
        code=code_digest("sources/fetching.py", "sources/obtain.py"),
    script:
        "../scripts/fetch_model.py"


# The files of the probe set that hold the images that are used, in the folder `probe.source`.
rule fetch_probe:
    output:
        marker="data/fetched/probe.json",
    log:
        "<results>/logs/fetch/probe.log",
    benchmark:
        "<results>/benchmarks/fetch/probe.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(1440),
    params:
        source=lambda wildcards: hub_probe(),
        code=code_digest("sources/fetching.py", "sources/obtain.py"),
    script:
        "../scripts/fetch_probe.py"
