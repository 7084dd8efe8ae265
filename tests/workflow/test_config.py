"""The configuration: documented, checked, and every fault told in one line."""

from __future__ import annotations

import copy
import dataclasses
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from snakemake.utils import update_config

import checks
import keys
import names
import policies

ROOT = Path(__file__).resolve().parents[2]


def load(name: str) -> dict[str, Any]:
    return yaml.safe_load((ROOT / "config" / name).read_text(encoding="utf-8"))  # type: ignore[no-any-return]


def test_readme_explains_exactly_the_keys_that_are_checked() -> None:
    text = (ROOT / "config" / "README.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `([^`]+)` \|", text, flags=re.MULTILINE)) == set(keys.KEYS)
    assert all(any(f"{key}.".startswith(f"{name}.") for key in keys.KEYS) for name in keys.OPTIONAL)


def test_shipped_configurations_are_valid() -> None:
    default = load("config.yaml")
    checks.check(default)
    paper = copy.deepcopy(default)
    update_config(paper, load("paper.yaml"))  # what Snakemake does with --configfile
    sections = ("models", "probes", "benchmarks")
    paper = checks.replace_sections(paper, [str(ROOT / "config" / "paper.yaml")], sections)
    checks.check(paper)
    assert set(paper["models"]) == {"llava-next-vicuna-7b", "llava-next-mistral-7b", "qwen2-vl-7b"}
    assert len(paper["benchmarks"]) == 8
    assert paper["probes"] == {}


def test_names_are_those_of_the_library() -> None:
    from sparsemm.families import FAMILIES
    from sparsemm.methods import METHODS

    assert sorted(names.FAMILY_NAMES) == sorted(family.name for family in FAMILIES)
    assert ["fullkv", *names.COMPRESSING] == list(METHODS)
    for name in names.COMPRESSING:
        checks.check({**load("config.yaml"), "policies": [name]})


def test_labels_pair_methods_with_rankers_and_have_the_settings_of_the_classes() -> None:
    from sparsemm.methods import METHODS, RANKERS
    from sparsemm.policies.registry import policy_class, ranker_class

    labels = [f"{method}@{ranker}" for method in names.COMPRESSING for ranker in RANKERS]
    labels += ["sparsemm[rho=0.3, waterfill=true]@streaming[sinks=8]", "duo_heads[share=0.5]"]
    config = load("config.yaml")
    config["efficiency"]["policies"] = ["fullkv", "sparsemm@key_norm"]
    checks.check({**config, "policies": labels})
    kinds = [(entry.policy, policy_class(name)) for name, entry in METHODS.items()]
    kinds += [(f"rankers.{entry.ranker}", ranker_class(name)) for name, entry in RANKERS.items()]
    for path, found in kinds:
        fields = {field.name: str(field.type) for field in dataclasses.fields(found)}
        assert policies.fields_of(path) == fields


def test_checks_and_names_need_neither_torch_nor_transformers() -> None:
    code = "import sys, checks; assert not {'torch', 'transformers', 'pandas'} & set(sys.modules), 'imported'"
    path = os.pathsep.join([str(ROOT / "workflow" / "lib"), str(ROOT / "src")])
    done = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "PYTHONPATH": path}, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()


Change = Callable[[dict[str, Any]], Any]
FAULTS: list[tuple[str, Change]] = [
    ("unknown key 'budgetts' at the top level; did you mean 'budgets'", lambda c: c.update(budgetts=[1])),
    ("unknown key 'image' at probe; did you mean 'images'", lambda c: c["probe"].update(image=1)),
    ("'rho' is missing at the top level", lambda c: c.pop("rho")),
    (
        "policies.0 has the unknown value 'snapk'; did you mean 'snapkv'",
        lambda c: c.update(policies=["snapk"]),
    ),
    (
        "question.1 has the unknown value 'agnostik'; did you mean 'agnostic'",
        lambda c: c.update(question=["aware", "agnostik"]),
    ),
    ("lacks aware, which the tables show; add it", lambda c: c.update(question=["agnostic"])),
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
    ("budgets: \\[\\] should be non-empty", lambda c: c.update(budgets=[])),
    ("budgets: 16 is there twice", lambda c: c.update(budgets=[16, 16])),
    ("policies.0 has the unknown value 'fullkv'; known: sparsemm, ", lambda c: c.update(policies=["fullkv"])),
    (
        "policies.0: policy 'snapkv@key_nrm': the ranker 'key_nrm' is not known; did you mean 'key_norm'",
        lambda c: c.update(policies=["snapkv@key_nrm"]),
    ),
    ("policies.0 has the unknown value 'snap@key_norm'", lambda c: c.update(policies=["snap@key_norm"])),
    ("'beta' is no setting of sparsemm", lambda c: c.update(policies=["sparsemm[beta=3]"])),
    (
        "there is no file heads/none.json; give head scores",
        lambda c: c.update(policies=["sparsemm[scores=heads/none.json]"]),
    ),
    ("'much' is no value for rho", lambda c: c.update(policies=["sparsemm[rho=much]@key_norm"])),
    ("'window' is no setting of streaming", lambda c: c.update(policies=["adakv@streaming[window=3]"])),
    (
        "efficiency.policies.0: 'sparsemm\\[rho=0.3\\]' has settings, which have no place",
        lambda c: c["efficiency"].update(policies=["sparsemm[rho=0.3]"]),
    ),
    (
        "benchmarks has the unknown value 'docvq'; did you mean 'docvqa'",
        lambda c: c["benchmarks"].update(docvq={}),
    ),
    ("benchmarks: {} should be non-empty", lambda c: c.update(benchmarks={})),
    (
        "models.tiny-llava-next-vicuna.family has the unknown value 'llava'",
        lambda c: c["models"]["tiny-llava-next-vicuna"].update(family="llava"),
    ),
    (
        "models.tiny-llava-next-vicuna.hub: 'llava' is not an owner/name",
        lambda c: c["models"]["tiny-llava-next-vicuna"].update(hub="llava"),
    ),
    ("models: 'a b' is not a name of", lambda c: c["models"].update({"a b": {}})),
    ("run: '../elsewhere' is not a name of", lambda c: c.update(run="../elsewhere")),
    ("probe: 3 is not of type 'object'", lambda c: c.update(probe=3)),
    ("seed: True is not of type 'integer'", lambda c: c.update(seed=True)),
    ("masking.fractions.0: 0 is not above 0", lambda c: c["masking"].update(fractions=[0])),
    (
        "probes.wild.kind has the unknown value 'wilds'; did you mean 'wild'",
        lambda c: c["probes"]["wild"].update(kind="wilds"),
    ),
    ("'images' is missing at probes.wild", lambda c: c["probes"]["wild"].pop("images")),
    ("probes: 'a/b' is not a name of", lambda c: c["probes"].update({"a/b": {}})),
    ("ablations.probe.budgets.8 is 8, not above", lambda c: c["ablations"]["probe"].update(budgets=[8])),
    (
        "ablations.probe.benchmark names 'docvqa', which is not",
        lambda c: c["ablations"]["probe"].update(benchmark="docvqa"),
    ),
    (
        "models.tiny-llava-next-vicuna.timed: 'never' is not true or false",
        lambda c: c["models"]["tiny-llava-next-vicuna"].update(timed="never"),
    ),
    ("floor: nan is less than", lambda c: c.update(floor=float("nan"))),
]


@pytest.mark.parametrize(("message", "change"), FAULTS, ids=[message[:30] for message, _ in FAULTS])
def test_every_fault_is_one_line_with_a_cure(message: str, change: Change) -> None:
    config = copy.deepcopy(load("config.yaml"))
    change(config)
    with pytest.raises(checks.ConfigError, match=message) as caught:
        checks.check(config)
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
