"""Writes explorer.html: one file with the data, the scripts and the chart library inside; it loads nothing."""

from __future__ import annotations

import base64
import gzip
import html
import json
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.offline import get_plotlyjs

from sparsemm.errors import InputError
from sparsemm.reporting.explorer.gathering import Explored, Sources, gather
from sparsemm.results.files import atomic_write

MOST_BYTES = 20_000_000  # of the page
# In the order in which they are run: each uses those before it.
SCRIPTS = (
    "dom.js",
    "data.js",
    "state.js",
    "colours.js",
    "grid.js",
    "picture.js",
    "ranking.js",
    "attention.js",
    "kept.js",
    "charts.js",
    "answers.js",
    "main.js",
)
_TYPES = {"|u1": "u8", "<u2": "u16", "<f4": "f32"}


def write_explorer(path: str | Path, title: str, sources: Sources, facts: dict[str, str]) -> None:
    """Write the page atomically.

    Where the attention of all recorded tokens does not fit `MOST_BYTES`, the last tokens are left out, half of them at
    a time, and the page says how many it shows.

    Args:
        path: of the page.
        title: of the page.
        sources: the run's result files.
        facts: what to say about the run.

    Raises:
        InputError: for a result file that cannot be read, a page that stays too large, and where `path` cannot be
            written.
    """
    explored = gather(sources, facts)
    text = page_text(title, explored)
    while len(text.encode()) > MOST_BYTES:
        if explored.recorded < 2:
            raise InputError(
                f"{path}: {len(text.encode()) / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:.0f}; "
                "lower attention_maps.cells and map the attention again"
            )
        explored = explored.halved()
        text = page_text(title, explored)
    with atomic_write(path) as partial:
        partial.write_text(text, encoding="utf-8")


def page_text(title: str, explored: Explored) -> str:
    """The page as HTML. The same content gives the same text."""
    parts = {
        "title": html.escape(title),
        "style": asset("explorer.css"),
        "index": _json(explored.index | {"title": title}),
        "blocks": "\n".join(
            [
                _block("answers", json.dumps(explored.answers, ensure_ascii=False).encode(), "json"),
                _block("plotly", get_plotlyjs().encode(), "text"),
                *(_array(name, array) for name, array in explored.blocks.items()),
            ]
        ),
        "script": "\n".join(asset(name) for name in SCRIPTS),
    }
    text = asset("explorer.html")
    for name, part in parts.items():
        before, found, after = text.partition(f"<!--{name}-->")
        assert found, f"explorer.html has no place for {name}"
        # What was put in is before the places that follow, so that its text is not searched again.
        parts[name], text = before + part, after
    return "".join(parts.values()) + text


def asset(name: str) -> str:
    """The text of a file of the page, as it lies beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _json(value: Any) -> str:
    """JSON that ends no script element, whatever texts it holds: every < is escaped."""
    return json.dumps(value, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")


def _array(name: str, array: NDArray[Any]) -> str:
    made = np.ascontiguousarray(array)
    return _block(name, made.tobytes(), _TYPES[made.dtype.str])


def _block(name: str, data: bytes, kind: str) -> str:
    """Data in a script element that is not run: gzip, base64."""
    packed = base64.b64encode(gzip.compress(data, 9, mtime=0)).decode("ascii")
    return f'<script type="application/gzip" id="block-{name}" data-kind="{kind}">{packed}</script>'
