# What every stage needs: the checked configuration, the result files by name, small input functions. No rules here.
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

BASE = Path(str(workflow.basedir))
sys.path[:0] = [str(BASE / "workflow" / "lib"), str(BASE / "src")]

import checks
import digest
import narrowing
from names import FULL_CACHE
from policies import score_files
from seeds import with_seeds
from values import ConfigError

from sparsemm.benchmarks import get_benchmark
from sparsemm.benchmarks.named import samples_for
from sparsemm.labels import with_question
from sparsemm.sources.lock import LOCK_FILE


def with_checkpoints(config):
    """The configuration with the path of every model that is assembled from an adapter: a folder of this run."""
    assembled = f"results/{config['run']}/checkpoints"
    models = {
        name: model | {"path": f"{assembled}/{name}"} if "adapter" in model else model
        for name, model in config["models"].items()
    }
    return config | {"models": models}


def checked(config):
    """The configuration of this run, or one clear line."""
    files = [str(path) for path in workflow.config_settings.configfiles or []]
    try:
        config = narrowing.selected(
            checks.replace_sections(config, files, ("models", "probes", "benchmarks")), files
        )
        checks.check(config)
        config, left_out = narrowing.without_base(narrowing.limited(config))
        config = with_checkpoints(with_seeds(config))
        checks.check_writable(f"results/{config['run']}")
    except ConfigError as error:
        # Not an exception: Snakemake would wrap the line in a traceback of this file.
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
    if left_out and workflow.is_main_process:
        print(f"warning: {left_out}", file=sys.stderr)
    return config


config = checked(config)

# Files of rules are written "<results>/scores/{model}.parquet"; Snakemake expands <results> in input, output, log and
# benchmark, also in what input functions, expand() and report() return. It does not in params: those use RUN_FOLDER.
RUN_FOLDER = f"results/{config['run']}"
# A trial's jobs spend their time on starting, which one thread does: two at once on two cores.
MODEL_THREADS = 2 if config["limit"] is None else 1


pathvars:
    results=RUN_FOLDER,


MODELS = list(config["models"])
TIMED = [name for name, model in config["models"].items() if model.get("timed", True)]
FAMILIES = sorted({model["family"] for model in config["models"].values()})
# Further probe sets, and the generated scenes that the run's models can read.
PROBE_SETS = list(config["probes"])
DOCUMENTS = sorted({model.get("documents", "plain") for model in config["models"].values()})


wildcard_constraints:
    model="|".join(MODELS).replace(".", r"\."),
    family="|".join(FAMILIES),
    documents="|".join(DOCUMENTS),
    probe="|".join(PROBE_SETS).replace(".", r"\.") or "none",
    benchmark="|".join(config["benchmarks"]),
    reading="base|text_stage|seeing|image",
    shard=r"\d+",
    tokens=r"\d+",


def grows(amount):
    """Memory or time that is granted once more with every attempt; a cluster's profile says how many there are."""
    return lambda wildcards, attempt: amount * attempt


def code_digest(*modules):
    """A hash of the package's modules that a rule runs; as a param it reruns the rule when they change."""
    return digest.code_digest(BASE / "src", *modules)


# Policies and benchmarks are loaded by name from a list: imports do not lead to them.
POLICIES_CODE = ("policies/", "methods.py")
BENCHMARKS_CODE = ("benchmarks/",)


def settings(*keys):
    """The part of the configuration that decides a file's content; also what its provenance hashes."""
    return {key: config[key] for key in keys}


def set_settings(probe, *keys):
    """`settings` with a further probe set in place of the probe set.

    Where a model reads nothing of such a set, that is a result: all heads get the same score.
    """
    uniform = config["scoring"] | {"no_match": "uniform"}
    changed = {"probe": {"source": "generated"} | config["probes"][probe], "scoring": uniform}
    return settings(*keys) | {key: changed[key] for key in keys if key in changed}


def scene_settings(probe, documents):
    """What decides the images of a further probe set."""
    found = set_settings(probe, "seed", "probe")
    return found | {"probe": found["probe"] | {"documents": documents}}


def section_settings(section, *keys):
    """What decides how heads are scored and masked, and `keys` of a section of the configuration that may be missing."""
    asked = {key: value for key, value in config.get(section, {}).items() if key in keys}
    known = settings("seed", "device", "rules", "generation", "probe", "scoring", "masking")
    return known | {section: asked}


def models_of(benchmark):
    return config["benchmarks"][benchmark].get("models", MODELS)


def benchmark_of(wildcards):
    """The entry of a benchmark, with no more samples than the model is asked for."""
    entry = config["benchmarks"][wildcards.benchmark]
    return entry | {"samples": samples_for(entry, config["models"][wildcards.model])}


def shards_of(benchmark):
    return range(config["benchmarks"][benchmark]["shards"])


def predictions_of(wildcards):
    """The predictions of every shard of a model's run of a benchmark."""
    folder = f"<results>/predictions/{wildcards.model}/{wildcards.benchmark}"
    return [f"{folder}/{shard}.parquet" for shard in shards_of(wildcards.benchmark)]


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
    policies = [with_question(label, asked) for asked in config["question"] for label in config["policies"]]
    cells = [(FULL_CACHE, 0)] + [(policy, budget) for policy in policies for budget in budgets]
    rho, parts, probe = (config["ablations"].get(part, {}) for part in ("rho", "parts", "probe"))
    if benchmark == rho.get("benchmark"):
        cells += [(f"sparsemm[rho={value}]", rho["budget"]) for value in rho["values"]]
    if benchmark == parts.get("benchmark"):
        labels = ("local_window", "sparsemm[rho=1.0]", "sparsemm")
        cells += [(label, budget) for label in labels for budget in parts["budgets"]]
    if PROBE_SETS and benchmark == probe.get("benchmark"):
        labels = ("sparsemm", "random_heads", *(f"sparsemm[probe={name}]" for name in PROBE_SETS))
        cells += [(label, budget) for label in labels for budget in probe["budgets"]]
    return [list(cell) for cell in dict.fromkeys(cells)]


def budgets_of_all():
    """Every budget that some benchmark of the run asks for."""
    found = set(config["budgets"])
    for benchmark in config["benchmarks"].values():
        found |= set(benchmark.get("budgets", []))
    return sorted(found)


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
