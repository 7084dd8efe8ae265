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

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; color: #1b1b1b; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.2rem; margin-top: 3rem; }
figure { margin: 0; } img { max-width: 100%; height: auto; }
p.caption { color: #444; } ul.notes { color: #444; font-size: 0.85rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.7rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
nav a { margin-right: 0.8rem; white-space: nowrap; }
code { background: #f3f3f3; padding: 0 0.2em; }
"""


@dataclass(frozen=True)
class Item:
    """A table or figure of the page.

    Attributes:
        path: of the table (.csv) or figure (.png).
        caption: paragraphs of plain reStructuredText, the same text that Snakemake's report shows.

    A table's notes are those of the .md file beside it, if it is there.
    """

    path: Path
    caption: str

    @property
    def name(self) -> str:
        """Its heading, from the file's name: "figure4_accuracy" becomes "Figure 4 accuracy"."""
        words = re.sub(r"(?<=[a-z])(?=[0-9])", " ", self.path.stem).replace("_", " ")
        return words[:1].upper() + words[1:]


def write_report(path: str | Path, title: str, items: Sequence[Item], facts: dict[str, str]) -> None:
    """Write the page atomically.

    Args:
        path: of the page.
        title: of the page.
        items: tables and figures, in the order shown.
        facts: what to say about the run, as a list of "key: value" below the title.

    Raises:
        InputError: for an item that cannot be read or is neither .csv nor .png, and where `path` cannot be written.
    """
    parts = [f"<h1>{html.escape(title)}</h1>", "<ul>"]
    parts += [f"<li>{html.escape(key)}: {html.escape(value)}</li>" for key, value in facts.items()]
    parts += ["</ul>", "<nav>"]
    parts += [f'<a href="#{html.escape(item.path.stem)}">{html.escape(item.name)}</a>' for item in items]
    parts.append("</nav>")
    parts += [_section(item) for item in items]
    head = f'<meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style>'
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
            shown = _table(item.path) + _notes(item.path.with_suffix(".md"))
        else:
            raise InputError(f"{item.path}: a report shows .csv tables and .png figures; leave this one out")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"{item.path}: cannot be read ({error}); make it again with the paper stage"
        ) from error
    anchor = html.escape(item.path.stem)
    return f'<h2 id="{anchor}">{html.escape(item.name)}</h2>\n<figure>{shown}</figure>\n{_paragraphs(item.caption)}'


def _table(path: Path) -> str:
    with open(path, newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    if not rows:
        raise InputError(f"{path}: the table is empty; make it again with the paper stage")
    head = "".join(f"<th>{html.escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows[1:]
    )
    return f'<div class="scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


def _notes(path: Path) -> str:
    """The notes below a table's markdown version as a list; nothing without that file."""
    if not path.exists():
        return ""
    _, _, below = path.read_text(encoding="utf-8").partition("\n\n")
    lines = [line.removeprefix("- ") for line in below.splitlines() if line.strip()]
    items = "".join(f"<li>{html.escape(line)}</li>" for line in lines)
    return f'<ul class="notes">{items}</ul>' if items else ""


def _paragraphs(caption: str) -> str:
    """A caption as HTML: paragraphs at blank lines, with ``code``, **strong** and *emphasis*."""
    shown = []
    for block in re.split(r"\n\s*\n", caption.strip()):
        text = html.escape(" ".join(block.split()))
        text = re.sub(r"``(.+?)``", r"<code>\1</code>", text)
        text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
        text = re.sub(r"(?<!\*)\*([^*]+)\*(?!\*)", r"<em>\1</em>", text)
        shown.append(f'<p class="caption">{text}</p>')
    return "\n".join(shown)
