"""The GPU profile with tiny shapes on a CPU: everything that a GPU would run except the capture of graphs."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gpu_cell
import gpu_models
import gpu_profile
import gpu_report
import pytest
import torch
from gpu_kernels import kernel_rows
from gpu_logits import compare_logits

from sparsemm.cache.ragged import RaggedCache
from sparsemm.reporting.summary import read_efficiency, read_profile
from sparsemm.results.parquet import read_metadata

from helpers.interpreter import needs_triton

ROOT = Path(__file__).parents[2]
SETTINGS = gpu_cell.Settings("cpu", "cpu", "float32", tiny=True, budget=24, steps=2, repeats=2)


@pytest.mark.parametrize("name", gpu_models.MODELS)
def test_every_model_and_batch_gives_a_row(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sparsemm.efficiency.floor.MOST_ROWS", 4)
    rows = [
        gpu_cell.measure_cell(gpu_cell.Cell(name, policy, 160, batch), SETTINGS)
        for policy, batch in (("fullkv", 1), ("sparsemm", 0))
    ]
    assert [row["status"] for row in rows] == ["ok", "ok"]
    assert [row["rows"] for row in rows] == [1, 4]
    assert [row["batch"] for row in rows] == ["1", "largest"]
    assert [len(row["repeats"]) for row in rows] == [2, 2]
    assert all(row["graph_equals_eager"] for row in rows)
    assert rows[0]["kept_tokens"] == 160
    assert 8 < rows[1]["kept_tokens"] <= 24
    assert all(row["image_tokens"] > 40 for row in rows)


def test_the_shapes_are_those_of_the_7b_models() -> None:
    sizes = []
    for name in gpu_models.MODELS:
        kind, config = gpu_models._config(name, False)
        with torch.device("meta"):
            model = kind._from_config(config, dtype=torch.bfloat16)
        sizes.append(
            (
                round(sum(p.numel() for p in model.parameters()) / 1e9, 2),
                *gpu_cell.shape(model).__dict__.values(),
            )
        )
    assert sizes == [
        (7.06, 32, 32, 32, 128, 32000),
        (7.57, 32, 32, 8, 128, 32000),
        (8.29, 28, 28, 4, 128, 151655),
    ]


def test_kernels_side_by_side_and_logits(monkeypatch: pytest.MonkeyPatch) -> None:
    needs_triton(without_gpu=True)
    monkeypatch.setattr("gpu_logits._STEPS", 2)
    monkeypatch.setattr("gpu_kernels._CALLS", 2)
    model = gpu_models.build_model(gpu_models.MODELS[1], torch.device("cpu"), torch.float32, tiny=True)
    cache = RaggedCache(2, reserve=2, storage="triton")
    key = torch.randn(1, 2, 70, 16, generator=torch.Generator().manual_seed(0))
    for layer in cache.ragged:
        layer.pack(key, key, torch.ones(1, 2, 70, dtype=torch.bool))
    seen = {
        row["kernel"]: row for row in kernel_rows(cache, model, SETTINGS, lambda device, work: work() and 1.0)
    }
    assert seen["ours"]["status"] == seen["sdpa"]["status"] == "ok"
    assert seen["varlen"]["status"] != "ok"  # CUDA only: its reason is written down
    row = compare_logits(gpu_models.MODELS[0], 160, replace(SETTINGS, triton=True))
    assert row["within_tolerance"]


def test_out_of_memory_is_a_row(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*arguments: object, **options: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.\nmore")

    monkeypatch.setattr(gpu_cell, "build_model", full)
    row = gpu_cell.measure_cell(gpu_cell.Cell("qwen2-vl-7b", "fullkv", 160), SETTINGS)
    assert row["status"] == "out of memory"
    assert row["error"] == "CUDA out of memory."


def test_cells_are_ordered_and_complete() -> None:
    cells = gpu_profile.cells()
    assert len({cell.name for cell in cells}) == len(cells)
    asked = {(c.model, c.policy, c.tokens, c.batch) for c in cells if c.batch}
    assert len(asked) == 3 * 5 * 5 * 2
    assert [(c.policy, c.tokens) for c in cells[:2]] == [("fullkv", 32768), ("sparsemm", 32768)]


def test_the_command_end_to_end_and_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command in a process of its own, then in this one: the second run continues where the first ended."""
    monkeypatch.setenv("PYTHONPATH", f"{ROOT / 'src'}:{os.environ.get('PYTHONPATH', '')}")
    monkeypatch.setenv("TRITON_INTERPRET", "0")
    options = ["--tiny", "--device", "cpu", "--out", str(tmp_path), "--cells", "2"]
    command = [sys.executable, str(ROOT / "benchmarks" / "gpu_profile.py"), *options]
    subprocess.run(command, check=True, capture_output=True, text=True)
    gpu_profile.run(gpu_profile.parse(options))
    rows = gpu_profile.read_cells(tmp_path)
    assert len({(row["policy"], row["input_tokens"], row["batch"]) for row in rows}) == len(rows) == 4
    names = {path.name for path in tmp_path.iterdir()}
    tables = {"profile.csv", "profile.md", "profile.png", "promises.csv"}
    assert names == tables | {"cells.jsonl", "environment.json", "logits.json"}
    row = next(row for row in rows if row["policy"] == "sparsemm")
    assert row["weights"] == "random"
    assert row["head_scores"].startswith("synthetic")


def test_a_profile_becomes_result_files_of_the_workflow(tmp_path: Path) -> None:
    cells = [gpu_cell.Cell(gpu_models.MODELS[0], "snapkv", 160, batch) for batch in (1, 2)]
    cells.append(gpu_cell.Cell(gpu_models.MODELS[0], "fullkv", 160, 8))
    rows = [gpu_cell.measure_cell(cell, SETTINGS) for cell in cells[:2]]
    rows.append(gpu_cell.cell_row(cells[2], SETTINGS, "failed: for a reason"))
    (tmp_path / "cells.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "environment.json").write_text(json.dumps({"weights": "random"}))
    efficiency, profile = gpu_report.write_results(tmp_path, tmp_path / "run")
    repeats = read_efficiency(efficiency)
    assert list(repeats.repeat) == [0, 1]
    found = read_profile(profile)
    assert list(zip(found.policy, found.batch)) == [("snapkv", "1"), ("snapkv", "2"), ("fullkv", "8")]
    assert found.status[2] == "failed: for a reason"
    assert found.decode_ms_per_token[0] == pytest.approx(repeats.decode_ms_per_token.median())
    assert read_metadata(profile[0])["weights"] == "random"
