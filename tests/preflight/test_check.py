"""The whole preflight on made-up machines: what is a fault, what is a warning, what the report says."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import yaml

from sparsemm.preflight.check import Asked, Checked, preflight
from sparsemm.preflight.disk import Need, volumes
from sparsemm.preflight.hours import ANSWER
from sparsemm.preflight.machine import Gpu, Machine
from sparsemm.preflight.report import report
from sparsemm.results.parquet import write_table

from helpers.hub import Hub, local_hub, use_hub
from helpers.hub_metadata import PAPER, QWEN, VICUNA, metadata_hub
from project import ROOT

DEFAULT = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
CELLS = [["fullkv", 0], *([policy, budget] for policy in DEFAULT["policies"] for budget in PAPER["budgets"])]
H100 = Gpu("NVIDIA H100 80GB HBM3", 80 << 30)


def settings(base: dict[str, Any] = PAPER, **changes: Any) -> dict[str, Any]:
    """A configuration as Snakemake merges it: sections of the default filled in."""
    config = copy.deepcopy(DEFAULT) | {"limit": None}
    for key, value in copy.deepcopy(base).items():
        whole = key in ("models", "benchmarks") or not isinstance(value, dict)
        config[key] = value if whole else config[key] | value
    return config | changes


def asked(config: dict[str, Any], gpus: int = 1) -> Asked:
    cells = dict.fromkeys(config["benchmarks"], CELLS)
    return Asked(config, cells, {"scores": 3, "predictions": 122}, Path("results/paper"), gpus)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.chdir(tmp_path)
    with local_hub(*metadata_hub().values()) as hub:
        use_hub(hub, tmp_path, monkeypatch)
        yield hub


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    cache = tmp_path / "cache"
    return Machine((H100,), 64 << 30, 16, True, True, False, cache, lambda path: 1 << 40)


def test_all_is_well_on_a_large_gpu(hub: Hub, machine: Machine) -> None:
    checked = preflight(asked(settings()), machine)
    assert (checked.faults, checked.warnings) == ([], [])
    assert len(checked.memory) == 3 * 5 + 3
    held = {(task.model.name, task.benchmark): memory for task, memory in checked.memory}
    vicuna = held["llava-next-vicuna-7b", "docvqa"]
    assert vicuna.weights == pytest.approx(14.1e9, rel=0.01)
    assert vicuna.prompts == (576 + 48 * 49 + 512) * 2 * 32 * 32 * 128 * 2
    assert held["llava-next-mistral-7b", "docvqa"].prompts * 4 == vicuna.prompts, "8 KV heads of 32"
    assert all(stage.seconds for stage in checked.stages)
    assert not list(Path().glob("data*")), "nothing but metadata is fetched"
    text = report(checked)
    assert "Estimated, against NVIDIA H100 80GB HBM3 with 85.9 GB" in text
    assert "not calibrated" in text
    assert text.endswith("## What is missing\n\nNothing.\n")


def test_too_little_disk_is_one_fault_and_what_is_there_does_not_count(
    hub: Hub, machine: Machine, tmp_path: Path
) -> None:
    small = replace(machine, free=lambda path: 100)
    faults = preflight(asked(settings()), small).faults
    assert len(faults) == 1
    assert faults[0].startswith("disk: ")
    assert "0.0 MB are free; free some, or set HF_HOME to another disk" in faults[0]
    before = {need.key: need for need in preflight(asked(settings()), machine).needs}
    repository = hub.find("dataset", "echo840/OCRBench")
    assert repository is not None
    for name, data in repository.files.items():
        (tmp_path / "data/benchmarks/ocrbench" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "data/benchmarks/ocrbench" / name).write_bytes(data)
    after = {need.key: need for need in preflight(asked(settings()), machine).needs}
    assert before["benchmarks.ocrbench"].missing == len(b"rows")
    assert after["benchmarks.ocrbench"].missing == 0
    assert after["benchmarks.docvqa"] == before["benchmarks.docvqa"]
    assert before["benchmarks.gqa"].total == 2 * len(b"rows"), "questions and images"


def test_folders_of_one_file_system_share_what_is_free(machine: Machine, tmp_path: Path) -> None:
    needs = [Need("a", tmp_path / "x", 100, 40), Need("b", tmp_path / "y/z", 10)]
    (volume,) = volumes(needs, machine)
    assert (volume.missing, volume.free) == (70, 1 << 40)


def test_memory_that_no_batch_fits_is_a_fault_and_one_that_halving_helps_a_warning(
    hub: Hub, machine: Machine
) -> None:
    faults = preflight(asked(settings()), replace(machine, gpus=(Gpu("Tesla T4", 15 << 30),))).faults
    assert {fault.partition(" on ")[0] for fault in faults} == {f"memory: {name}" for name in PAPER["models"]}
    config = settings()
    config["benchmarks"] = {"docvqa": config["benchmarks"]["docvqa"] | {"batch_size": 64}}
    checked = preflight(asked(config), machine)
    assert checked.faults == []
    assert checked.warnings
    assert all("will be halved" in warning for warning in checked.warnings)


def test_float32_on_the_host_without_gpus_granted(hub: Hub, machine: Machine) -> None:
    checked = preflight(asked(settings(), gpus=0), machine)
    assert checked.capacity == machine.memory
    assert checked.memory[0][1].weights == pytest.approx(28.3e9, rel=0.01)
    blind = preflight(asked(settings()), replace(machine, gpus=()))
    assert blind.faults == []
    assert ["no GPU is visible" in warning for warning in blind.warnings] == [True]
    assert "the GPU's memory is unknown" in report(blind)


def test_captions_without_java_are_a_warning(hub: Hub, machine: Machine) -> None:
    bare = replace(machine, java=False, captions=False)
    (warning,) = preflight(asked(settings()), bare).warnings
    assert warning.startswith(
        "textcaps: Java and pycocoevalcap not found; predictions are kept without a score"
    )
    config = settings()
    del config["benchmarks"]["textcaps"]
    assert preflight(asked(config), bare).warnings == []


def test_a_model_of_another_family_and_one_that_is_nowhere(hub: Hub, machine: Machine) -> None:
    config = settings()
    config["models"] = {
        "other": {"path": "none", "family": "llava_next", "dtype": "float16", "hub": QWEN},
        "nowhere": {"path": "nowhere", "family": "llava_next", "dtype": "float16"},
    }
    config["benchmarks"] = {"docvqa": config["benchmarks"]["docvqa"]}
    assert preflight(asked(config), machine).faults == [
        f"models.other: model {QWEN}: its model_type is 'qwen2_vl', the configuration says family 'llava_next'; "
        "correct the one or the other",
        "models.nowhere: nowhere is not there; set models.nowhere.hub, or correct the path",
    ]


def finished(results: Path, seconds: float, rows: int, device: str) -> None:
    """What an evaluation job of Vicuna on docvqa leaves."""
    name = results / "benchmarks/predictions/llava-next-vicuna-7b/docvqa/0.tsv"
    name.parent.mkdir(parents=True, exist_ok=True)
    name.write_text(f"s\th:m:s\n{seconds}\t-\n", encoding="utf-8")
    frame = pd.DataFrame(
        [
            {
                "sample_id": f"docvqa-{row:06d}",
                "image_id": "i",
                "policy": policy,
                "budget": budget,
                "prediction": "a",
                "answers": ["a"],
                "score": 1.0,
                "score_paper": 1.0,
                "score_current": 1.0,
                "prompt_tokens": 9,
                "kept_tokens": 9.0,
                "cache_bytes": 9,
            }
            for row in range(rows)
            for policy, budget in (("fullkv", 0), ("snapkv", 64))
        ]
    )
    place = results / "predictions/llava-next-vicuna-7b/docvqa/0.parquet"
    write_table(place, frame, "predictions", {"device": device})


def test_hours_are_calibrated_by_a_smoke_run_on_the_same_device(hub: Hub, machine: Machine) -> None:
    plain = preflight(asked(settings()), machine)
    task = next(task for task, _ in plain.memory if task.benchmark == "docvqa")
    expected = task.seconds(4, 1, len(CELLS), plain.speed)
    finished(Path("results/paper"), 3 * expected, 4, "cuda")
    checked = preflight(asked(settings()), machine)
    assert checked.calibration.factors == pytest.approx({"llava-next-vicuna-7b": 3.0})
    said = report(checked)
    assert (
        "calibrated by 1 finished jobs with 4 rows (measured / modelled: llava-next-vicuna-7b 3.00)" in said
    )
    assert "so few rows a job tell more of its start than of its rows" in said
    finished(Path("results/paper"), 3 * expected, 4, "cpu")
    assert preflight(asked(settings()), machine).calibration.jobs == 0


def test_a_limited_run_and_an_unknown_number_of_rows(hub: Hub, machine: Machine) -> None:
    config = settings(limit=4)
    config["benchmarks"] = {"docvqa": config["benchmarks"]["docvqa"] | {"samples": 4, "shards": 1}}
    checked = preflight(asked(config), machine)
    (stage,) = [stage for stage in checked.stages if stage.name == "predictions" and "vicuna" in stage.model]
    assert (stage.rows, stage.jobs, stage.cells) == (4, 1, len(CELLS))
    assert "# Preflight of the run paper, limit 4" in report(checked)


def test_answers_are_counted_short_in_time_and_whole_in_memory(hub: Hub, machine: Machine) -> None:
    checked: Checked = preflight(asked(settings()), machine)
    tasks = {(task.model.name, task.benchmark): task for task, _ in checked.memory}
    assert tasks["llava-next-vicuna-7b", "textvqa"].new_tokens == 1024
    assert tasks["qwen2-vl-7b", "textvqa"].new_tokens == 128
    held = {task.benchmark: memory for task, memory in checked.memory if task.model.entry["hub"] == VICUNA}
    assert held["textvqa"].new_tokens == 32 * held["docvqa"].new_tokens
    assert ANSWER < 128
