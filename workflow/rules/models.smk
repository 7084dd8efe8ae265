# Models that are shipped as an adapter: its base, a language model in a Python package, and the adapter make a checkpoint.


rule assemble_model:
    input:
        adapter=adapter_file,
    output:
        config="<results>/checkpoints/{model}/config.json",
        generation="<results>/checkpoints/{model}/generation_config.json",
        weights="<results>/checkpoints/{model}/model.safetensors",
        processor="<results>/checkpoints/{model}/processor_config.json",
        template="<results>/checkpoints/{model}/chat_template.jinja",
        tokenizer="<results>/checkpoints/{model}/tokenizer.json",
        tokens="<results>/checkpoints/{model}/tokenizer_config.json",
    log:
        "<results>/logs/checkpoints/{model}.log",
    benchmark:
        "<results>/benchmarks/checkpoints/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: 1
    resources:
        mem_mb=grows(4000),
        runtime=grows(30),
    params:
        code=code_digest("embedded/smol/assemble.py"),
    script:
        "../scripts/assemble_model.py"
