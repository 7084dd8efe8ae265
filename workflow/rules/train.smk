# Train the shipped models again. Never part of the default run: what is under data/models/ are source files.
# To use a new one, copy results/<run>/train/<model>/checkpoint over data/models/<model>.


rule train_embedded:
    output:
        checkpoint=directory("<results>/train/tiny-llava-next-vicuna/checkpoint"),
    log:
        "<results>/logs/train/tiny-llava-next-vicuna.log",
    benchmark:
        "<results>/benchmarks/train/tiny-llava-next-vicuna.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=grows(8000),
        runtime=grows(180),
        gpu=1,
    params:
        # The optimiser's state and the curve stay here: a stopped training goes on from them.
        work=f"{RUN_FOLDER}/work/train/tiny-llava-next-vicuna",
        settings=settings("seed", "device"),
        code=code_digest("embedded/train.py"),
    script:
        "../scripts/train_embedded.py"


# Whose vision tower training starts from, where the architecture has one like it.
START = {"smol-llava-next": "data/models/tiny-llava-next-vicuna/model.safetensors"}


# The adapter of a model around SmolLM2. To use a new one, copy it over data/models/<adapter>/adapter.safetensors.
rule train_adapter:
    input:
        start=lambda wildcards: START.get(wildcards.adapter, []),
    output:
        adapter="<results>/train/{adapter}/adapter.safetensors",
    log:
        "<results>/logs/train/{adapter}.log",
    benchmark:
        "<results>/benchmarks/train/{adapter}.tsv"
    wildcard_constraints:
        adapter="|".join(ADAPTERS),
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=grows(10000),
        runtime=grows(360),
    params:
        # The optimiser's state and the curve stay here.
        work=f"{RUN_FOLDER}/work/train/{{adapter}}",
        settings=settings("seed"),
        code=code_digest("embedded/smol/train.py"),
    script:
        "../scripts/train_adapter.py"
