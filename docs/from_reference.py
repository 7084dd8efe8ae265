"""Takes what these pages show of our models from the reference run: the pictures, and the page of its claims.

`make figures RUN=reference && python docs/from_reference.py` writes images/figure*.png, what-our-models-show.md and
images/source.json, which says of which result files they are. Needs nothing but Python.
"""

from __future__ import annotations

import csv
import hashlib
import json
import shutil
import sys
from collections import Counter
from pathlib import Path

DOCS = Path(__file__).resolve().parent
RUN = DOCS.parent / "results" / "reference"
PICTURES = ("figure2", "figure4", "figure6", "figure7", "figure10")
SOURCE = DOCS / "images" / "source.json"
PAGE = DOCS / "what-our-models-show.md"
_WORDS = {"holds": "hold", "fails": "fail", "undecided": "are undecided", "not run": "were not run"}
_OPENING = """# What our models show

<!-- Written by `python docs/from_reference.py` from results/reference: do not edit. -->
"""


def digest(run: Path) -> str:
    """A hash of a run's result files, by name and content."""
    found = hashlib.sha256()
    for path in sorted(run.rglob("*.parquet")):
        name = path.relative_to(run).as_posix()
        found.update(f"{name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return found.hexdigest()


def page(paper: Path) -> str:
    """The page's text from a run's tables.

    Args:
        paper: folder of the run's tables, with claims.csv and findings.md.
    """
    with open(paper / "claims.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    _, _, below = (paper / "findings.md").read_text(encoding="utf-8").partition("\n\n")
    said = [line for line in below.splitlines() if line.startswith("- ")]
    parts = [_OPENING, "## In words\n", *said, "\n## The paper's claims, judged\n"]
    parts.append("[How each is tested](claims.md). In brackets: 95 % intervals.\n")
    for model in dict.fromkeys(row["model"] for row in rows):
        own = [row for row in rows if row["model"] == model]
        counts = Counter(row["verdict"] for row in own)
        tally = ", ".join(f"{counts[key]} {word}" for key, word in _WORDS.items() if counts[key])
        parts += [f"### {model}\n", f"Of {len(own)} rows {tally}.\n"]
        parts += ["| claim | where | what is claimed | here | bound | verdict |", "|---|---|---|--:|--:|---|"]
        parts += [_row(row) for row in own]
        parts.append("")
    return "\n".join(parts)


def _row(row: dict[str, str]) -> str:
    cells = [row["id"], row["where"], row["statement"], _effect(row), _number(row["bound"]), row["verdict"]]
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _effect(row: dict[str, str]) -> str:
    if not row["effect"]:
        return ""
    ends = f" [{_number(row['low'])}, {_number(row['high'])}]" if row["low"] and row["high"] else ""
    return _number(row["effect"]) + ends


def _number(text: str) -> str:
    try:
        return f"{float(text):.3g}"
    except ValueError:
        return text


def take(run: Path, docs: Path) -> None:
    """Write pictures, page and hash. Exits with one line where the run or its figures are missing."""
    paper = run / "paper"
    wanted = [*(f"{name}.png" for name in PICTURES), "claims.csv", "findings.md"]
    missing = [name for name in wanted if not (paper / name).is_file()]
    if missing:
        sys.exit(f"{paper}: {missing[0]} is missing; run `make figures RUN=reference` first")
    for name in PICTURES:
        shutil.copyfile(paper / f"{name}.png", docs / "images" / f"{name}.png")
    (docs / PAGE.name).write_text(page(paper), encoding="utf-8")
    about = {"run": "results/reference", "sha256": digest(run), "pictures": list(PICTURES)}
    (docs / "images" / SOURCE.name).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    take(RUN, DOCS)
