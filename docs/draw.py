"""Draws images/how-it-works.svg: prefill, selection, ragged storage and decode of one layer.

`python docs/draw.py` writes the SVG; `python docs/draw.py FILE.png` writes another file.
"""

from __future__ import annotations

import sys
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

IMAGE, TEXT, WINDOW, NEW, SPARE = "#7fb3d5", "#c8c8c8", "#f0a35e", "#5a9e6f", "#ffffff"
TOKENS, IMAGES, NEWEST = 18, 13, 3  # of the prompt: all, image tokens (after one of text), window
KEEP = (7, 1, 3, 1)  # tokens kept beyond the window by each of the four KV heads
RESERVE, GROWN = 3, 1
INK = "#222222"


def color(token: int) -> str:
    """The colour of a prompt token: image, text or window."""
    if token >= TOKENS - NEWEST:
        return WINDOW
    return IMAGE if 1 <= token <= IMAGES else TEXT


def attention() -> np.ndarray:
    """Made-up pooled attention, float64 [head, token before the window], with largest value 1."""
    rng = np.random.default_rng(3)
    rough = rng.random((len(KEEP), TOKENS - NEWEST + 2)) ** 3
    pooled = (rough[:, :-2] + rough[:, 1:-1] * 2 + rough[:, 2:]) / 4
    return np.asarray(pooled / pooled.max(axis=1, keepdims=True))


def cell(panel: Axes, x: float, y: float, face: str, *, faint: bool = False, hatch: str = "") -> None:
    """Draw one token of one head as a square."""
    look = {"facecolor": face, "edgecolor": INK, "linewidth": 0.6, "alpha": 0.22 if faint else 1.0}
    panel.add_patch(Rectangle((x, y), 1, 1, hatch=hatch, **look))


def kept() -> list[list[int]]:
    """Indexes of the tokens that each head keeps, increasing."""
    pooled = attention()
    best = [sorted(np.argsort(-pooled[head])[:count].tolist()) for head, count in enumerate(KEEP)]
    return [tokens + list(range(TOKENS - NEWEST, TOKENS)) for tokens in best]


def frame(figure: Figure, where: tuple[float, float, float, float], title: str, text: str) -> Axes:
    """An empty panel at (x, y, width, height) in inches, with a title above and a sentence below."""
    wide, high = figure.get_size_inches()
    x, y, w, h = where
    panel = figure.add_axes((x / wide, y / high, w / wide, h / high))
    panel.set_axis_off()
    figure.text(x / wide, (y + h + 0.12) / high, title, fontsize=11, fontweight="bold", color=INK)
    figure.text(x / wide, (y - 0.1) / high, text, fontsize=8.5, va="top", color=INK, linespacing=1.35)
    return panel


def strip(figure: Figure, where: tuple[float, float], title: str, text: str) -> Axes:
    """An empty panel of full width at (bottom, height) in inches, with a title and a sentence in one line above."""
    wide, high = figure.get_size_inches()
    bottom, height = where
    panel = figure.add_axes((0.35 / wide, bottom / high, (wide - 0.7) / wide, height / high))
    panel.set_axis_off()
    line = (bottom + height + 0.12) / high
    figure.text(0.35 / wide, line, title, fontsize=11, fontweight="bold", color=INK)
    figure.text(2.1 / wide, line, text, fontsize=8.5, color=INK)
    return panel


def names(panel: Axes) -> None:
    """Label the rows of a panel with their heads."""
    for head in range(len(KEEP)):
        panel.text(-0.6, len(KEEP) - 0.5 - head, f"KV head {head}", ha="right", va="center", fontsize=8)


def prefill(panel: Axes) -> None:
    """Draw all tokens of all heads."""
    for head in range(len(KEEP)):
        for token in range(TOKENS):
            cell(panel, token, len(KEEP) - 1 - head, color(token))
    names(panel)


def selection(panel: Axes) -> None:
    """Draw pooled attention as bars, kept tokens in full colour and evicted ones faint."""
    pooled, chosen = attention(), kept()
    for head in range(len(KEEP)):
        low = len(KEEP) - 1 - head
        for token in range(TOKENS):
            height = 0.12 + 0.76 * (pooled[head, token] if token < TOKENS - NEWEST else 1.0)
            look = {"facecolor": color(token), "linewidth": 0.6, "edgecolor": INK}
            faint = token not in chosen[head]
            panel.add_patch(Rectangle((token, low), 1, height, alpha=0.22 if faint else 1.0, **look))
    names(panel)


def storage(panel: Axes) -> list[tuple[float, float]]:
    """Draw the kept tokens of all heads in one row; return the start and end of each head."""
    ends, x = [], 0.0
    for head, tokens in enumerate(kept()):
        start = x
        for token in tokens:
            cell(panel, x, 0, color(token))
            x += 1
        for spare in range(RESERVE):
            new = spare < GROWN
            cell(panel, x, 0, NEW if new else SPARE, hatch="" if new else "////")
            x += 1
        ends.append((start, x - RESERVE + GROWN))
        panel.text((start + x) / 2, 1.25, f"KV head {head}", ha="center", va="bottom", fontsize=8)
        if head:
            panel.plot([start, start], [-0.15, 1.6], color=INK, linewidth=1.4)
    return ends


def decode(panel: Axes, ends: list[tuple[float, float]]) -> None:
    """Draw one query per head, attending to that head's tokens."""
    for head, (start, end) in enumerate(ends):
        middle = (start + end) / 2
        panel.plot([start + 0.1, end - 0.1], [2.1, 2.1], color=NEW, linewidth=2.2, solid_capstyle="butt")
        panel.annotate(
            "",
            xy=(middle, 1.92),
            xytext=(middle, 1.05),
            arrowprops={"arrowstyle": "-|>", "color": NEW, "linewidth": 1.2},
        )
        panel.text(middle, 0.85, f"query of\nhead {head}", ha="center", va="top", fontsize=8, linespacing=1.1)


def legend(figure: Figure) -> None:
    """Draw the legend of the colours at the top."""
    wide, high = figure.get_size_inches()
    panel = figure.add_axes((0, (high - 0.45) / high, 1, 0.35 / high))
    panel.set(xlim=(0, wide), ylim=(0, 0.35))
    panel.set_axis_off()
    entries = (
        (IMAGE, "", "image token"),
        (TEXT, "", "text token"),
        (WINDOW, "", "window (newest prompt tokens)"),
        (NEW, "", "generated token"),
        (SPARE, "//////", "reserved"),
    )
    x = 0.35
    for face, hatch, label in entries:
        panel.add_patch(
            Rectangle((x, 0.09), 0.17, 0.17, facecolor=face, edgecolor=INK, linewidth=0.6, hatch=hatch)
        )
        panel.text(x + 0.25, 0.17, label, va="center", fontsize=8.5, color=INK)
        x += 0.55 + 0.072 * len(label)


def draw(path: Path) -> None:
    """Write the drawing to an .svg or .png file; the same bytes every time."""
    settings = {"svg.hashsalt": "sparsemm", "font.family": "DejaVu Sans", "hatch.linewidth": 0.5}
    with mpl.rc_context(settings):
        figure = Figure(figsize=(9.6, 5.4))
        legend(figure)
        row = (-0.1, len(KEEP) + 0.1)
        left = frame(
            figure,
            (1.1, 3.3, 3.5, 1.25),
            "1  Prefill",
            "Full attention over the whole prompt, layer by layer.\nOne layer's full K and V is alive at a time.",
        )
        left.set(xlim=(-0.1, TOKENS + 0.1), ylim=row)
        prefill(left)
        right = frame(
            figure,
            (5.75, 3.3, 3.5, 1.25),
            "2  Selection",
            "The window's queries rank the other tokens (bars).\nA visual head keeps many of them, others a few.",
        )
        right.set(xlim=(-0.1, TOKENS + 0.1), ylim=row)
        selection(right)
        slots = sum(KEEP) + len(KEEP) * (NEWEST + RESERVE)
        flat = strip(
            figure,
            (1.65, 0.75),
            "3  Ragged storage",
            "One run of slots a head, as long as what it keeps, and room for the answer.",
        )
        flat.set(xlim=(-0.1, slots + 0.1), ylim=(-0.2, 2.0))
        ends = storage(flat)
        below = strip(
            figure,
            (0.1, 0.9),
            "4  Decode",
            "A head's query reads that head's run only. New K and V are written in place.",
        )
        below.set(xlim=(-0.1, slots + 0.1), ylim=(0, 2.2))
        decode(below, ends)
        stamps = {"Date": None} if path.suffix == ".svg" else {}
        figure.savefig(path, dpi=150, metadata=stamps)


if __name__ == "__main__":
    here = Path(__file__).parent / "images" / "how-it-works.svg"
    draw(Path(sys.argv[1]) if len(sys.argv) > 1 else here)
