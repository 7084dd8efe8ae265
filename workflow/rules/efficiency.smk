# Decode latency and peak memory, one process a cell.


rule profile_cell:
    input:
        scores=f"{OUT}/scores/{{model}}.parquet",
        model=model_files,
    output:
        efficiency=f"{OUT}/efficiency/{{model}}/{{policy}}-{{tokens}}.parquet",
    log:
        f"{OUT}/logs/efficiency/{{model}}/{{policy}}-{{tokens}}.log",
    benchmark:
        f"{OUT}/benchmarks/efficiency/{{model}}/{{policy}}-{{tokens}}.tsv"
    conda:
        "../../environment.yml"
    # All cores that this run has: nothing else runs beside a job that takes times. Profiles for clusters set a number.
    threads: workflow.cores or 8
    resources:
        mem_mb=8000,
        runtime=60,
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "kernel", "rho", "beta", "floor", "efficiency"),
        code=code_digest("efficiency.py", "models.py", "policies/__init__.py"),
    script:
        "../scripts/profile_cell.py"
