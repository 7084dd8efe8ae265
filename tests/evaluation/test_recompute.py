"""`sparsemm verify --deep`: rows of a run answered again, what differs is named, what cannot be done is one line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file

from sparsemm.cli import main
from sparsemm.errors import InputError
from sparsemm.evaluation.configured import Shard
from sparsemm.evaluation.evaluate import evaluate
from sparsemm.evaluation.recompute import recompute
from sparsemm.evaluation.settings import run_facts
from sparsemm.heads.scores import HeadScores
from sparsemm.results.parquet import read_metadata, read_table, write_table
from sparsemm.results.verify import MADE

from helpers import tiny
from project import save_mini_model

FILE = Path("results/mini/predictions/mini/synth-ocr/0.parquet")
PAIRS = [("fullkv", 0), ("snapkv", 12), ("sparsemm[rho=0.3]", 12), ("sparsemm[probe=wild]", 16)]
SETTINGS = {
    "seed": 0,
    "rules": "paper",
    "generation": "model",
    "window": 4,
    "kernel": 5,
    "ranking": {"dtype": "float32"},
    "rho": 0.1,
    "beta": 20,
    "floor": 0.2,
}
SHARD = Shard(
    model_name="mini",
    model={"path": "data/models/mini", "family": "llava_next", "dtype": "float32"},
    benchmark_name="synth-ocr",
    benchmark={"samples": 4, "shards": 1, "batch_size": 3, "max_new_tokens": 6},
    settings=SETTINGS,
    number=0,
)


def head_scores(seed: int) -> HeadScores:
    values = np.random.default_rng(seed).random((tiny.LAYERS, tiny.HEADS))
    known = dict.fromkeys(MADE, "known")
    return HeadScores(values / values.sum(), metadata={"model": "mini", **known})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project in which a shard was answered as the workflow does it."""
    project = tmp_path_factory.mktemp("deep") / "project"
    save_mini_model(project / "data/models/mini")
    head_scores(0).save(project / "results/mini/scores/mini.parquet")
    head_scores(1).save(project / "results/mini/scores/sets/wild/mini.parquet")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(project)
        loaded, benchmark = SHARD.load_model("cpu", "float32"), SHARD.make_benchmark()
        samples = SHARD.samples(benchmark)
        cells = SHARD.cells(PAIRS, loaded, head_scores(0), {"wild": head_scores(1)})
        how = SHARD.run_settings(progress=False)
        frame = evaluate(loaded, benchmark, samples, cells, how)
        facts = run_facts(loaded, benchmark, samples, how) | dict.fromkeys(MADE, "known")
        facts |= {"device": "cpu", "dtype": "float32", "configuration": SHARD.facts()}
        write_table(FILE, frame, "predictions", facts)
    return project


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy that a test may damage, and the working directory."""
    copy = Path(shutil.copytree(made, tmp_path / "project"))
    monkeypatch.chdir(copy)
    return copy


def change(how: Any) -> None:
    facts = read_metadata(FILE)
    write_table(FILE, how(read_table(FILE)), facts.pop("kind"), facts)


def test_rows_of_a_sound_run_come_out_the_same_from_no_batch(project: Path) -> None:
    assert recompute("results/mini", share=1.0, progress=False) == (4 * len(PAIRS), [])
    assert recompute("results/mini", progress=False).rows == 1  # of 16: one at least


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("prediction", "another", "prediction is 'another', computed again "),
        ("kept_tokens", 11.5, "kept_tokens is 11.5, computed again 12.0"),
        ("score", 0.25, "score is 0.25, computed again 0.0"),
    ],
)
def test_a_row_that_comes_out_otherwise_is_named(
    project: Path, column: str, value: Any, shown: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def spoil(frame: pd.DataFrame) -> pd.DataFrame:
        asked = (frame["policy"] == "snapkv") & (frame["sample_id"] == frame["sample_id"].iloc[0])
        return frame.assign(**{column: frame[column].where(~asked, value)})

    change(spoil)
    faults = recompute("results/mini", share=1.0, progress=False).faults
    assert len(faults) == 1
    assert faults[0].file == "predictions/mini/synth-ocr/0.parquet"
    assert faults[0].text.startswith("sample synth-ocr-000000, snapkv at 12: ")
    assert shown in faults[0].text


def test_the_seed_says_which_rows(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(lambda frame: frame.assign(prediction=frame["prediction"] + "!"))
    named = set()
    for seed in ("1", "1", "2", "3"):
        assert main(["verify", "results/mini", "--deep", "--seed", seed, "--json", "--quiet"]) == 1
        found = json.loads(capsys.readouterr().out)
        assert found["recomputed"] == 1
        named.add(found["faults"][0]["text"].split(":")[0])
    assert 1 < len(named) < 4


def test_the_command_says_how_many(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "results/mini", "--deep", "--quiet"]) == 0
    assert "1 row computed again" in capsys.readouterr().out


def fails(capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["verify", "results/mini", "--deep", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    return said


def test_a_model_that_is_not_there_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree("data/models/mini")
    said = fails(capsys)
    assert "data/models/mini" in said
    assert "run this in the project's folder, with the run's models in place" in said


def test_other_weights_are_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path("data/models/mini/model.safetensors")
    weights: dict[str, torch.Tensor] = load_file(file)
    save_file({name: value * 1.01 for name, value in weights.items()}, file, metadata={"format": "pt"})
    assert "take the run's model" in fails(capsys)


def test_a_file_of_before_is_one_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = read_metadata(FILE)
    del facts["configuration"]
    write_table(FILE, read_table(FILE), facts.pop("kind"), facts)
    assert "does not say the configuration that it was made with; answer again" in fails(capsys)


def test_facts_that_are_cut_are_one_line() -> None:
    facts = SHARD.facts()
    del facts["benchmark"]
    with pytest.raises(InputError, match="not said in full; answer again"):
        Shard.of(facts)


def test_options_of_deep_need_it(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "results/mini", "--seed", "1"]) == 2
    assert "--seed and --device are of --deep" in capsys.readouterr().err
