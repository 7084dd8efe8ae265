"""Using the command line: help, bars, and one line with the right exit code for anything bad."""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from sparsemm import HeadScores
from sparsemm.cli import answer, common, main, progress
from sparsemm.heads.probe import generate_probe
from sparsemm.models.loading import load_model

from helpers.cli_runs import MODEL, SHORT, objects, printed, refused


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("page") / "page.png"
    generate_probe(1, 0)[0].image.save(path)
    return path


SNAP = ["answer", "PAGE", "Q", "--model", MODEL, "--policy", "snapkv"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["answer", "none.png", "Q", "--model", MODEL], "none.png: no such image"),
        (["answer", __file__, "Q", "--model", MODEL], "not a readable image"),
        (["answer", "PAGE", "Q", "--model", "BARE"], "sparsemm heads --model"),
        (["answer", "PAGE", "Q", "--model", "nowhere", "--policy", "snapkv"], "no such model folder"),
        ([*SNAP, "--show", "kept.gif"], "--show kept.gif: the name must end in .png or .pdf"),
        ([*SNAP, "--show", "nowhere/kept.png"], "--show nowhere/kept.png: its folder is not there"),
        (["answer", "PAGE", *SNAP[1:], "--show", "kept.png"], "--show takes one image, 2 are given"),
        ([*SNAP, "--policy", "fullkv", "--show", "kept.png"], "this policy keeps everything"),
        ([*SNAP, "--policy", "local_window", "--show", "kept.png"], "keeps the newest tokens alone"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--policy", "h2o"], "'h2o' is not known"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--policy", "snapkv@key_nrm"], "did you mean 'key_norm'"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--policy", "snapkv", "--budget", "9"], "budget 9 is not"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--scores", "no.parquet"], "no.parquet"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--scores", "WRONG"], "scores of shape (2, 3)"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--scores", "OTHER"], "another-model"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--max-new-tokens", "0"], "0 is below 1"),
        (["answer", "PAGE", "Q", "--model", MODEL, "--policy", "fullkv", "--device", "abacus"], "abacus"),
        (["answer", "PAGE", "Q"], "--model"),
        (["answer", "PAGE", "Q", "--model", "nowhere"], "nowhere: no such model folder"),
        (["heads", "--scores", "WRONG", "--model", MODEL], "which has 6"),
        (["heads", "--scores", "OTHER", "--model", MODEL], "another-model"),
        (["heads", "--model", MODEL, "--probe", "nowhere"], "no parquet or arrow file"),
        (["heads", "--model", MODEL, "--figure", "TAKEN/x.png"], "cannot be written"),
        (["heads"], "give --model PATH or --scores PATH"),
        (["heads", "--scores", "WRONG", "--save"], "give --save FILE"),
        (["heads", "--scores", "WRONG", "--figure", "heads.gif"], ".png, .pdf"),
        (["heads", "--scores", "WRONG", "--save", "TAKEN/x.parquet"], "cannot be written"),
        (["audit"], "give --scores PATH"),
        (["audit", "--scores", "WRONG", "--kv-heads", "2"], "do not group into 2"),
        (["audit", "--scores", "WRONG", "--budgets", "few"], "'few' is not a whole number"),
        (["audit", "--scores", "WRONG", "--rho", "2"], "rho is 2"),
        ([], "COMMAND"),
        (["ask"], "'ask'"),
    ],
)
def test_bad_input_is_one_line(
    words: list[object],
    said: str,
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    wrong, other, taken = (tmp_path / name for name in ("wrong.json", "other.parquet", "taken"))
    HeadScores(values=np.ones((2, 3))).save(wrong)
    HeadScores(values=np.ones((6, 12)), metadata={"model": "another-model"}).save(other)
    taken.write_text("a file", encoding="utf-8")
    bare = tmp_path / "bare"  # a model's folder without scores
    bare.mkdir()
    shutil.copy(MODEL / "config.json", bare)
    before = sorted(tmp_path.iterdir())
    names = {
        "PAGE": str(page),
        "WRONG": str(wrong),
        "OTHER": str(other),
        "TAKEN": str(taken),
        "BARE": str(bare),
    }
    line = [str(word) for word in words]
    for name, path in names.items():
        line = [word.replace(name, path) for word in line]
    assert said in refused(capsys, *line)
    assert sorted(tmp_path.iterdir()) == before


def test_scores_of_another_model_on_request(
    page: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.parquet"
    HeadScores(values=np.ones((6, 12)), metadata={"model": "another-model"}).save(other)
    words = ["answer", page, "Q", "--model", MODEL, "--scores", other, "--budget", 40, *SHORT]
    assert objects(capsys, *words, "--any-scores")["kept_tokens"] == 40


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [(KeyboardInterrupt(), 130, ""), (torch.OutOfMemoryError("CUDA"), 1, "sparsemm: out of memory")],
)
def test_interrupt_and_full_memory(
    error: BaseException,
    code: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    page: Path,
) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise error

    monkeypatch.setattr(answer, "load", fail)
    assert main(["answer", str(page), "Q", "--model", str(MODEL), "--policy", "fullkv"]) == code
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith(said)
    assert err.count("\n") == bool(said)


def test_an_error_of_our_own_is_not_hidden(monkeypatch: pytest.MonkeyPatch, page: Path) -> None:
    def fail(args: argparse.Namespace) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(answer, "load", fail)
    with pytest.raises(RuntimeError, match="a bug"):
        main(["answer", str(page), "Q", "--model", str(MODEL), "--policy", "fullkv"])


def test_bars_are_on_stderr_and_can_be_silenced(
    page: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["answer", str(page), "Q", "--model", str(MODEL), "--policy", "fullkv", *SHORT]
    assert main(words) == 0
    assert capsys.readouterr().err == ""  # under two seconds
    monkeypatch.setattr(progress, "_DELAY", 0.0)
    monkeypatch.setattr(common, "_SLOW_BYTES", 0)
    assert main(words) == 0
    shown = capsys.readouterr().err
    assert all(name in shown for name in ("Loading weights", "fullkv, prefill", "fullkv, decode"))
    assert main([*words, "--quiet"]) == 0
    assert capsys.readouterr().err == ""


def test_the_progress_bars_leave_no_hooks(page: Path) -> None:
    loaded = load_model(MODEL)
    with progress.GenerationProgress(loaded.model, "x", 4, shown=False):
        hooks = [len(module._forward_hooks) for module in loaded.model.modules()]
        assert sum(hooks) == 6
    assert not any(module._forward_hooks for module in loaded.model.modules())


@pytest.mark.parametrize("command", ["answer", "heads", "audit"])
def test_help_names_units_defaults_and_examples(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, command, "--help")
    for word in ("(default:", "examples:", f"sparsemm {command}", "--json", "token"):
        assert word in text
    assert all(len(line) <= 120 for line in text.splitlines())


def test_help_and_version_need_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys; sys.modules['torch'] = sys.modules['transformers'] = None\n"
        "from sparsemm.cli import main\n"
        "sys.exit(main(['--version']) or main(['answer', '--help']) or main(sys.argv[1:]))"
    )
    given = tmp_path / "scores.json"
    HeadScores(values=np.ones((2, 3))).save(given)
    words = [sys.executable, "-c", code, "audit", "--scores", str(given)]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.startswith("sparsemm 0.")


def test_module_runs() -> None:
    for name in ("sparsemm", "sparsemm.cli"):
        done = subprocess.run(
            [sys.executable, "-m", name, "--version"], capture_output=True, text=True, check=True
        )
        assert done.stdout.startswith("sparsemm ")


def test_sizes_read_well() -> None:
    sizes = [common.size(count) for count in (12, 2048, 3.4 * 2**20, 1.5 * 2**30)]
    assert sizes == ["12 B", "2.0 KiB", "3.4 MiB", "1.50 GiB"]
