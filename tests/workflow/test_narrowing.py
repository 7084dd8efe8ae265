"""A part of an experiment: `limit`, and models and benchmarks chosen by --config."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

import checks
import narrowing
from project import ROOT

PAPER = str(ROOT / "config/paper.yaml")


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def paper(**changes: Any) -> dict[str, Any]:
    """The paper's configuration as Snakemake merges it, with keys changed by --config."""
    config: dict[str, Any] = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for key, value in yaml.safe_load((ROOT / "config/paper.yaml").read_text()).items():
        merged = isinstance(value, dict) and key not in ("models", "probes", "benchmarks")
        config[key] = config[key] | value if merged else value
    return config | changes


@pytest.mark.parametrize("names", ["qwen2-vl-7b", ["qwen2-vl-7b"]])
def test_a_chosen_part_leaves_out_what_stands_on_the_rest(names: Any) -> None:
    config = narrowing.selected(paper(models=names, benchmarks="docvqa, mmbench"), [PAPER])
    checks.check(config)
    assert list(config["models"]) == ["qwen2-vl-7b"]
    assert list(config["benchmarks"]) == ["docvqa", "mmbench"]
    assert list(config["ablations"]) == ["parts"], "the others are of ocrbench"
    assert config["masking"]["benchmarks"] == []


def test_a_benchmark_of_other_models_is_left_without_models() -> None:
    config = narrowing.selected(paper(models="llava-next-vicuna-7b"), [PAPER])
    checks.check(config)
    assert config["benchmarks"]["mmbench"]["models"] == []
    assert "models" not in config["benchmarks"]["docvqa"]


def test_benchmarks_of_other_models_go_where_a_file_brings_models_alone(tmp_path: Path) -> None:
    own = tmp_path / "own.yaml"
    models = {"mine": {"path": "mine", "family": "qwen2_vl", "dtype": "float32"}}
    own.write_text(yaml.safe_dump({"models": models}))
    config = yaml.safe_load((ROOT / "config/config.yaml").read_text())
    for name, entry in config["benchmarks"].items():
        entry.update({} if name == "synth-docvqa" else {"models": ["tiny-llava-next-vicuna"]})
    config = narrowing.selected(config | {"models": models}, [str(own)])
    checks.check(config)
    assert list(config["benchmarks"]) == ["synth-docvqa"]
    assert list(config["ablations"]) == ["parts", "probe"], "that of rho is of synth-ocr"
    assert config["masking"]["benchmarks"] == ["synth-docvqa"]


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(checks.ConfigError, match="benchmarks names 'docvq'; did you mean 'docvqa'"):
        narrowing.selected(paper(benchmarks="docvq"), [PAPER])


def test_nothing_chosen_changes_nothing() -> None:
    assert narrowing.selected(paper(), [PAPER]) == paper()
    assert narrowing.limited(paper()) == paper()


@pytest.mark.parametrize(("limit", "shards"), [(4, 1), (100, 1), (250, 3), (10_000, 8)])
def test_limit_takes_the_first_rows_and_few_shards(limit: int, shards: int) -> None:
    config = narrowing.limited(paper(limit=limit, probes={"wild": {"kind": "wild", "images": 50}}))
    checks.check(config)
    assert config["probe"]["images"] == min(limit, 1000)
    assert config["probes"] == {"wild": {"kind": "wild", "images": min(limit, 50)}}
    assert config["masking"]["samples"] == min(limit, 1000)
    assert config["benchmarks"]["docvqa"]["samples"] == limit
    assert config["benchmarks"]["docvqa"]["shards"] == shards
    assert config["efficiency"]["tokens"] == [2048, 4096]
    assert (config["efficiency"]["repeats"], config["scoring"]["no_match"]) == (1, "uniform")
    assert config["budgets"] == paper()["budgets"]
