# Emergence: are visual heads the copying heads that the language model had before it saw? Heads scored while it reads
# the probe pages as text, in each of its states; pages read, as text and as images, with the best heads of both masked.


rule read_text:
    input:
        probe=probe_of,
        model=model_files,
        adapters=adapter_files,
    output:
        scores="<results>/emergence/scores/{reading}/{model}.parquet",
        samples="<results>/emergence/samples/{reading}/{model}.parquet",
    log:
        "<results>/logs/emergence/scores/{reading}/{model}.log",
    benchmark:
        "<results>/benchmarks/emergence/scores/{reading}/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(5000),
        runtime=grows(60),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        adapters=adapters_of,
        settings=section_settings("emergence", "pages", "batch_size"),
        code=code_digest("embedded/smol/readers.py", "heads/text_pages.py", "heads/text_reading.py"),
    script:
        "../scripts/read_text.py"


rule mask_reading:
    input:
        probe=probe_of,
        model=model_files,
        adapters=adapter_files,
        visual="<results>/scores/{model}.parquet",
        copying="<results>/emergence/scores/base/{model}.parquet",
    output:
        masks="<results>/emergence/masks/{reading}/{model}.parquet",
    log:
        "<results>/logs/emergence/masks/{reading}/{model}.log",
    benchmark:
        "<results>/benchmarks/emergence/masks/{reading}/{model}.tsv"
    conda:
        "../../environment.yml"
    threads: MODEL_THREADS
    resources:
        mem_mb=grows(5000),
        runtime=grows(120),
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        adapters=adapters_of,
        settings=section_settings("emergence", "masked_pages", "fractions", "seeds", "batch_size"),
        code=code_digest(
            "embedded/smol/readers.py",
            "evaluation/reading_masks.py",
            "heads/text_pages.py",
            "heads/given_answers.py",
        ),
    script:
        "../scripts/mask_reading.py"
