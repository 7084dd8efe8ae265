# Emergence: are visual heads the copying heads that the language model had before it saw? Heads scored while it reads
# the probe pages as text, in each of its states; pages read, as text and as images, with the best heads of both masked.


def emergence_settings(*keys):
    """What decides how the probe pages are read as text; `keys` are of the section `emergence`."""
    asked = {key: value for key, value in config.get("emergence", {}).items() if key in keys}
    return settings("seed", "device", "probe", "scoring", "masking") | {"emergence": asked}


def adapters_of(wildcards):
    """The folders of a model's adapters, by their keys."""
    model = config["models"][wildcards.model]
    return {key: model[key] for key in ("adapter", "text_adapter") if key in model}


def adapter_files(wildcards):
    """The adapters of a model, or one clear line if it is not assembled."""
    adapter_file(wildcards)
    return [f"{folder}/adapter.safetensors" for folder in adapters_of(wildcards).values()]


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
        mem_mb=5000,
        runtime=60,
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        adapters=adapters_of,
        settings=emergence_settings("pages", "batch_size"),
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
        mem_mb=5000,
        runtime=120,
        gpu=1,
    params:
        model=lambda wildcards: config["models"][wildcards.model],
        adapters=adapters_of,
        settings=emergence_settings("masked_pages", "fractions", "seeds", "batch_size"),
        code=code_digest(
            "embedded/smol/readers.py",
            "evaluation/reading_masks.py",
            "heads/text_pages.py",
            "heads/given_answers.py",
        ),
    script:
        "../scripts/mask_reading.py"
