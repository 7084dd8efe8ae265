"""The site: links lead to pages of it, every configuration has one, and what it shows of our models is not stale."""

from __future__ import annotations

import json
import runpy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
REFERENCE = ROOT / "results" / "reference"
TAKEN = runpy.run_path(str(DOCS / "from_reference.py"))


@pytest.fixture(scope="module")
def hooks() -> dict[str, Any]:
    pytest.importorskip("mkdocs", reason="the site needs the extra docs")
    return runpy.run_path(str(DOCS / "hooks.py"))


@pytest.mark.parametrize(
    ("source", "link", "found"),
    [
        ("README.md", "[how](docs/how-it-works.md)", "[how](how-it-works.md)"),
        ("README.md", "[all](docs/)", "[all](docs/)"),
        ("README.md", "![a](docs/images/figure2.png)", "![a](images/figure2.png)"),
        ("README.md", "[card](data/models/x/README.md)", "card"),
        ("README.md", "[paper](https://arxiv.org/abs/1)", "[paper](https://arxiv.org/abs/1)"),
        ("config/README.md", "[top](#keys)", "[top](#keys)"),
        ("docs/index.md", "[keys](../config/README.md)", "[keys](configuration.md)"),
        ("docs/api/AdaKV.md", "[ranker](Ranker.md)", "[ranker](../api/Ranker.md)"),
        ("docs/configurations/paper.md", "[w](../../README.md#what-runs)", "[w](../workflow.md#what-runs)"),
    ],
)
def test_links_lead_to_pages_of_the_site(hooks: dict[str, Any], source: str, link: str, found: str) -> None:
    relinked: Callable[[str, str], str] = hooks["relinked"]
    if link == "[all](docs/)":
        assert relinked(link, source) == "all"
    else:
        assert relinked(link, source) == found


@pytest.mark.parametrize(
    ("html", "loads"),
    [
        ('<script src="https://cdn.example/a.js"></script>', True),
        ('<link href="//fonts.example/a.css" rel="stylesheet">', True),
        ('<link href="assets/a.css" rel="stylesheet"><a href="https://arxiv.org">paper</a>', False),
    ],
)
def test_a_page_that_loads_from_elsewhere_is_refused(hooks: dict[str, Any], html: str, loads: bool) -> None:
    assert bool(hooks["_LOADED"].search(html)) == loads


def test_every_configuration_has_a_page() -> None:
    names = {path.stem for path in (ROOT / "config").glob("*.yaml")} - {"sources.lock"}
    pages = {path.stem for path in (DOCS / "configurations").glob("*.md")}
    assert pages == {{"config": "embedded"}.get(name, name) for name in names}


def test_the_gallery_shows_every_picture_of_the_reference_run() -> None:
    text = (DOCS / "gallery.md").read_text(encoding="utf-8")
    for name in TAKEN["PICTURES"]:
        assert f"](images/{name}.png)" in text
        assert f"docs/images/{name}.png" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="results/reference is not in the repository yet")
def test_pictures_and_page_are_of_the_reference_run() -> None:
    cure = "make figures RUN=reference && python docs/from_reference.py"
    source = TAKEN["SOURCE"]
    assert source.is_file(), f"docs/images do not say what they are of: {cure}"
    said = json.loads(source.read_text(encoding="utf-8"))["sha256"]
    assert said == TAKEN["digest"](REFERENCE), f"docs/images are of other results: {cure}"


def test_pictures_page_and_hash_are_taken_from_a_run(tmp_path: Path) -> None:
    run, docs = tmp_path / "run", tmp_path / "docs"
    (run / "paper").mkdir(parents=True)
    (docs / "images").mkdir(parents=True)
    (run / "a.parquet").write_bytes(b"rows")
    with pytest.raises(SystemExit, match=r"figure2\.png is missing; run `make figures"):
        TAKEN["take"](run, docs)
    for name in TAKEN["PICTURES"]:
        (run / "paper" / f"{name}.png").write_bytes(b"png")
    (run / "paper" / "claims.csv").write_text(
        "id,model,where,verdict,effect,low,high,bound,statement\n"
        "C1a,tiny,top 1 %,fails,0.0493,0.0487,0.0497,0.1,More than 10 % | of it.\n"
        "C7,tiny,shapes,not run,,,,,Objects are worse.\n"
    )
    (run / "paper" / "findings.md").write_text("| a |\n| - |\n\n- SparseMM is better in 14 cells.\n")
    TAKEN["take"](run, docs)
    text = (docs / "what-our-models-show.md").read_text()
    assert "- SparseMM is better in 14 cells." in text
    assert "Of 2 rows 1 fail, 1 were not run." in text
    assert "| 0.0493 [0.0487, 0.0497] | 0.1 | fails |" in text
    assert r"More than 10 % \| of it." in text
    said = json.loads((docs / "images" / "source.json").read_text())
    assert said["sha256"] == TAKEN["digest"](run)
    (run / "a.parquet").write_bytes(b"other rows")
    assert said["sha256"] != TAKEN["digest"](run)
