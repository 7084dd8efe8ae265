"""Every rule says what it needs, and both configurations plan without a model or a data set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from project import ROOT, make_project, snakemake

RULES = ROOT / "workflow" / "rules"
# The files of rules that belong to the project, not to a run: what was fetched.
FETCHED = {
    "data/benchmarks/{benchmark}/index.parquet",
    "data/fetched/models/{model}.json",
    "data/fetched/probe.json",
}
ALWAYS_RUN = {"preflight"}  # no output and no benchmark: it runs whenever it is asked for
# The rules of further probe sets, each made of the same rule of the probe set.
SET_RULES = {
    "make_probe_set": "make_probe",
    "map_set_patches": "map_patches",
    "score_set_heads": "score_heads",
    "map_set_attention": "map_attention",
}
MODEL_RULES = {
    "score_heads",
    "score_set_heads",
    "evaluate_shard",
    "evaluate_masks",
    "map_attention",
    "map_set_attention",
    "map_kept",
    "read_text",
    "mask_reading",
    "score_recipes",
    "mask_groups",
    "profile_length",
    "train_embedded",
}
# What a configuration asks for with sections that the shipped ones lack.
ON_REQUEST = {"read_text", "mask_reading", "score_recipes", "mask_groups"}
# What generated benchmarks and shipped models need not.
PAPER_RULES = {"score_run", "fetch_benchmark", "fetch_model", "fetch_probe"}


def blocks() -> dict[str, str]:
    """The text of every rule under workflow/rules; of one made of another, its own text before the other's."""
    found = own_blocks()
    return found | {name: found[name] + found[base] for name, base in SET_RULES.items()}


def own_blocks() -> dict[str, str]:
    """The text of every rule under workflow/rules, as it is written."""
    found: dict[str, str] = {}
    head = r"^(?:use rule \w+ as (?=\w+ with)|rule )(\w+)(?: with)?:\n"
    for path in sorted(RULES.glob("*.smk")):
        parts = re.split(head, path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2]))
    return found


def faults_of_paths(text: str) -> list[str]:
    """What a rule writes that is not a literal path under <results>, and directives without a path."""
    faults = []
    for directive in ("output", "log", "benchmark"):
        found = re.search(rf"^    {directive}:\n((?:        .*\n)+)", text, flags=re.MULTILINE)
        body = found.group(1) if found else ""
        # Strings but for dictionary keys (["..."]) and what report() says about a file.
        strings = re.findall(r'(?:(\w+)=)?(?<![\[\w])(f?)"([^"\]]*)"(?!\])', body)
        paths = [(form, path) for name, form, path in strings if name not in ("caption", "category")]
        faults += [
            f"{directive}: {form}{path!r}"
            for form, path in paths
            if form or (not path.startswith("<results>/") and path not in FETCHED)
        ]
        if not paths or "lambda" in body:
            faults.append(f"{directive}: no literal path")
    return faults


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project without results."""
    return make_project(tmp_path_factory.mktemp("rules") / "project")


@pytest.mark.parametrize("name", sorted(blocks()))
def test_rule_declares_what_it_needs(name: str) -> None:
    text = blocks()[name]
    for directive in ("output", "log", "benchmark", "threads", "resources", "conda", "params", "script"):
        wanted = name not in ALWAYS_RUN or directive not in ("output", "benchmark")
        assert bool(re.search(rf"^    {directive}:", text, flags=re.MULTILINE)) == wanted, directive
    for needed in ("mem_mb=", "runtime=", "code="):
        assert needed in text, needed
    assert "code_digest(" in text
    assert ("gpu=1" in text) == (name in MODEL_RULES)


def test_every_script_is_used_once() -> None:
    used = sorted(re.findall(r'"\.\./scripts/(\w+\.py)"', "".join(own_blocks().values())))
    there = sorted(
        path.name for path in (ROOT / "workflow" / "scripts").glob("*.py") if path.name != "job.py"
    )
    assert used == there


@pytest.mark.parametrize("name", SET_RULES)
def test_rules_of_further_sets_write_files_of_their_own(name: str) -> None:
    text = own_blocks()[name]
    for directive in ("input", "output", "log", "benchmark", "params"):
        assert re.search(rf"^    {directive}:", text, flags=re.MULTILINE), directive
    assert faults_of_paths(text) == []
    assert text.count("/sets/{probe}/") >= 3


@pytest.mark.parametrize("name", sorted(blocks()))
def test_paths_are_literal_and_under_results(name: str) -> None:
    without = ["output: no literal path", "benchmark: no literal path"] if name in ALWAYS_RUN else []
    assert faults_of_paths(blocks()[name]) == without


@pytest.mark.parametrize(
    ("written", "fault"),
    [
        ('scores="data/models/{model}/scores.parquet"', "'data/models/{model}/scores.parquet'"),
        ('scores="results/mini/scores/{model}.parquet"', "'results/mini/scores/{model}.parquet'"),
        ('f"<results>/scores/{{model}}.parquet"', "f'<results>/scores/{{model}}.parquet'"),
        ('csv=report("paper/{table}.csv", caption="../report/caption.rst")', "'paper/{table}.csv'"),
        ('"<results>/a.csv",\n        directory("checkpoint")', "'checkpoint'"),
        ("lambda wildcards: path(wildcards)", "no literal path"),
    ],
)
def test_other_paths_are_faults(written: str, fault: str) -> None:
    others = '    log:\n        "<results>/l.log",\n    benchmark:\n        "<results>/b.tsv"\n'
    text = f"    output:\n        {written},\n{others}"
    assert faults_of_paths(text) == [f"output: {fault}"]


def test_slurm_profile_names_rules_that_exist() -> None:
    profile = yaml.safe_load((ROOT / "workflow/profiles/slurm/config.yaml").read_text(encoding="utf-8"))
    assert set(profile["set-threads"]) | set(profile["set-resources"]) | set(profile["groups"]) <= set(
        blocks()
    )
    on_gpus = {name for name, needs in profile["set-resources"].items() if needs["slurm_partition"] == "gpu"}
    assert on_gpus == MODEL_RULES - {"train_embedded"}


@pytest.mark.parametrize("name", ["embedded", "paper"])
def test_configuration_plans(project: Path, name: str) -> None:
    arguments = () if name == "embedded" else ("--configfile", f"config/{name}.yaml")
    done = snakemake(project, "--dry-run", *arguments)
    said = done.stdout + done.stderr
    assert done.returncode == 0, said
    planned_rules = set(re.findall(r"^(?:local)?rule (\w+):$", said, flags=re.MULTILINE))
    not_planned = PAPER_RULES if name == "embedded" else set(SET_RULES)
    assert not planned_rules & not_planned
    assert planned_rules | not_planned == {
        *blocks(),
        "all",
    } - {"train_embedded", "train_adapter", "assemble_model", "lock", "preflight", *ON_REQUEST}
    file = ROOT / "config" / ("config.yaml" if name == "embedded" else f"{name}.yaml")
    wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    planned = set(re.findall(rf"results/{name}/predictions/([\w.-]+)/([\w-]+)/(\d+)\.parquet", said))
    assert planned == {
        (model, benchmark, str(shard))
        for benchmark, facts in wanted["benchmarks"].items()
        for model in facts.get("models", wanted["models"])
        for shard in range(facts["shards"])
    }
    assert set(re.findall(r"results/(\w+)/", said)) == {name}


def test_unknown_key_is_one_line_and_nothing_runs(project: Path) -> None:
    done = snakemake(project, "--config", "budgett=3")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert told == ["error: config: unknown key 'budgett' at the top level; did you mean 'budgets'?"]
    assert "Traceback" not in done.stderr
    assert not (project / "results" / "embedded").exists()


def test_shard_out_of_range_is_told(project: Path) -> None:
    target = "results/embedded/predictions/tiny-llava-next-vicuna/synth-ocr/7.parquet"
    done = snakemake(project, "--dry-run", target)
    assert done.returncode != 0
    assert (
        "benchmarks.synth-ocr.shards is 1: shard 7 is out of range; ask for 0 to 0"
        in done.stdout + done.stderr
    )


def test_missing_checkpoint_is_one_line_and_leaves_no_file(project: Path) -> None:
    mini = str(ROOT / "tests" / "workflow" / "mini.yaml")
    done = snakemake(project, "results/mini/scores/mini.parquet", "--configfile", mini)
    assert done.returncode != 0
    log = (project / "results/mini/logs/patches/mini.log").read_text(encoding="utf-8")
    assert len(log.splitlines()) == 1
    assert "data/models/mini" in log
    assert log in done.stderr
    assert {path.parent.name for path in (project / "results/mini").glob("**/*.parquet")} == {"probe"}
