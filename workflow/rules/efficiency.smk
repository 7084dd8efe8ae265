# Decode latency and peak memory, one process a policy, length and batch; the cells of one prompt length share a job and its imports.


rule profile_length:
    input:
        scores=f"{OUT}/scores/{{model}}.parquet",
        model=model_files,
    output:
        efficiency=[
            f"{OUT}/efficiency/{{model}}/{policy}-{{tokens}}.parquet"
            for policy in config["efficiency"]["policies"]
        ],
        profile=[
            f"{OUT}/profile/{{model}}/{policy}-{{tokens}}.parquet"
            for policy in config["efficiency"]["policies"]
        ],
    log:
        f"{OUT}/logs/efficiency/{{model}}/{{tokens}}.log",
    benchmark:
        f"{OUT}/benchmarks/efficiency/{{model}}/{{tokens}}.tsv"
    conda:
        "../../environment.yml"
    # All cores that this run has: nothing else runs beside a job that takes times. Profiles for clusters set a number.
    threads: workflow.resource_settings.cores or 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "kernel", "rho", "beta", "floor", "efficiency"),
        code=code_digest("runtime/forked.py", "efficiency/__init__.py", "models/loading.py", "policies/__init__.py"),
    script:
        "../scripts/profile_length.py"
