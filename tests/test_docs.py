"""The documentation: every example runs, every public name has a page, every link leads somewhere."""

from __future__ import annotations

import doctest
import re
import runpy
import shlex
from pathlib import Path

import pytest

import sparsemm
from sparsemm.cli import make_parser

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = sorted(DOCS.rglob("*.md"))
_FLAGS = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.DOTALL)
_FENCE = re.compile(r"^(```|~~~).*$", re.MULTILINE)


def page_id(path: Path) -> str:
    return path.relative_to(DOCS).as_posix()


def anchors(path: Path) -> set[str]:
    """Names of a page's headings as links use them."""
    text = path.read_text(encoding="utf-8")
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


@pytest.mark.parametrize("page", PAGES, ids=page_id)
def test_examples_run(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = _FENCE.sub("", page.read_text(encoding="utf-8"))  # a fence would count as expected output
    test = doctest.DocTestParser().get_doctest(text, {"tmp_path": tmp_path}, page.name, str(page), 0)
    monkeypatch.chdir(ROOT)
    said: list[str] = []
    runner = doctest.DocTestRunner(optionflags=_FLAGS)
    runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)


@pytest.mark.parametrize("name", sparsemm.__all__)
def test_every_public_name_has_a_page_with_an_example(name: str) -> None:
    page = DOCS / "api" / f"{name}.md"
    assert page.is_file()
    text = page.read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    assert re.search(rf">>> .*\b{name}\b", text)
    assert f"api/{name}.md" in (DOCS / "index.md").read_text(encoding="utf-8")


def test_every_api_page_is_of_a_public_name() -> None:
    assert {page.stem for page in (DOCS / "api").glob("*.md")} == set(sparsemm.__all__)


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda path: path.name)
def test_links_lead_somewhere(page: Path) -> None:
    for link in _LINK.findall(page.read_text(encoding="utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        target, _, anchor = link.partition("#")
        path = (page.parent / target).resolve() if target else page
        assert path.exists(), f"{link} leads nowhere"
        assert not anchor or anchor in anchors(path), f"{link}: no such heading"


def test_every_page_is_linked_from_another_or_the_readme() -> None:
    linked = {DOCS / "index.md"}
    for page in [*PAGES, ROOT / "README.md"]:
        links = _LINK.findall(page.read_text(encoding="utf-8"))
        linked |= {(page.parent / link.partition("#")[0]).resolve() for link in links if "://" not in link}
    assert {page for page in PAGES if not page_id(page).startswith("performance")} <= linked


def test_commands_in_the_docs_are_ones_the_parser_takes() -> None:
    blocks = re.findall(r"```bash\n(.*?)```", (DOCS / "cli.md").read_text(encoding="utf-8"), re.DOTALL)
    commands = [line for block in blocks for line in block.splitlines() if line.startswith("sparsemm ")]
    assert len(commands) >= 3
    for command in commands:
        words = shlex.split(command, comments=True)[1:]
        assert make_parser().parse_args(words).run


def test_the_drawing_is_what_its_script_draws(tmp_path: Path) -> None:
    """All of the SVG but its metadata, which name the version of matplotlib."""
    made, kept = tmp_path / "drawing.svg", DOCS / "images" / "how-it-works.svg"
    runpy.run_path(str(DOCS / "draw.py"))["draw"](made)
    drawn, shown = (_METADATA.sub("", path.read_text(encoding="utf-8")) for path in (made, kept))
    assert drawn.count("<path") > 50
    assert drawn == shown, "docs/images/how-it-works.svg is out of date: python docs/draw.py"


def test_walks_enter_files_that_are_there_and_none_twice() -> None:
    walks = (DOCS / "architecture.md").read_text(encoding="utf-8").split("### ")[1:]
    assert len(walks) == 3
    for walk in walks:
        files = re.findall(r"^\d+\. `([^`]+)`", walk, re.MULTILINE)
        assert len(files) == len(set(files)) >= 9
        for file in files:
            assert (ROOT / "src/sparsemm" / file).is_file(), file
