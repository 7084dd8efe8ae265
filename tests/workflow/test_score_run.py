"""Benchmarks whose metric needs the whole run, from fetched rows to the scores: shards, an image that cannot be
decoded, a metric that cannot be computed here."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from sparsemm.benchmarks import get_benchmark
from sparsemm.benchmarks.stored import index_rows
from sparsemm.results.parquet import read_metadata, read_table

from project import ROOT, make_project, save_mini_model, snakemake

pytestmark = pytest.mark.long

TURN = 1_000_000
ORIGIN = {"id": "lmms-lab/made-up", "commit": "0" * 40}


def encoded(number: int, *, whole: bool = True) -> dict[str, Any]:
    stream = io.BytesIO()
    Image.linear_gradient("L").resize((60, 40)).rotate(20 * number).save(stream, format="PNG")
    data = stream.getvalue()
    return {"bytes": data if whole else data[:200], "path": None}


def store(project: Path, name: str, rows: list[dict[str, Any]]) -> None:
    """What fetching leaves of a benchmark."""
    folder = project / "data" / "benchmarks" / name
    folder.mkdir(parents=True)
    image = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    columns = {key: pa.array([row[key] for row in rows]) for key in rows[0] if key != "image"}
    pq.write_table(
        pa.table({**columns, "image": pa.array([row["image"] for row in rows], image)}), folder / "a.parquet"
    )
    benchmark: Any = get_benchmark(name)
    index_rows(benchmark.stored, folder, ["a.parquet"], origin=ORIGIN)


def questions() -> list[dict[str, Any]]:
    """Three questions in two rotations each; the third one's image is cut off."""
    empty = dict.fromkeys(("hint", "C", "D", "category", "source", "L2-category", "split"), "nan")
    return [
        {
            **empty,
            "index": question + turn * TURN,
            "question": f"Which one is it? ({question})",
            **({"A": "x", "B": "y"} if turn == 0 else {"A": "y", "B": "x"}),
            "answer": "AB"[turn],
            "image": encoded(question, whole=question != 2),
        }
        for turn in (0, 1)
        for question in range(3)
    ]


def captions() -> list[dict[str, Any]]:
    return [
        {
            "question_id": str(number),
            "image_id": str(number),
            "caption_str": ["a b"],
            "image": encoded(number),
        }
        for number in range(3)
    ]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = make_project(tmp_path_factory.mktemp("run") / "project")
    mini = yaml.safe_load((ROOT / "tests" / "workflow" / "mini.yaml").read_text(encoding="utf-8"))
    facts = {"samples": "all", "max_new_tokens": 3, "batch_size": 2}
    mini["benchmarks"] = {"mmbench": facts | {"shards": 4}, "textcaps": facts | {"shards": 1}}
    mini["ablations"]["rho"] = {"benchmark": "mmbench", "budget": 10, "values": [0.5]}
    mini["ablations"]["parts"] = {"benchmark": "mmbench", "budgets": [10]}
    mini["ablations"]["probe"], mini["probes"] = {"benchmark": "mmbench", "budgets": [10]}, {}
    mini["budgets"] = [10]
    mini["masking"]["benchmarks"], mini["efficiency"]["tokens"] = [], [512]
    (made / "mini.yaml").write_text(yaml.safe_dump(mini), encoding="utf-8")
    save_mini_model(made / "data" / "models" / "mini")
    store(made, "mmbench", questions())
    store(made, "textcaps", captions())
    targets = [f"results/mini/run_scores/mini/{name}.parquet" for name in ("mmbench", "textcaps")]
    done = snakemake(made, *targets, "--configfile", "mini.yaml")
    assert done.returncode == 0, done.stderr[-4000:]
    return made


def test_groups_are_scored_over_all_shards(project: Path) -> None:
    folder = project / "results" / "mini" / "predictions" / "mini" / "mmbench"
    sizes = {shard: len(read_table(folder / f"{shard}.parquet", "predictions")) for shard in range(4)}
    cells = 9  # the full cache, five policies and three of the ablations
    assert sorted(sizes.values()) == [
        0,
        0,
        2 * cells,
        2 * cells,
    ]  # three images in four shards, one unreadable
    lost = [name for shard in range(4) for name in read_metadata(folder / f"{shard}.parquet")["unreadable"]]
    assert lost == ["mmbench-000002", "mmbench-000005"]
    logs = project / "results" / "mini" / "logs" / "predictions" / "mini" / "mmbench"
    told = "".join(path.read_text(encoding="utf-8") for path in sorted(logs.iterdir()))
    for name in lost:
        assert told.count(f"{name}: its image cannot be decoded; the row is left out") == 1
    frame = read_table(project / "results/mini/run_scores/mini/mmbench.parquet", "run_scores")
    assert set(frame.unit) == {"mmbench-000000", "mmbench-000001"}
    assert len(frame) == 2 * cells
    assert frame.score.notna().all()
    assert frame.score.equals(frame.score_paper)
    assert frame.score.equals(frame.score_current)


def test_a_result_says_how_its_answers_were_made(project: Path) -> None:
    told = read_metadata(project / "results/mini/predictions/mini/textcaps/0.parquet")
    wanted = {
        "rules": "paper",
        "generation": {},
        "max_new_tokens": 3,
        "until": [],
        "limit": None,
        "unreadable": [],
        "metric": "CIDEr",
        "dataset": ORIGIN["id"],
        "dtype": "float32",
        "prompt_example": (
            "<s>USER: <image>\nProvide a one-sentence caption for the provided image. ASSISTANT:"
        ),
    }
    assert {key: told[key] for key in wanted} == wanted
    assert "image_limits" in told


def test_captions_without_java_are_kept_unscored(project: Path) -> None:
    from sparsemm.metrics import cider_lacks

    path = project / "results/mini/run_scores/mini/textcaps.parquet"
    frame = read_table(path, "run_scores")
    assert len(frame) == 3 * 6
    assert read_metadata(path)["no_score"] == cider_lacks()
    log = (project / "results/mini/logs/run_scores/mini/textcaps.log").read_text(encoding="utf-8")
    assert frame.score.isna().all() == (cider_lacks() is not None)
    assert ("textcaps: predictions are kept, scores are not" in log) == (cider_lacks() is not None)
