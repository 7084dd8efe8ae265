# Decode latency and peak memory, one process a policy, length and batch; the cells of one prompt length share a job and its imports.


rule profile_length:
    input:
        scores="<results>/scores/{model}.parquet",
        model=model_files,
    output:
        efficiency=expand(
            "<results>/efficiency/{{model}}/{policy}-{{tokens}}.parquet",
            policy=config["efficiency"]["policies"],
        ),
        profile=expand(
            "<results>/profile/{{model}}/{policy}-{{tokens}}.parquet",
            policy=config["efficiency"]["policies"],
        ),
    log:
        "<results>/logs/efficiency/{model}/{tokens}.log",
    benchmark:
        "<results>/benchmarks/efficiency/{model}/{tokens}.tsv"
    conda:
        "../../environment.yml"
    # All cores that this run has: nothing else runs beside a job that takes times. Profiles for clusters set a number.
    threads: workflow.resource_settings.cores or 8
    resources:
        mem_mb=grows(8000),
        runtime=grows(60),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "rules", "kernel", "rho", "beta", "floor", "efficiency"),
        code=code_digest(
            "runtime/forked.py",
            "efficiency/__init__.py",
            "models/loading.py",
            "heads/scores.py",
            *POLICIES_CODE,
        ),
    script:
        "../scripts/profile_length.py"
