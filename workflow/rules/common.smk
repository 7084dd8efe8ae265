# What every stage needs: the checked configuration, the result files by name, small input functions. No rules here.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(str(workflow.basedir))
sys.path.insert(0, str(BASE / "workflow" / "rules"))

import checks
import digest


def checked(config):
    """The configuration of this run, or one clear line."""
    files = [str(path) for path in workflow.config_settings.configfiles or []]
    try:
        config = checks.replace_sections(config, files, ("models", "benchmarks"))
        checks.check(config, BASE / "workflow" / "schemas" / "config.schema.yaml")
        checks.check_writable(f"results/{config['run']}")
    except checks.ConfigError as error:
        # Not an exception: Snakemake would wrap the line in a traceback of this file.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    return config


config = checked(config)

OUT = f"results/{config['run']}"
MODELS = list(config["models"])
FAMILIES = sorted({model["family"] for model in config["models"].values()})


wildcard_constraints:
    model="|".join(MODELS).replace(".", r"\."),
    family="|".join(FAMILIES),
    benchmark="|".join(config["benchmarks"]),
    shard=r"\d+",
    policy="fullkv|snapkv|pyramidkv|adakv|sparsemm|random_heads",
    tokens=r"\d+",


def code_digest(*modules):
    """A hash of the package's modules that a rule runs; as a param it reruns the rule when they change."""
    return digest.code_digest(BASE / "src", *modules)


def settings(*keys):
    """The part of the configuration that decides a file's content; also what its provenance hashes."""
    return {key: config[key] for key in keys}


def model_files(wildcards):
    """The checkpoint's files where it is a local folder; none for a hub id or a folder that is not there yet.

    A missing folder is reported by the job, in one line: other stages and the dry run need no checkpoint.
    """
    folder = Path(config["models"][wildcards.model]["path"])
    # The card, the training curve, and scores that `sparsemm heads --save` left there decide nothing.
    notes = (".md", ".csv", ".parquet")
    return sorted(str(path) for path in folder.glob("*") if path.is_file() and path.suffix not in notes)


def probe_of(wildcards):
    return f"{OUT}/probe/{config['models'][wildcards.model]['family']}.parquet"


def models_of(benchmark):
    return config["benchmarks"][benchmark].get("models", MODELS)


def shards_of(benchmark):
    return range(config["benchmarks"][benchmark]["shards"])


def shard_number(wildcards):
    """The shard asked for, or one clear line if the benchmark has no such shard."""
    shards = config["benchmarks"][wildcards.benchmark]["shards"]
    if int(wildcards.shard) >= shards:
        raise WorkflowError(
            f"benchmarks.{wildcards.benchmark}.shards is {shards}: shard {wildcards.shard} is out of range; "
            f"ask for 0 to {shards - 1}"
        )
    return int(wildcards.shard)


def cells_of(benchmark):
    """The (policy label, budget) pairs of a benchmark's run: full cache, every policy at every budget, ablations."""
    budgets = config["benchmarks"][benchmark].get("budgets", config["budgets"])
    cells = [("fullkv", 0)] + [(policy, budget) for policy in config["policies"] for budget in budgets]
    rho, parts = config["ablations"]["rho"], config["ablations"]["parts"]
    if benchmark == rho["benchmark"]:
        cells += [(f"sparsemm[rho={value}]", rho["budget"]) for value in rho["values"]]
    if benchmark == parts["benchmark"]:
        labels = ("local_window", "sparsemm[rho=1.0]", "sparsemm")
        cells += [(label, budget) for label in labels for budget in parts["budgets"]]
    return [list(cell) for cell in dict.fromkeys(cells)]


def budgets_of_all():
    """Every budget that some benchmark of the run asks for."""
    found = set(config["budgets"])
    for benchmark in config["benchmarks"].values():
        found |= set(benchmark.get("budgets", []))
    return sorted(found)


def captions():
    """The caption of every table and figure; as a param, an edited caption makes the page again."""
    folder = BASE / "workflow" / "report"
    names = [*TABLE_NAMES, *FIGURE_NAMES]
    return {name: (folder / f"{name}.rst").read_text(encoding="utf-8") for name in names}


def report_facts():
    """What the page says about the run."""
    samples = [f"{name} ({benchmark['samples']} samples)" for name, benchmark in config["benchmarks"].items()]
    return {
        "run": config["run"],
        "models": ", ".join(MODELS),
        "benchmarks": ", ".join(samples),
        "seed": str(config["seed"]),
        "window": f"{config['window']} tokens",
    }


# Result files, as in DESIGN: literal in the rules, listed here for the targets.
PROBES = [f"{OUT}/probe/{family}.parquet" for family in FAMILIES]
SCORES = [f"{OUT}/scores/{model}.parquet" for model in MODELS]
SAMPLES = [f"{OUT}/scores/samples/{model}.parquet" for model in MODELS]
KEEP = [f"{OUT}/keep/{model}.parquet" for model in MODELS]
PREDICTIONS = [
    f"{OUT}/predictions/{model}/{benchmark}/{shard}.parquet"
    for benchmark in config["benchmarks"]
    for model in models_of(benchmark)
    for shard in shards_of(benchmark)
]
MASKS = [
    f"{OUT}/masks/{model}/{benchmark}.parquet"
    for benchmark in config["masking"]["benchmarks"]
    for model in models_of(benchmark)
]
ATTENTION_MAPS = [f"{OUT}/attention_maps/{model}.parquet" for model in MODELS]
EFFICIENCY, PROFILE = (
    [
        f"{OUT}/{kind}/{model}/{policy}-{tokens}.parquet"
        for model in MODELS
        for policy in config["efficiency"]["policies"]
        for tokens in config["efficiency"]["tokens"]
    ]
    for kind in ("efficiency", "profile")
)
TABLE_NAMES = ["findings", "table1", "table2", "table3", "table4", "table5", "table_audit", "table_profile"]
TABLE_NAMES.append("comparison")
FIGURE_NAMES = ["figure2", "figure4", "figure6", "figure7", "figure10", "figure_audit"]
TABLE_CSV = [f"{OUT}/paper/{name}.csv" for name in TABLE_NAMES]
FIGURE_PNG = [f"{OUT}/paper/{name}.png" for name in FIGURE_NAMES]
TABLES = [f"{OUT}/paper/{name}.{kind}" for name in TABLE_NAMES for kind in ("csv", "md", "tex")]
FIGURES = [f"{OUT}/paper/{name}.{kind}" for name in FIGURE_NAMES for kind in ("pdf", "png")]
PAPER = [*TABLES, *FIGURES, f"{OUT}/paper/report.html"]
RESULTS = [*SCORES, *SAMPLES, *KEEP, *PREDICTIONS, *MASKS, *ATTENTION_MAPS, *EFFICIENCY, *PROFILE]


def cached_only():
    """Whether `figures` alone is asked for and every result file is there.

    The rules that run models are then left out of the workflow: tables and figures are made from the files as they
    are, whatever has happened to code, configuration or time stamps since, and no job imports torch.
    """
    targets = set(workflow.dag_settings.targets) if workflow.dag_settings else set()
    return targets == {"figures"} and all(Path(path).exists() for path in RESULTS)


CACHED_ONLY = cached_only()
