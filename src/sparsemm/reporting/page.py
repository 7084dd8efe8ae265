"""One self-contained HTML page of a run's tables and figures with their captions.

Images are embedded; the page loads nothing from elsewhere.
"""

from __future__ import annotations

import base64
import csv
import html
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sparsemm.errors import InputError
from sparsemm.results.files import atomic_write

_OPENING = "findings"  # the table whose notes say in words what came out
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 3rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
p.caption { color: #444; } ul.notes, ul.facts { color: #444; font-size: 0.85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: left; vertical-align: top; }
.right { text-align: right; white-space: nowrap; }
nav a { margin-right: 0.8rem; white-space: nowrap; }
code { background: #f3f3f3; padding: 0 0.2em; }
@media print {
  body { max-width: none; margin: 0; font-size: 10pt; }
  nav { display: none; }
  .scroll { overflow: visible; }
  table { font-size: 7pt; } th, td { padding: 0.1rem 0.3rem; } .right { white-space: normal; }
  tr, img { break-inside: avoid; } h2 { break-after: avoid; } thead { display: table-header-group; }
}
"""


@dataclass(frozen=True)
class Item:
    """A table or figure of the page.

    Attributes:
        path: of the table (.csv) or figure (.png).
        caption: paragraphs of plain reStructuredText, the same text that Snakemake's report shows.

    A table is shown as in the .md file beside it, rounded and with its notes; without one, as it is.
    """

    path: Path
    caption: str

    @property
    def name(self) -> str:
        """Its heading, from the file's name: "figure4_accuracy" becomes "Figure 4 accuracy"."""
        words = re.sub(r"(?<=[a-z])(?=[0-9])", " ", self.path.stem).replace("_", " ")
        return words[:1].upper() + words[1:]


def write_report(path: str | Path, title: str, items: Sequence[Item], facts: dict[str, str]) -> None:
    """Write the page atomically: what came out in words, then the figures, then the tables.

    Args:
        path: of the page.
        title: of the page.
        items: tables and figures; each kind in the order shown.
        facts: what to say about the run, as a list of "key: value".

    Raises:
        InputError: for an item that cannot be read or is neither .csv nor .png, and where `path` cannot be written.
    """
    ordered = sorted(items, key=lambda item: item.path.suffix != ".png")
    parts = [f"<h1>{html.escape(title)}</h1>"]
    parts += [
        _list(_notes(item.path.with_suffix(".md")), "findings")
        for item in items
        if item.path.stem == _OPENING
    ]
    parts.append(_list([f"{key}: {value}" for key, value in facts.items()], "facts"))
    links = [f'<a href="#{html.escape(item.path.stem)}">{html.escape(item.name)}</a>' for item in ordered]
    parts += ["<nav>", *links, "</nav>"]
    parts += [_section(item) for item in ordered]
    head = (
        f'<meta charset="utf-8"><meta name="viewport" content="width=device-width">'
        f"<title>{html.escape(title)}</title><style>{_STYLE}</style>"
    )
    page = (
        f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n'
        + "\n".join(parts)
        + "\n</body></html>\n"
    )
    with atomic_write(path) as partial:
        partial.write_text(page, encoding="utf-8")


def _section(item: Item) -> str:
    try:
        if item.path.suffix == ".png":
            data = base64.b64encode(item.path.read_bytes()).decode("ascii")
            shown = f'<img src="data:image/png;base64,{data}" alt="{html.escape(item.name)}">'
        elif item.path.suffix == ".csv":
            shown = _table(item.path) + _list(_notes(item.path.with_suffix(".md")), "notes")
        else:
            raise InputError(f"{item.path}: a report shows .csv tables and .png figures; leave this one out")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{item.path}: cannot be read ({error}); make it again with the paper stage"
        ) from error
    anchor = html.escape(item.path.stem)
    return f'<h2 id="{anchor}">{html.escape(item.name)}</h2>\n<figure>{shown}</figure>\n{_paragraphs(item.caption)}'


def _table(path: Path) -> str:
    """A table as in the .md file beside the .csv one, rounded and with the best in bold; without it, as it is."""
    with open(path, newline="", encoding="utf-8") as file:
        rows = [[html.escape(cell) for cell in row] for row in csv.reader(file)]
    if not rows:
        raise InputError(f"{path}: the table is empty; make it again with the paper stage")
    right = [column > 0 for column in range(len(rows[0]))]
    beside = path.with_suffix(".md")
    if beside.exists():
        lines = [line for line in beside.read_text(encoding="utf-8").splitlines() if line.startswith("|")]
        head, marks, *body = [_cells(line) for line in lines]
        right = [mark.endswith(":") for mark in marks]
        rows = [[_marked(cell) for cell in row] for row in (head, *body)]
    top, *below = (
        "".join(_cell(cell, end, "td" if number else "th") for cell, end in zip(row, right))
        for number, row in enumerate(rows)
    )
    body_rows = "".join(f"<tr>{row}</tr>" for row in below)
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body_rows}</tbody></table></div>'


def _cells(line: str) -> list[str]:
    """The cells of a row of a markdown table; a pipe in one is escaped there."""
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line.strip())[1:-1]]


def _cell(content: str, right: bool, kind: str) -> str:
    return f'<{kind} class="right">{content}</{kind}>' if right else f"<{kind}>{content}</{kind}>"


def _notes(path: Path) -> list[str]:
    """The notes below a table's markdown version; none without that file."""
    if not path.exists():
        return []
    _, _, below = path.read_text(encoding="utf-8").partition("\n\n")
    return [line.removeprefix("- ") for line in below.splitlines() if line.strip()]


def _list(lines: Sequence[str], kind: str) -> str:
    items = "".join(f"<li>{_marked(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _marked(text: str) -> str:
    """Text as HTML, with ``code``, `code`, **strong** and *emphasis*."""
    text = html.escape(text)
    text = re.sub(r"``(.+?)``|`([^`]+)`", lambda found: f"<code>{found[1] or found[2]}</code>", text)
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return re.sub(r"(?<![*\w])\*([^*\s][^*]*)\*(?![*\w])", r"<em>\1</em>", text)


def _paragraphs(caption: str) -> str:
    """A caption as HTML: paragraphs at blank lines."""
    blocks = re.split(r"\n\s*\n", caption.strip())
    return "\n".join(f'<p class="caption">{_marked(" ".join(block.split()))}</p>' for block in blocks)
