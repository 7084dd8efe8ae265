"""The whole workflow on a random model: everything appears, nothing runs twice, figures need no torch."""

from __future__ import annotations

from pathlib import Path

import pytest

from project import ROOT, make_project, save_mini_model, snakemake

MINI = ("--configfile", str(ROOT / "tests" / "workflow" / "mini.yaml"))


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which the mini configuration has run to its end."""
    project = make_project(tmp_path_factory.mktemp("run") / "project")
    save_mini_model(project / "data" / "models" / "mini")
    done = snakemake(project, *MINI)
    assert done.returncode == 0, done.stderr[-4000:]
    return project


def files(project: Path) -> set[str]:
    base = project / "results" / "mini"
    hidden = ("logs", "benchmarks", "work")
    return {
        path.relative_to(base).as_posix()
        for path in base.rglob("*")
        if path.is_file() and path.relative_to(base).parts[0] not in hidden
    }


def test_every_result_is_there(finished: Path) -> None:
    found = files(finished)
    assert {
        "probe/llava_next.parquet",
        "scores/mini.parquet",
        "scores/samples/mini.parquet",
        "keep/mini.parquet",
        "predictions/mini/synth-docvqa/0.parquet",
        "predictions/mini/synth-docvqa/1.parquet",
        "predictions/mini/synth-ocr/0.parquet",
        "masks/mini/synth-ocr.parquet",
        "attention_maps/mini.parquet",
        "efficiency/mini/fullkv-512.parquet",
        "efficiency/mini/sparsemm-512.parquet",
        "profile/mini/sparsemm-512.parquet",
        "paper/table_profile.md",
        "paper/figure4.png",
        "paper/findings.md",
        "paper/table3.csv",
        "paper/report.html",
    } <= found
    assert not [name for name in found if "partial" in name]


def test_second_run_has_nothing_to_do(finished: Path) -> None:
    done = snakemake(finished, *MINI)
    assert done.returncode == 0
    assert "Nothing to be done" in done.stdout + done.stderr


def test_report_is_one_page(finished: Path) -> None:
    done = snakemake(finished, "--report", "results/mini/report.html", *MINI)
    assert done.returncode == 0, done.stderr[-4000:]
    assert (finished / "results/mini/report.html").stat().st_size > 100_000


def test_figures_are_rebuilt_from_cached_results_without_torch(finished: Path, tmp_path: Path) -> None:
    for path in (finished / "results" / "mini" / "paper").iterdir():
        path.unlink()
    # Results that look out of date must be taken as they are: no model can run here.
    (finished / "results/mini/probe/llava_next.parquet").touch()
    for name in ("torch", "transformers"):
        (tmp_path / f"{name}.py").write_text(f"raise ImportError('{name} is not importable here')\n")
    done = snakemake(finished, "figures", *MINI, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stderr[-4000:]
    assert {"paper/figure2.png", "paper/figure7.pdf", "paper/table1.csv", "paper/table5.tex"} <= files(
        finished
    )
    assert "score_heads" not in done.stdout + done.stderr
