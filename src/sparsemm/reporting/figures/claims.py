"""All claims on one page: effects with their intervals, bounds, verdicts, and the paper's values."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

from sparsemm.reporting.claims import CLAIMS, FAILS, HOLDS, NOT_RUN, TITLES, UNDECIDED, Claim
from sparsemm.reporting.figures.style import paper_style, save
from sparsemm.reporting.summary import in_order
from sparsemm.reporting.tables.claims import read_claims

# Okabe and Ito's colours, as those of the methods; a verdict also has its letter, for readers in grey.
COLORS = {HOLDS: "#009E73", FAILS: "#D55E00", UNDECIDED: "#7F7F7F", NOT_RUN: "#999999"}
_MARKERS = "osD^vP"  # of the models
_ROW, _HEAD = 0.17, 0.52  # inches of a row, and of a panel's title and axis
_WIDTH, _HEIGHT = 8.2, 11.4  # an upright page
_GROWTHS = (-0.1, 0.0, 0.1, 0.5, 2.0, 10.0, 50.0)  # ticks of C8
_LABEL = 31  # letters of a row's name


def figure_claims(claims: str | Path, stem: str | Path) -> None:
    """Write `<stem>.pdf` and `.png`: one panel a claim, one row a part of it and model.

    A point is the effect, its bar the 95 % interval, its colour the verdict, its shape the model. The dashed line is
    the bound that the effect must be beyond, a black cross the paper's number.

    Args:
        claims: the csv of the table `claims`.
        stem: path of the figure without its suffix.

    Raises:
        InputError: for a file that cannot be read.
    """
    draw(read_claims(claims), stem)


def draw(found: list[Claim], stem: str | Path) -> None:
    """Draw claims that are judged already."""
    models = in_order(claim.model for claim in found)
    marker = {model: _MARKERS[index % len(_MARKERS)] for index, model in enumerate(models)}
    rows = {number: _rows(number, found, models) for number in CLAIMS}
    columns = _split([(number, len(own)) for number, own in rows.items()])
    with paper_style():
        tall = max(sum(_HEAD + _ROW * len(rows[number]) for number in column) for column in columns) + 0.75
        figure = Figure(figsize=(_WIDTH, tall if tall < _HEIGHT else _HEIGHT))
        scale = (figure.get_size_inches()[1] - 0.75) / (tall - 0.75)
        for index, column in enumerate(columns):
            top = figure.get_size_inches()[1] - 0.35
            for number in column:
                top = _panel(figure, index, top, scale, number, rows[number], marker)
        _legend(figure, models, marker)
        save(figure, stem)


def _rows(number: str, found: list[Claim], models: list[str]) -> list[Claim]:
    """The rows of a claim's panel: part by part and place by place, in each the models in their order."""
    own = [claim for claim in found if claim.id.rstrip("abcdefgh") == number]
    if all(claim.verdict == NOT_RUN and claim.paper != claim.paper for claim in own):
        return own[:1]  # one row says it
    places = in_order(f"{claim.id}/{claim.where}" for claim in own)
    return sorted(
        own,
        key=lambda claim: (
            claim.id,
            places.index(f"{claim.id}/{claim.where}"),
            models.index(claim.model),
        ),
    )


def _split(sizes: list[tuple[str, int]]) -> list[list[str]]:
    """The claims in two columns of nearly the same height, in order."""
    heights = [_HEAD + _ROW * rows for _, rows in sizes]
    cut = min(range(1, len(sizes)), key=lambda at: max(sum(heights[:at]), sum(heights[at:])))
    names = [name for name, _ in sizes]
    return [names[:cut], names[cut:]]


def _panel(
    figure: Figure,
    column: int,
    top: float,
    scale: float,
    number: str,
    rows: list[Claim],
    marker: dict[str, str],
) -> float:
    """Draw one claim's panel whose upper edge is `top` inches above the page's lower edge; the next panel's edge."""
    _, tall = figure.get_size_inches()
    height = _ROW * scale * len(rows)
    left = 0.185 + 0.5 * column
    axes = figure.add_axes((left, (top - height - 0.2 * scale) / tall, 0.225, height / tall))
    axes.set_title(f"{number}  {TITLES[number]}", loc="left", fontweight="bold", x=-0.76, pad=3)
    shown = any(claim.effect == claim.effect or claim.paper == claim.paper for claim in rows)
    for index, claim in enumerate(rows):
        _effect(axes, len(rows) - 1 - index, claim, marker[claim.model])
    _ticks(axes, rows)
    if shown:
        _bounds(axes, rows)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.grid(visible=False, axis="y")
    axes.margins(x=0.08)
    if number == "C8" and shown:  # a flat line and a steep one
        axes.set_xscale("symlog", linthresh=0.2)
        axes.xaxis.set_major_locator(FixedLocator(_GROWTHS))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    else:
        axes.xaxis.set_major_locator(MaxNLocator(4))
    axes.tick_params(axis="y", length=0)
    if not shown:
        axes.set_xticks([])
        axes.grid(visible=False)
    return float(top - height - _HEAD * scale)


def _effect(axes: Axes, y: int, claim: Claim, marker: str) -> None:
    color = COLORS[claim.verdict]
    if claim.verdict != NOT_RUN:
        axes.plot([claim.low, claim.high], [y, y], color=color, linewidth=1.6, solid_capstyle="butt")
        axes.plot([claim.effect], [y], color=color, marker=marker, markersize=4.2, linestyle="", zorder=3)
    if claim.paper == claim.paper:
        axes.plot([claim.paper], [y], color="#000000", marker="x", markersize=4, linestyle="", zorder=4)
    axes.text(
        1.02, y, claim.verdict, transform=axes.get_yaxis_transform(), va="center", fontsize=6, color=color
    )


def _ticks(axes: Axes, rows: list[Claim]) -> None:
    """Name each row; rows of one part and place that differ by model alone are named once."""
    names, last = [], ""
    if len(rows) == 1 and rows[0].verdict == NOT_RUN:
        axes.set_yticks([])
        return
    for claim in rows:
        name = f"{claim.id[2:]} {_short(claim)}".strip()
        names.append("" if name == last else name)
        last = name
    axes.set_yticks(range(len(rows) - 1, -1, -1), [name[:_LABEL] for name in names], fontsize=6.2)


# The parts of the claims that a place does not name.
_PARTS = {
    "C2a": "beyond random:",
    "C2b": "first heads:",
    "C5a": "rho 0:",
    "C5b": "rho 1:",
    "C6a": "+ uniform:",
    "C6b": "+ score:",
    "C7a": "rank:",
    "C7b": "top 10 %:",
    "C7c": "quality:",
    "C8a": "SparseMM",
    "C8b": "FullKV",
    "C9a": "10 %:",
    "C9b": "5 %:",
}


def _short(claim: Claim) -> str:
    said = _PARTS.get(claim.id, "")
    return said if claim.id.startswith("C8") else f"{said} {claim.where}".strip().rstrip(":")


def _bounds(axes: Axes, rows: list[Claim]) -> None:
    """A dashed line at the bound of each run of rows that share it; at both sides for an equivalence."""
    style: dict[str, Any] = {"color": "#000000", "linestyle": (0, (2, 2)), "linewidth": 0.8, "zorder": 1}
    for index, claim in enumerate(rows):
        y = len(rows) - 1 - index
        for bound in (claim.bound, -claim.bound) if claim.id == "C4" else (claim.bound,):
            axes.plot([bound, bound], [y - 0.5, y + 0.5], **style)


def _legend(figure: Figure, models: list[str], marker: dict[str, str]) -> None:
    handles = [
        Line2D([], [], color=COLORS[name], marker="o", label=name, linewidth=1.6, markersize=4.2)
        for name in (HOLDS, FAILS, UNDECIDED)
    ]
    handles.append(
        Line2D([], [], color="#000000", marker="x", markersize=4, linestyle="", label="the paper's number")
    )
    handles.append(Line2D([], [], color="#000000", linestyle=(0, (2, 2)), linewidth=0.8, label="bound"))
    if len(models) > 1:
        handles += [
            Line2D([], [], color="#444444", marker=marker[name], linestyle="", markersize=4.2, label=name)
            for name in models
        ]
    figure.legend(handles=handles, loc="lower center", ncols=5 if len(models) < 2 else 4, fontsize=7)
    if len(models) == 1:
        figure.text(0.03, 1 - 0.16 / figure.get_size_inches()[1], models[0], va="center", fontsize=9)
