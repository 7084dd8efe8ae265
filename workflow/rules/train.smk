# Train the embedded model again. Never part of the default run: the checkpoint under data/models/ is a source file.
# To use a new one, copy results/<run>/train/<model>/checkpoint over data/models/<model>.


rule train_embedded:
    output:
        checkpoint=directory(f"{OUT}/train/tiny-llava-next-vicuna/checkpoint"),
    log:
        f"{OUT}/logs/train/tiny-llava-next-vicuna.log",
    benchmark:
        f"{OUT}/benchmarks/train/tiny-llava-next-vicuna.tsv"
    conda:
        "../../environment.yml"
    threads: 2
    resources:
        mem_mb=8000,
        runtime=180,
        gpu=1,
    params:
        # The optimiser's state and the curve stay here: a stopped training goes on from them.
        work=f"{OUT}/work/train/tiny-llava-next-vicuna",
        settings=settings("seed", "device"),
        code=code_digest("embedded/train.py"),
    script:
        "../scripts/train_embedded.py"
