"""Models that are assembled from an adapter: their configuration, and what the workflow plans for them."""

from __future__ import annotations

from pathlib import Path

import yaml

import checks
from project import ROOT, make_project, snakemake
from values import ConfigError

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
    adapter.write_bytes(b"")
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
