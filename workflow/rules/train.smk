# Train the embedded model again. Never part of the default run: the checkpoint under data/models/ is a source file.
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
        mem_mb=8000,
        runtime=180,
        gpu=1,
    params:
        # The optimiser's state and the curve stay here: a stopped training goes on from them.
        work=f"{RUN_FOLDER}/work/train/tiny-llava-next-vicuna",
        settings=settings("seed", "device"),
        code=code_digest("embedded/train.py"),
    script:
        "../scripts/train_embedded.py"
