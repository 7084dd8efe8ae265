"""The explorer's content on made-up results, and the page that holds it."""

from __future__ import annotations

import base64
import gzip
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sparsemm.errors import InputError
from sparsemm.reporting.explorer import page as explorer_page
from sparsemm.reporting.explorer.answers import RIGHT, sample_answers
from sparsemm.reporting.explorer.gathering import Explored, Sources, gather
from sparsemm.reporting.explorer.page import SCRIPTS, page_text, write_explorer
from sparsemm.results.parquet import read_table, write_table

from helpers.fake_pages import COLS, HEADS, LAYERS, ROWS, TOKENS, WORDS, sources_of, write_pages
from helpers.fake_results import Run, make_run

MODEL = "tiny-llava-next-vicuna"
ASSETS = Path(explorer_page.__file__).parent


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Run]:
    root = tmp_path_factory.mktemp("explorer")
    run = make_run(root, samples=30, benchmarks=("synth-docvqa", "synth-chart"), budgets=(12, 16, 32))
    write_pages(root, MODEL)
    return root, run


@pytest.fixture(scope="module")
def explored(made: tuple[Path, Run]) -> Explored:
    return gather(sources_of(*made), {"run": "made-up"})


def test_scores_and_intervals_are_those_of_the_file(made: tuple[Path, Run], explored: Explored) -> None:
    frame = read_table(made[1].scores[0])
    (model,) = explored.index["models"]
    scores = model["scores"]
    assert (scores["layers"], scores["heads"], scores["kv_heads"]) == (LAYERS, HEADS, HEADS)
    for name, column in (("score", "score"), ("low", "ci_low"), ("high", "ci_high")):
        assert np.allclose(scores[name], frame[column], rtol=1e-4)
    assert scores["hits"] == frame["hits"].tolist()


def test_cells_are_the_summary_of_the_predictions(made: tuple[Path, Run], explored: Explored) -> None:
    frame = pd.concat([read_table(path) for path in made[1].predictions if path.parent.name == "synth-chart"])
    for cell in explored.index["cells"]:
        if cell["benchmark"] != "synth-chart":
            continue
        rows = frame[(frame["policy"] == cell["policy"]) & (frame["budget"] == cell["budget"])]
        assert cell["score"] == pytest.approx(rows["score"].mean(), rel=1e-4)
        assert cell["low"] <= cell["score"] <= cell["high"]
        assert cell["bytes"] == pytest.approx(rows["cache_bytes"].mean(), rel=1e-4)
        assert cell["samples"] == 30
    hidden = {method["name"] for method in explored.index["methods"] if not method["main"]}
    assert hidden == {"local_window", "sparsemm[rho=1.0]"}


def test_arrays_of_the_page_keep_their_order(explored: Explored) -> None:
    (model,) = explored.index["models"]
    assert [(token["text"], token["word"]) for token in model["tokens"]] == TOKENS
    weights = explored.blocks[model["maps"]["weights"]]
    assert weights.shape == (len(TOKENS), LAYERS, HEADS, ROWS, COLS)
    assert np.argwhere(weights[3, 4, 9] == 255).tolist() == [[4, 9 % COLS]]
    assert explored.blocks[model["maps"]["hits"]][0, 0].tolist() == [1, 0] * (HEADS // 2)
    ranks = explored.blocks[model["ranks"]["window_attention"]]
    assert ranks.shape == (LAYERS, HEADS, ROWS, COLS)
    kept = model["kept"]["sparsemm"]["32"]
    assert kept["keep"][:3] == [0, 24, 48]
    assert int((ranks[0, 1] <= kept["keep"][1]).sum()) == kept["image"][1]
    assert model["plan"]["snapkv"] == {"16": [8] * (LAYERS * HEADS)}


def test_samples_on_which_policies_disagree_come_first(tmp_path: Path) -> None:
    columns = {
        "image_id": "i",
        "prompt_tokens": 9,
        "kept_tokens": 9.0,
        "cache_bytes": 9,
        "answers": [["yes"]],
    }
    rows = []
    for sample, wrong in (("a", 0), ("b", 2), ("c", 1)):
        for index, (policy, budget) in enumerate([("fullkv", 0), ("snapkv", 8), ("adakv", 8)]):
            right = index == 0 or index > wrong
            said = {"prediction": "yes" if right else "x" * 500, "policy": policy, "budget": budget}
            score = {name: float(right) for name in ("score", "score_paper", "score_current")}
            rows.append({"sample_id": sample, **said, **score})
    frame = pd.DataFrame(rows).assign(**{k: v for k, v in columns.items() if k != "answers"})
    frame["answers"] = [["yes"]] * len(frame)
    path = tmp_path / "tiny" / "bench" / "0.parquet"
    write_table(path, frame, "predictions", {"metric": "ANLS"})
    (entry,) = sample_answers([path], shown=2)
    assert [sample["id"] for sample in entry["samples"]] == ["b", "c"]
    assert (entry["total"], entry["metric"], entry["right"]) == (3, "ANLS", RIGHT)
    first = entry["samples"][0]
    at = entry["cells"].index(["snapkv", 8])
    assert first["texts"][first["said"][at]] == "x" * 399 + "…"
    assert first["scores"][at] == 0.0
    assert first["truth"] == ["yes"]


def test_page_is_one_file_without_links_and_holds_everything(explored: Explored) -> None:
    text = page_text("A <run>", explored)
    assert text == page_text("A <run>", explored)
    assert "<title>A &lt;run&gt;</title>" in text
    assert not re.search(r'(src|href)="(?!data:|#)', text.split('id="index"')[0])
    assert "default-src 'none'" in text
    index = json.loads(re.search(r'id="index">(.*?)</script>', text, re.DOTALL)[1])
    assert index["models"][0]["page"]["words"] == WORDS  # one of them would end a script element
    blocks = dict(re.findall(r'id="block-([\w-]+)" data-kind="\w+">([^<]*)</script>', text))
    assert set(blocks) == {"answers", "plotly", *explored.blocks}
    answers = json.loads(gzip.decompress(base64.b64decode(blocks["answers"])))
    assert answers == explored.answers
    name = explored.index["models"][0]["maps"]["weights"]
    assert gzip.decompress(base64.b64decode(blocks[name])) == explored.blocks[name].tobytes()


def test_every_script_is_in_the_page_and_reads_no_text_as_html() -> None:
    assert sorted(path.name for path in ASSETS.glob("*.js")) == sorted(SCRIPTS)
    for path in [*ASSETS.glob("*.js"), *ASSETS.glob("*.css"), ASSETS / "explorer.html"]:
        text = path.read_text(encoding="utf-8")
        found = re.findall(
            r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|https?://(?!www\.w3\.org)", text
        )
        assert not found, path.name


def test_what_does_not_fit_is_left_out_by_halves(
    made: tuple[Path, Run], explored: Explored, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    half = explored.halved()
    assert half.recorded == 3
    assert all(len(half.blocks[name]) == 3 for name in half.index["models"][0]["maps"].values())
    sizes = [len(page_text("R", each).encode()) for each in (explored, half)]
    assert sizes[1] < sizes[0]
    monkeypatch.setattr(explorer_page, "MOST_BYTES", sizes[1] + 10)
    write_explorer(tmp_path / "explorer.html", "R", sources_of(*made), {"run": "made-up"})
    assert (tmp_path / "explorer.html").stat().st_size <= sizes[1] + 10
    monkeypatch.setattr(explorer_page, "MOST_BYTES", 1000)
    with pytest.raises(InputError, match=r"small\.html: .* lower attention_maps.cells"):
        write_explorer(tmp_path / "small.html", "R", sources_of(*made), {"run": "made-up"})
    assert not (tmp_path / "small.html").exists()


def test_each_part_may_be_missing_but_not_all(made: tuple[Path, Run]) -> None:
    run = made[1]
    only = gather(Sources(scores=run.scores), {})
    (model,) = only.index["models"]
    assert (model["page"], model["tokens"], model["kept"], model["plan"]) == (None, [], {}, {})
    assert (only.index["cells"], only.index["efficiency"], only.answers, only.blocks) == ([], [], [], {})
    (model,) = gather(Sources(predictions=run.predictions), {}).index["models"]
    assert model["scores"] is None
    with pytest.raises(InputError, match="no head scores and no predictions"):
        gather(Sources(), {})


def test_maps_that_do_not_fit_their_page_are_named(made: tuple[Path, Run], tmp_path: Path) -> None:
    root, run = made
    frame = read_table(root / "attention_maps" / "heads" / f"{MODEL}.parquet")
    frame["weights"] = [weights[:-1] for weights in frame["weights"]]
    path = tmp_path / f"{MODEL}.parquet"
    write_table(path, frame, "head_maps", {})
    pages = sources_of(root, run).pages
    with pytest.raises(InputError, match=rf"{MODEL}\.parquet: \d+ bytes of maps where the page has"):
        gather(Sources(scores=run.scores, pages=pages, heads=[path]), {})


def test_the_page_is_made_without_torch(made: tuple[Path, Run], tmp_path: Path) -> None:
    run = made[1]
    code = (
        "import sys\nfrom sparsemm.reporting.explorer.page import write_explorer\n"
        "from sparsemm.reporting.explorer.gathering import Sources\n"
        f"write_explorer({str(tmp_path / 'e.html')!r}, 'R', Sources(scores={str(run.scores[0])!r}), {{}})\n"
        "assert not {'torch', 'transformers'} & set(sys.modules)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "e.html").stat().st_size > 1_000_000
