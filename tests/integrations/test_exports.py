"""Predictions in other tools' formats: read back as those tools read them, with the questions that were asked."""

from __future__ import annotations

import ast
import hashlib
import json
from pathlib import Path

import pandas as pd
import pytest

from sparsemm.benchmarks import get_benchmark
from sparsemm.cli import main
from sparsemm.errors import InputError
from sparsemm.integrations.answered import Answered, Asked, answered
from sparsemm.integrations.lmms_eval_logs import write_sample_logs
from sparsemm.integrations.vlmevalkit import write_vlmevalkit
from sparsemm.results.parquet import write_table

MODEL, BENCHMARK = "tiny", "synth-docvqa"
CELLS = (("fullkv", 0), ("sparsemm[rho=0.0]", 32))


def save(run: Path, *, answers: dict[str, list[str]] | None = None) -> list[str]:
    """Predictions of three samples in two shards; returns the questions."""
    samples = list(get_benchmark(BENCHMARK).load(3, 0))
    for shard, part in enumerate((samples[:2], samples[2:])):
        rows = [
            {
                "sample_id": sample.id,
                "image_id": sample.image_id,
                "policy": policy,
                "budget": budget,
                "prediction": f'it is "{sample.answers[0]}"\tor\nnot',
                "answers": (answers or {}).get(sample.id, list(sample.answers)),
                **dict.fromkeys(("score", "score_paper", "score_current"), 0.5),
                "prompt_tokens": 400,
                "kept_tokens": 32.0,
                "cache_bytes": 1000,
            }
            for sample in part
            for policy, budget in CELLS
        ]
        path = run / "predictions" / MODEL / BENCHMARK / f"{shard}.parquet"
        write_table(path, pd.DataFrame(rows), "predictions", {"seed": 0, "rules": "paper"})
    return [str(sample.data["question"]) for sample in samples]


def test_vlmevalkit_tables_are_read_back(tmp_path: Path) -> None:
    questions = save(tmp_path / "run")
    assert main(["export", str(tmp_path / "run"), "--to", "vlmevalkit", "--out", str(tmp_path / "out")]) == 0
    files = sorted(
        path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*.tsv")
    )
    name = "tiny-sparsemm_rho=0.0_-32"
    assert files == [f"tiny-fullkv/tiny-fullkv_{BENCHMARK}.tsv", f"{name}/{name}_{BENCHMARK}.tsv"]
    table = pd.read_csv(tmp_path / "out" / files[0], sep="\t", dtype={"answer": str})
    assert list(table.columns) == ["index", "question", "answer", "prediction", "sample_id"]
    assert table["index"].tolist() == [0, 1, 2]
    assert table["question"].tolist() == questions
    assert table["prediction"][0] == f'it is "{table["answer"][0]}"\tor\nnot'


def test_choices_and_several_answers_are_in_the_table(tmp_path: Path) -> None:
    row = {"index": 1000007, "question": "Which?", "A": "red", "B": "blue", "category": "colour"}
    asked = {"s": Asked(0, "Which?", "Which?\nA. red", ("red", "scarlet"), row)}
    frame = pd.DataFrame({"sample_id": ["s"], "prediction": ["A"], "score": [float("nan")]})
    cells = [Answered("m", "mmbench", "fullkv", asked, frame)]
    (path,) = write_vlmevalkit(cells, tmp_path)
    (found,) = pd.read_csv(path, sep="\t").to_dict("records")
    assert (found["index"], found["A"], found["category"]) == (1000007, "red", "colour")
    assert ast.literal_eval(found["answer"]) == ["red", "scarlet"]
    (log,) = write_sample_logs(cells, tmp_path, made=0.0)
    assert "score" not in json.loads(log.read_text())


def test_sample_logs_are_read_back(tmp_path: Path) -> None:
    questions = save(tmp_path / "run")
    files = write_sample_logs(answered(tmp_path / "run"), tmp_path / "out", made=86400.0)
    assert files[0] == tmp_path / "out" / "tiny-fullkv" / f"19700102_000000_samples_{BENCHMARK}.jsonl"
    rows = [json.loads(line) for line in files[0].read_text(encoding="utf-8").splitlines()]
    assert [row["doc_id"] for row in rows] == [0, 1, 2]
    assert [row["input"] for row in rows] == questions
    assert rows[0]["target_hash"] == hashlib.sha256(rows[0]["target"].encode()).hexdigest()
    assert all(row["score"] == 0.5 and len(row["filtered_resps"]) == 1 for row in rows)


def test_other_right_answers_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    save(tmp_path, answers={f"{BENCHMARK}-000001": ["another"]})
    with pytest.raises(InputError, match="other right answers"):
        list(answered(tmp_path))
    assert main(["export", str(tmp_path / "none"), "--to", "lmms-eval", "--out", str(tmp_path / "out")]) == 2
    assert "no predictions" in capsys.readouterr().err


def test_ocrbench_answers_are_a_list_and_its_types_categories(tmp_path: Path) -> None:
    row = {"question": "What is written?", "question_type": "Regular Text Recognition", "dataset": "IIIT5K"}
    asked = {"s": Asked(4, "What is written?", "What is written?", ("STOP",), row)}
    frame = pd.DataFrame({"sample_id": ["s"], "prediction": ["STOP"], "score": [1.0]})
    (path,) = write_vlmevalkit([Answered("m", "ocrbench", "snapkv-64", asked, frame)], tmp_path)
    (found,) = pd.read_csv(path, sep="\t").to_dict("records")
    assert (found["index"], found["category"]) == (4, "Regular Text Recognition")
    assert ast.literal_eval(found["answer"]) == ["STOP"]
