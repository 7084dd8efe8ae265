# Tokens kept per layer and KV head by the policies that need no data to decide.


rule allocate_budget:
    input:
        scores=f"{OUT}/scores/{{model}}.parquet",
    output:
        keep=f"{OUT}/keep/{{model}}.parquet",
    log:
        f"{OUT}/logs/keep/{{model}}.log",
    benchmark:
        f"{OUT}/benchmarks/keep/{{model}}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        budgets=budgets_of_all(),
        settings=settings("seed", "policies", "window", "kernel", "rho", "beta", "floor"),
        code=code_digest("budget/allocation.py", "policies/__init__.py", "heads/scores.py"),
    script:
        "../scripts/allocate_budget.py"
