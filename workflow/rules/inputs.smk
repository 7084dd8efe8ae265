# What rules read of models, probe sets and data sets: input functions. No rules here; stands on common.smk.
from sparsemm.sources.fetching import MODEL_MARKER, PROBE_MARKER, is_own_copy

# Models that `train_smol` trains adapters of.
ADAPTERS = ("smol-llava-next", "smol-qwen2-vl")
# What the rule assemble_model writes.
CHECKPOINT_FILES = (
    "chat_template.jinja",
    "config.json",
    "generation_config.json",
    "model.safetensors",
    "processor_config.json",
    "tokenizer.json",
    "tokenizer_config.json",
)


def model_files(wildcards):
    """The checkpoint's files where it is a local folder, else the marker of a fetched one; none if it has no hub id.

    A missing folder is reported by the job, in one line: other stages and the dry run need no checkpoint.
    """
    if "adapter" in config["models"][wildcards.model]:
        return [f"<results>/checkpoints/{wildcards.model}/{name}" for name in CHECKPOINT_FILES]
    if is_fetched(wildcards.model):
        return [MODEL_MARKER.format(model=wildcards.model)]
    folder = Path(config["models"][wildcards.model]["path"])
    # The card, the training curve, and scores that `sparsemm heads --save` left there decide nothing.
    notes = (".md", ".csv", ".parquet")
    return sorted(str(path) for path in folder.glob("*") if path.is_file() and path.suffix not in notes)


def adapter_file(wildcards):
    """The adapter that a model is assembled from, or one clear line if it is not."""
    model = config["models"][wildcards.model]
    if "adapter" not in model:
        raise WorkflowError(f"models.{wildcards.model} is not assembled: it has a path and no adapter")
    return f"{model['adapter']}/adapter.safetensors"


def adapters_of(wildcards):
    """The folders of a model's adapters, by their keys."""
    model = config["models"][wildcards.model]
    return {key: model[key] for key in ("adapter", "text_adapter") if key in model}


def adapter_files(wildcards):
    """The adapters of a model, or one clear line if it is not assembled."""
    adapter_file(wildcards)
    return [f"{folder}/adapter.safetensors" for folder in adapters_of(wildcards).values()]


def processor_files(wildcards):
    """The checkpoint's files without its weights."""
    weights = (".safetensors", ".bin", ".pt", ".pth", ".gguf")
    return [path for path in model_files(wildcards) if not path.endswith(weights)]


def is_fetched(name):
    """Whether a model comes from the hub: a local folder at its path is used as it is."""
    model = config["models"][name]
    return "hub" in model and not Path(model["path"]).is_dir()


def hub_model(name):
    """Where a model is on the hub, or one clear line if it is not from there."""
    model = config["models"][name]
    if "hub" not in model:
        raise WorkflowError(f"models.{name} has no hub id to fetch it from; add models.{name}.hub")
    return {"hub": model["hub"], "revision": model.get("revision", "main"), "family": model["family"]}


def hub_probe():
    """Where the probe set is on the hub and goes to, or one clear line if it is not from there."""
    probe = config["probe"]
    if "hub" not in probe or probe["source"] == "generated":
        raise WorkflowError(
            "probe: not from the hub; set probe.hub, and probe.source to the folder it goes to"
        )
    return {
        "hub": probe["hub"],
        "revision": probe.get("revision", "main"),
        "split": probe.get("split", "train"),
        "folder": probe["source"],
        "images": probe["images"],
    }


def probe_files(wildcards=None):
    """The marker of a probe set that is fetched; none where it is generated or a local copy."""
    probe = config["probe"]
    local = probe["source"] == "generated" or is_own_copy(probe["source"])
    return [PROBE_MARKER] if "hub" in probe and not local else []


def data_set_of(name):
    """What is fetched for a benchmark, or one clear line if it is not from the hub."""
    entry = config["benchmarks"][name]
    benchmark = get_benchmark(name, hub=entry.get("hub"))
    if not hasattr(benchmark, "hub"):
        raise WorkflowError(f"benchmarks.{name} is generated; there is nothing to fetch")
    read = {key: repr(getattr(benchmark, key)) for key in ("config", "split", "columns", "join")}
    return {"hub": list(benchmark.hub), "revision": entry.get("revision", "main"), **read}


def index_of(benchmark):
    """The index of a hub benchmark's fetched rows; none for one whose documents are drawn."""
    return [f"data/benchmarks/{benchmark}/index.parquet"] if hasattr(get_benchmark(benchmark), "hub") else []


def rows_of(wildcards):
    return index_of(wildcards.benchmark)


def fetched(wildcards):
    """Everything of the configuration that comes from the hub."""
    models = [MODEL_MARKER.format(model=name) for name in MODELS if is_fetched(name)]
    return models + probe_files() + [path for name in config["benchmarks"] for path in index_of(name)]


def probe_of(wildcards):
    return f"<results>/probe/{config['models'][wildcards.model]['family']}.parquet"


def set_of(wildcards):
    """The images of a further probe set that a model can read."""
    documents = config["models"][wildcards.model].get("documents", "plain")
    return f"<results>/probe/sets/{wildcards.probe}/{documents}.parquet"


def set_scores_of(wildcards):
    """The scores from every further probe set, for the benchmark that is answered with the heads of each."""
    asked = config["ablations"].get("probe", {}).get("benchmark")
    names = PROBE_SETS if wildcards.benchmark == asked else []
    return [f"<results>/scores/sets/{name}/{wildcards.model}.parquet" for name in names]
