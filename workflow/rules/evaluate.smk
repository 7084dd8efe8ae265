# One prefill a sample, every cell decoded from it; scores of whole runs; runs with heads masked; attention over an image.


rule evaluate_shard:
    input:
        scores="<results>/scores/{model}.parquet",
        set_scores=set_scores_of,
        named=lambda wildcards: score_files(label for label, _ in cells_of(wildcards.benchmark)),
        model=model_files,
        rows=rows_of,
    output:
        predictions="<results>/predictions/{model}/{benchmark}/{shard}.parquet",
    log:
        "<results>/logs/predictions/{model}/{benchmark}/{shard}.log",
    benchmark:
        "<results>/benchmarks/predictions/{model}/{benchmark}/{shard}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(6000),
        runtime=grows(120),
        gpu=1,
    params:
        # Finished batches wait here, so that a killed run goes on where it was.
        work=f"{RUN_FOLDER}/work/predictions/{{model}}/{{benchmark}}/{{shard}}",
        shard=shard_number,
        cells=lambda wildcards: cells_of(wildcards.benchmark),
        benchmark=benchmark_of,
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings(
            "seed",
            "device",
            "rules",
            "generation",
            "limit",
            "window",
            "kernel",
            "ranking",
            "rho",
            "beta",
            "floor",
        ),
        code=code_digest(
            "evaluation/configured.py",
            "evaluation/evaluate.py",
            "models/loading.py",
            "heads/scores.py",
            *BENCHMARKS_CODE,
            *POLICIES_CODE,
        ),
    script:
        "../scripts/evaluate_shard.py"


rule evaluate_masks:
    input:
        scores="<results>/scores/{model}.parquet",
        model=model_files,
        rows=rows_of,
    output:
        masks="<results>/masks/{model}/{benchmark}.parquet",
    log:
        "<results>/logs/masks/{model}/{benchmark}.log",
    benchmark:
        "<results>/benchmarks/masks/{model}/{benchmark}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(6000),
        runtime=grows(120),
        gpu=1,
    params:
        work=f"{RUN_FOLDER}/work/masks/{{model}}/{{benchmark}}",
        benchmark=benchmark_of,
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "rules", "generation", "limit", "masking"),
        code=code_digest("evaluation/masking.py", "models/loading.py", "heads/scores.py", *BENCHMARKS_CODE),
    script:
        "../scripts/evaluate_masks.py"


# Benchmarks whose metric needs all shards: MMBench's groups of questions, CIDEr over the captions.
rule score_run:
    input:
        predictions=predictions_of,
        rows=rows_of,
    output:
        scores="<results>/run_scores/{model}/{benchmark}.parquet",
    log:
        "<results>/logs/run_scores/{model}/{benchmark}.log",
    benchmark:
        "<results>/benchmarks/run_scores/{model}/{benchmark}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(3000),
        runtime=grows(30),
    params:
        benchmark=benchmark_of,
        settings=settings("seed", "rules", "limit"),
        code=code_digest("evaluation/run_scores.py", *BENCHMARKS_CODE),
    script:
        "../scripts/score_run.py"


rule map_attention:
    input:
        probe=probe_of,
        scores="<results>/scores/{model}.parquet",
        model=model_files,
    output:
        maps="<results>/attention_maps/{model}.parquet",
        # All heads over one page, for the explorer.
        page="<results>/attention_maps/pages/{model}.parquet",
        heads="<results>/attention_maps/heads/{model}.parquet",
    log:
        "<results>/logs/attention_maps/{model}.log",
    benchmark:
        "<results>/benchmarks/attention_maps/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "rules", "generation", "probe", "scoring", "attention_maps"),
        code=code_digest(
            "heads/attention_maps.py",
            "heads/head_maps.py",
            "models/loading.py",
            "heads/probe.py",
            "heads/scores.py",
        ),
    script:
        "../scripts/map_attention.py"


# The heads of the probe set, over images of a further one.
use rule map_attention as map_set_attention with:
    input:
        probe=set_of,
        scores="<results>/scores/{model}.parquet",
        model=model_files,
    output:
        maps="<results>/attention_maps/sets/{probe}/{model}.parquet",
    log:
        "<results>/logs/attention_maps/sets/{probe}/{model}.log",
    benchmark:
        "<results>/benchmarks/attention_maps/sets/{probe}/{model}.tsv"
    params:
        settings=lambda wildcards: set_settings(
            wildcards.probe, "seed", "device", "rules", "generation", "probe", "scoring", "attention_maps"
        ),


# Which image tokens of the explorer's page each KV head keeps under every policy and budget.
rule map_kept:
    input:
        probe=probe_of,
        scores="<results>/scores/{model}.parquet",
        named=score_files(config["policies"]),
        model=model_files,
    output:
        ranks="<results>/attention_maps/ranks/{model}.parquet",
        kept="<results>/attention_maps/kept/{model}.parquet",
    log:
        "<results>/logs/attention_maps/kept/{model}.log",
    benchmark:
        "<results>/benchmarks/attention_maps/kept/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        cells=[[policy, budget] for policy in config["policies"] for budget in budgets_of_all()],
        settings=settings(
            "seed",
            "device",
            "rules",
            "probe",
            "window",
            "kernel",
            "ranking",
            "rho",
            "beta",
            "floor",
            "attention_maps",
        ),
        code=code_digest("evaluation/kept_tokens.py", "models/loading.py", "heads/scores.py", *POLICIES_CODE),
    script:
        "../scripts/map_kept.py"
