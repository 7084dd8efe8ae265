# The result files of a run by stage, and whether all are there. No rules here; stands on common.smk.
from targets import asked_targets, drawn_from_results

from sparsemm.reporting.closing import closing_lines

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
# What tables, figures and the explorer read; `rules/paper.smk` and `rules/explorer.smk` say which.
READ_BY_PAPER = [
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
    SET_SCORES,
    SET_SAMPLES,
    SET_MAPS,
    TEXT_SCORES,
    TEXT_SAMPLES,
    READING_MASKS,
    RECIPES,
    HEAD_LOSSES,
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
    """Whether only tables, figures or the page are asked for, and every result file that they read is there."""
    files = [path.replace("<results>", RUN_FOLDER) for paths in READ_BY_PAPER for path in paths]
    try:
        return drawn_from_results(asked_targets(), config["run"], files)
    except ConfigError as error:
        if not workflow.is_main_process:  # a job on a cluster, whose targets are not on its command line
            return False
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)


def last_lines():
    """What a run that ends well says last; nothing where tables are missing or cannot be read."""
    try:
        lines = closing_lines(RUN_FOLDER)
    except Exception:
        return []
    return [f"{RUN_FOLDER} in short:", *lines] if lines else []
