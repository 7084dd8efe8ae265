# The result files of a run by stage, and whether all are there. No rules here; stands on common.smk.
from targets import asked_targets

# The result files of each stage, for targets, tables and figures.
PROBES = expand("<results>/probe/{family}.parquet", family=FAMILIES)
PATCHES = expand("<results>/patches/{model}.parquet", model=MODELS)
SCORES = expand("<results>/scores/{model}.parquet", model=MODELS)
SAMPLES = expand("<results>/scores/samples/{model}.parquet", model=MODELS)
SET_PROBES, SET_PATCHES, SET_SCORES, SET_SAMPLES, SET_MAPS = (
    expand(path, probe=PROBE_SETS, model=MODELS, documents=DOCUMENTS)
    for path in (
        "<results>/probe/sets/{probe}/{documents}.parquet",
        "<results>/patches/sets/{probe}/{model}.parquet",
        "<results>/scores/sets/{probe}/{model}.parquet",
        "<results>/scores/samples/sets/{probe}/{model}.parquet",
        "<results>/attention_maps/sets/{probe}/{model}.parquet",
    )
)
KEEP = expand("<results>/keep/{model}.parquet", model=MODELS)
PREDICTIONS = [
    f"<results>/predictions/{model}/{benchmark}/{shard}.parquet"
    for benchmark in config["benchmarks"]
    for model in models_of(benchmark)
    for shard in shards_of(benchmark)
]
RUN_SCORES = [
    f"<results>/run_scores/{model}/{benchmark}.parquet"
    for benchmark in config["benchmarks"]
    if not get_benchmark(benchmark).rules["paper"].by_row
    for model in models_of(benchmark)
]
MASKS = [
    f"<results>/masks/{model}/{benchmark}.parquet"
    for benchmark in config["masking"]["benchmarks"]
    for model in models_of(benchmark)
]
ATTENTION_MAPS = expand("<results>/attention_maps/{model}.parquet", model=MODELS)
# The explorer's page: the attention of all heads over it, and what each KV head keeps of it.
HEAD_PAGES, HEAD_MAPS, TOKEN_RANKS, PAGE_KEEP = (
    expand(f"<results>/attention_maps/{kind}/{{model}}.parquet", model=MODELS)
    for kind in ("pages", "heads", "ranks", "kept")
)
EFFICIENCY, PROFILE = (
    expand(
        f"<results>/{kind}/{{model}}/{{policy}}-{{tokens}}.parquet",
        model=TIMED,
        policy=config["efficiency"]["policies"],
        tokens=config["efficiency"]["tokens"],
    )
    for kind in ("efficiency", "profile")
)
# The states of the models with a language model of their own that are asked where visual heads come from.
READ = [
    (name, reading)
    for name, model in config["models"].items()
    if "emergence" in config and "adapter" in model
    for reading in ("base", "text_stage", "seeing", "image")
    if reading != "text_stage" or "text_adapter" in model
]
TEXT_SCORES, TEXT_SAMPLES = (
    [f"<results>/emergence/{kind}/{reading}/{name}.parquet" for name, reading in READ if reading != "image"]
    for kind in ("scores", "samples")
)
READING_MASKS = [f"<results>/emergence/masks/{reading}/{name}.parquet" for name, reading in READ]
# Recipes of the head score compared.
RECIPES, HEAD_LOSSES = (
    expand(f"<results>/recipes/{kind}/{{model}}.parquet", model=MODELS if "recipes" in config else [])
    for kind in ("scores", "losses")
)
STAGES = [
    RECIPES,
    HEAD_LOSSES,
    TEXT_SCORES,
    TEXT_SAMPLES,
    READING_MASKS,
    PROBES,
    PATCHES,
    SCORES,
    SAMPLES,
    KEEP,
    PREDICTIONS,
    RUN_SCORES,
    MASKS,
    ATTENTION_MAPS,
    EFFICIENCY,
    PROFILE,
    SET_PROBES,
    SET_PATCHES,
    SET_SCORES,
    SET_SAMPLES,
    SET_MAPS,
]


def gpus_granted():
    """GPUs that `--resources gpu=N` grants; 0 means that every model runs on the CPU."""
    return int(workflow.global_resources["gpu"].value) if "gpu" in workflow.global_resources else 1


def recorded(paths):
    """What the explorer reads of `paths`: all, or of cached results, which may be older than it, those that are there."""
    # In a job's own process what was planned is there, and what was asked for is not known.
    if workflow.is_main_process and not cached_only():
        return paths
    return [path for path in paths if Path(path.replace("<results>", RUN_FOLDER)).exists()]


def cached_only():
    """Whether figures, claims or the explorer alone are asked for and every file that figures and tables read is there."""
    asked = asked_targets()
    files = [Path(path.replace("<results>", RUN_FOLDER)) for paths in STAGES for path in paths]
    return bool(asked) and asked <= {"figures", "claims", "explorer"} and all(file.exists() for file in files)
