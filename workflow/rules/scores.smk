# Visual scores of all heads, from what the model attends to while it reads the probe images.


rule score_heads:
    input:
        probe=probe_of,
        patches="<results>/patches/{model}.parquet",
        model=model_files,
    output:
        scores="<results>/scores/{model}.parquet",
        samples="<results>/scores/samples/{model}.parquet",
    log:
        "<results>/logs/scores/{model}.log",
    benchmark:
        "<results>/benchmarks/scores/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(4000),
        runtime=grows(60),
        gpu=1,
    params:
        # Finished batches wait here, so that a killed run goes on where it was.
        work=f"{RUN_FOLDER}/work/scores/{{model}}",
        model=lambda wildcards: config["models"][wildcards.model],
        settings=settings("seed", "device", "rules", "generation", "probe", "scoring"),
        code=code_digest("heads/scoring.py", "heads/patch_map.py", "models/loading.py", "heads/scores.py"),
    script:
        "../scripts/score_heads.py"


# The same from a further probe set.
use rule score_heads as score_set_heads with:
    input:
        probe=set_of,
        patches="<results>/patches/sets/{probe}/{model}.parquet",
        model=model_files,
    output:
        scores="<results>/scores/sets/{probe}/{model}.parquet",
        samples="<results>/scores/samples/sets/{probe}/{model}.parquet",
    log:
        "<results>/logs/scores/sets/{probe}/{model}.log",
    benchmark:
        "<results>/benchmarks/scores/sets/{probe}/{model}.tsv"
    params:
        work=f"{RUN_FOLDER}/work/scores/sets/{{probe}}/{{model}}",
        settings=lambda wildcards: set_settings(
            wildcards.probe, "seed", "device", "rules", "generation", "probe", "scoring"
        ),
