"""Every rule says what it needs, and both configurations plan without a model or a data set."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from project import ROOT, make_project, snakemake

RULES = ROOT / "workflow" / "rules"
MODEL_RULES = {
    "score_heads",
    "evaluate_shard",
    "evaluate_masks",
    "map_attention",
    "profile_length",
    "train_embedded",
}


def blocks() -> dict[str, str]:
    """The text of every rule under workflow/rules."""
    found: dict[str, str] = {}
    for path in sorted(RULES.glob("*.smk")):
        parts = re.split(r"^rule (\w+):\n", path.read_text(encoding="utf-8"), flags=re.MULTILINE)
        found |= dict(zip(parts[1::2], parts[2::2]))
    return found


@pytest.mark.parametrize("name", sorted(blocks()))
def test_rule_declares_what_it_needs(name: str) -> None:
    text = blocks()[name]
    for directive in ("output", "log", "benchmark", "threads", "resources", "conda", "params", "script"):
        assert re.search(rf"^    {directive}:", text, flags=re.MULTILINE), directive
    for needed in ("mem_mb=", "runtime=", "code=code_digest("):
        assert needed in text, needed
    assert ("gpu=1" in text) == (name in MODEL_RULES)


def test_every_script_is_used_once() -> None:
    used = sorted(re.findall(r'"\.\./scripts/(\w+\.py)"', "".join(blocks().values())))
    there = sorted(
        path.name for path in (ROOT / "workflow" / "scripts").glob("*.py") if path.name != "job.py"
    )
    assert used == there


def test_paths_are_literal_and_under_results() -> None:
    for name, text in blocks().items():
        body = re.search(r"^    output:\n((?:        .*\n)+)", text, flags=re.MULTILINE)
        assert body is not None
        assert "lambda" not in body.group(1), name
        assert "data/" not in body.group(1), f"{name} may write a source file"


@pytest.mark.parametrize("arguments", [(), ("--configfile", "config/paper.yaml")], ids=["embedded", "paper"])
def test_configuration_plans(tmp_path: Path, arguments: tuple[str, ...]) -> None:
    done = snakemake(make_project(tmp_path / "p"), "--dry-run", "--quiet", "rules", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "train_embedded" not in done.stdout
    assert ("synth-docvqa" in done.stdout) is False or not arguments


def test_unknown_key_is_one_line_and_nothing_runs(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    done = snakemake(project, "--config", "budgett=3")
    assert done.returncode != 0
    told = [line for line in done.stderr.splitlines() if "error" in line.lower()]
    assert told == ["error: config: unknown key 'budgett' at the top level; did you mean 'budgets'?"]
    assert "Traceback" not in done.stderr
    assert not (project / "results").exists()


def test_shard_out_of_range_is_told(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    target = "results/embedded/predictions/tiny-llava-next-vicuna/synth-ocr/7.parquet"
    done = snakemake(project, "--dry-run", target)
    assert done.returncode != 0
    assert (
        "benchmarks.synth-ocr.shards is 1: shard 7 is out of range; ask for 0 to 0"
        in done.stdout + done.stderr
    )


def test_missing_checkpoint_is_one_line_and_leaves_no_file(tmp_path: Path) -> None:
    project = make_project(tmp_path / "p")
    done = snakemake(project, "scores", "--configfile", str(ROOT / "tests" / "workflow" / "mini.yaml"))
    assert done.returncode != 0
    log = (project / "results/mini/logs/scores/mini.log").read_text(encoding="utf-8")
    assert len(log.splitlines()) == 1
    assert "data/models/mini" in log
    assert log in done.stderr
    assert not list((project / "results/mini").glob("scores/**/*.parquet"))
