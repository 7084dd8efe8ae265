"""The configuration: documented, checked, and every fault told in one line."""

from __future__ import annotations

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

import checks

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = ROOT / "workflow" / "schemas" / "config.schema.yaml"


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def schema() -> dict[str, Any]:
    return yaml.safe_load(SCHEMA.read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def leaves(node: dict[str, Any], prefix: str = "") -> set[str]:
    """Keys of the schema in README spelling; a free name is <name>."""
    found: set[str] = set()
    for key, inner in node.get("properties", {}).items():
        path = f"{prefix}{key}"
        below = inner if "properties" in inner else inner.get("additionalProperties")
        if isinstance(below, dict):
            found |= leaves(below, f"{path}." if below is inner else f"{path}.<name>.")
        else:
            found.add(path)
        if isinstance(inner.get("additionalProperties"), bool) and "required" not in inner:
            found.add(path)  # an object that may be empty has a line of its own
    return found


def test_readme_explains_exactly_the_keys_of_the_schema() -> None:
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)) == leaves(schema())


def test_no_default_hides_in_the_schema() -> None:
    assert "default" not in SCHEMA.read_text(encoding="utf-8")


def test_shipped_configurations_are_valid() -> None:
    default = load("config.yaml")
    checks.check(default, SCHEMA)
    paper = copy.deepcopy(default)
    update_config(paper, load("paper.yaml"))  # what Snakemake does with --configfile
    paper = checks.replace_sections(paper, [str(ROOT / "config" / "paper.yaml")], ("models", "benchmarks"))
    checks.check(paper, SCHEMA)
    assert set(paper["models"]) == {"llava-next-vicuna-7b", "llava-next-mistral-7b", "qwen2-vl-7b"}
    assert len(paper["benchmarks"]) == 8


def test_schema_knows_what_the_library_knows() -> None:
    from sparsemm.benchmarks import benchmark_names
    from sparsemm.policies import POLICY_NAMES

    found = schema()
    assert set(found["$defs"]["policy"]["enum"]) <= set(POLICY_NAMES)
    assert found["properties"]["benchmarks"]["propertyNames"]["enum"] == benchmark_names()


Change = Callable[[dict[str, Any]], Any]
FAULTS: list[tuple[str, Change]] = [
    ("unknown key 'budgetts' at the top level; did you mean 'budgets'", lambda c: c.update(budgetts=[1])),
    ("unknown key 'image' at probe; did you mean 'images'", lambda c: c["probe"].update(image=1)),
    ("'rho' is missing at the top level", lambda c: c.pop("rho")),
    (
        "policies.0 has the unknown value 'snapk'; did you mean 'snapkv'",
        lambda c: c.update(policies=["snapk"]),
    ),
    ("budgets.0: '12' is not of type 'integer'", lambda c: c.update(budgets=["12"])),
    ("budgets.8 is 8, not above window 8", lambda c: c.update(budgets=[8, 16])),
    ("ablations.rho.budget is 4, not above window 8", lambda c: c["ablations"]["rho"].update(budget=4)),
    ("efficiency.budget is 32, not above efficiency.window 32", lambda c: c["efficiency"].update(budget=32)),
    ("efficiency.batches has 'most'; give", lambda c: c["efficiency"].update(batches=[1, "most"])),
    (", which figure 6 and table 2 show; add it", lambda c: c["efficiency"].update(batches=[8])),
    ("efficiency.batches.1: 0 is less than", lambda c: c["efficiency"].update(batches=[1, 0])),
    ("efficiency.tokens is 100, not above efficiency.budget", lambda c: c["efficiency"].update(tokens=[100])),
    (
        "masking.benchmarks names 'docvqa', which is not under",
        lambda c: c["masking"].update(benchmarks=["docvqa"]),
    ),
    (
        "benchmarks.synth-ocr.models names 'tiny-llava-next', which is not under models; did you mean",
        lambda c: c["benchmarks"]["synth-ocr"].update(models=["tiny-llava-next"]),
    ),
    (
        "benchmarks.synth-ocr.shards is 501 for 500",
        lambda c: c["benchmarks"]["synth-ocr"].update(samples=500, shards=501),
    ),
    ("kernel is 4", lambda c: c.update(kernel=4)),
    ("rho: 1.5 is greater than the maximum", lambda c: c.update(rho=1.5)),
    ("is too short|should be non-empty", lambda c: c.update(budgets=[])),
]


@pytest.mark.parametrize(("message", "change"), FAULTS, ids=[message[:30] for message, _ in FAULTS])
def test_every_fault_is_one_line_with_a_cure(message: str, change: Change) -> None:
    config = copy.deepcopy(load("config.yaml"))
    change(config)
    with pytest.raises(checks.ConfigError, match=message) as caught:
        checks.check(config, SCHEMA)
    assert "\n" not in str(caught.value)
    assert ";" in str(caught.value)


def test_results_folder_that_cannot_be_written_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks.check_writable(tmp_path / "results" / "run")
    (tmp_path / "file").touch()
    with pytest.raises(checks.ConfigError, match=r"file: results go to .*cannot be written; make it"):
        checks.check_writable(tmp_path / "file" / "run")
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(checks.ConfigError, match="cannot be written"):
        checks.check_writable(tmp_path / "results")
