# Recipes of the head score compared: every recipe's scores, and what masking single heads or small groups costs.


rule score_recipes:
    input:
        probe=probe_of,
        model=model_files,
    output:
        recipes="<results>/recipes/scores/{model}.parquet",
    log:
        "<results>/logs/recipes/scores/{model}.log",
    benchmark:
        "<results>/benchmarks/recipes/scores/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(5000),
        runtime=grows(60),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=section_settings("recipes", "images"),
        code=code_digest("heads/recipes.py", "models/loading.py"),
    script:
        "../scripts/score_recipes.py"


rule mask_groups:
    input:
        probe=probe_of,
        model=model_files,
    output:
        losses="<results>/recipes/losses/{model}.parquet",
    log:
        "<results>/logs/recipes/losses/{model}.log",
    benchmark:
        "<results>/benchmarks/recipes/losses/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(5000),
        runtime=grows(240),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        settings=section_settings("recipes", "samples", "size", "groups"),
        code=code_digest("evaluation/head_losses.py", "models/loading.py"),
    script:
        "../scripts/mask_groups.py"
