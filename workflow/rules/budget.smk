# Tokens kept per layer and KV head by the policies that do not look at the prompt's attention.


rule allocate_budget:
    input:
        scores="<results>/scores/{model}.parquet",
        named=score_files(config["policies"]),
    output:
        keep="<results>/keep/{model}.parquet",
    log:
        "<results>/logs/keep/{model}.log",
    benchmark:
        "<results>/benchmarks/keep/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(2000),
        runtime=grows(10),
    params:
        budgets=budgets_of_all(),
        settings=settings("seed", "policies", "window", "kernel", "rho", "beta", "floor"),
        code=code_digest(*POLICIES_CODE, "heads/scores.py"),
    script:
        "../scripts/allocate_budget.py"
