"""Charts with axes: upright bars, lying bars or a line, with labels and values."""

from __future__ import annotations

import math

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.document import off_borders
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.grounds import mix
from sparsemm.documents.rich.page import Page

SIZES = {(192, 192): 4, (256, 128): 1}
TURNED = 0.1
OVER_TIME = (  # a title, and how a value is asked for
    ("Sales", "What were the sales in {label}?"),
    ("Visitors", "How many visitors came in {label}?"),
    ("Rain", "How much rain fell in {label}?"),
    ("Orders", "How many orders came in {label}?"),
    ("Letters", "How many letters came in {label}?"),
)
BY_NAME = (
    ("Sales", "What were the sales of {label}?"),
    ("Staff", "How many people work in {label}?"),
    ("Costs", "What were the costs of {label}?"),
)


def draw(page: Page) -> None:
    """Paint a chart; ask for every value, for the highest and for the lowest."""
    rng = page.rng
    face = page.face(8, 9)
    form = "lying" if not page.tall else rng.choice(("lying", "bars", "bars", "line"))
    named = form == "lying" and rng.random() < 0.5
    title, asked = rng.choice(BY_NAME if named else OVER_TIME)
    if page.tall:
        top = page.row(face, rng.randint(3, 6))
        assert top is not None
        page.write(title, (page.left + page.right) / 2, top, face, align="centre")
    words = v.DEPARTMENTS if named else rng.choice((v.DAYS, v.MONTHS))
    values = _values(page, words, rng.randint(3, 7))
    shown = _lying(page, face, values) if form == "lying" else _upright(page, face, values, form == "line")
    _ask(page, shown, asked, form)


def _values(page: Page, words: tuple[str, ...], count: int) -> dict[str, int]:
    """Different values of labels, neighbours in time or different names."""
    rng = page.rng
    if words is v.DEPARTMENTS:
        labels = page.source.some(words, count)
    else:
        start = rng.randrange(len(words) - count + 1)
        labels = list(words[start : start + count])
    low, high = rng.choice(((2, 30), (10, 99), (10, 99), (100, 999)))
    return {label: page.source.number(low, high, label) for label in labels}


def _ask(page: Page, values: dict[str, int], asked: str, form: str) -> None:
    for label, value in values.items():
        page.ask([asked.format(label=label), f"What is the value of {label}?"], str(value), "relaxed")
    low, *_, high = sorted(values, key=values.__getitem__)
    what = "point" if form == "line" else "bar"
    most, least = ("longest", "shortest") if form == "lying" else ("highest", "lowest")
    page.ask([f"Which {what} is {most}?", "Which label has the highest value?"], high, "relaxed")
    page.ask([f"Which {what} is {least}?", "Which label has the lowest value?"], low, "relaxed")
    page.ask("What is the highest value?", str(values[high]), "relaxed")
    page.ask("What is the lowest value?", str(values[low]), "relaxed")


def _step(top: int) -> int:
    """A round distance between ticks, of which there are two to five up to `top`."""
    size = int(10 ** int(math.log10(max(top, 10) / 2)))
    for step in (size, 2 * size, 5 * size):
        if top <= 5 * step:
            return step
    return 10 * size


def _lying(page: Page, face: Face, values: dict[str, int]) -> dict[str, int]:
    """Bars from left to right, the value at the end of each; returns those that fit."""
    rng, palette = page.rng, page.palette
    start = page.left + max(face.width(label) for label in values) + 6
    room = page.right - start - page.slack(face) - face.width("000") - 6
    most = max(2, (page.bottom - page.y) // len(values) - face.height)
    axis_top, gap, shown = page.y, rng.randint(2, min(most, 14)), {}
    longest = max(values.values())
    for label, value in values.items():
        top = page.row(face, gap)
        if top is None:
            break
        end = start + max(2, room * value // longest)
        page.write(label, start - 4, top, face, align="right")
        page.canvas.fill((start, top + 1 - gap // 4, end, top + face.height - 1 + gap // 4), palette.accent)
        page.write(str(value), end + 4, top, face, follow=True)
        shown[label] = value
    page.canvas.fill((start - 1, axis_top, start, page.y), palette.ink)
    return shown


def _upright(page: Page, face: Face, values: dict[str, int], line: bool) -> dict[str, int]:
    """Bars or points from left to right over an axis with ticks; returns those that fit."""
    rng, palette = page.rng, page.palette
    left = page.left + face.width("000") + 6
    widest = max(face.width(text) for label, value in values.items() for text in (label, str(value)))
    fitting = max(3, (page.right - left) // (widest + 10))
    shown = dict(list(values.items())[:fitting])
    slot = (page.right - left) / len(shown)
    floor = page.lift(page.bottom - face.height - 1, face) - 3
    ceiling = page.settle(page.y, face) + face.height + 4  # a value stands over the highest
    scale = (floor - ceiling) / max(shown.values())
    _axis(page, face, left, floor, ceiling, max(shown.values()), scale)
    tops = [round(floor - value * scale) for value in shown.values()]
    middles = [left + slot * (place + 0.5) for place in range(len(shown))]
    half = slot * rng.uniform(0.25, 0.4)
    for place, (middle, top) in enumerate(zip(middles, tops)):
        if not line:
            page.canvas.fill((middle - half, top, middle + half, floor), palette.accent)
        elif place:
            page.canvas.line(middles[place - 1], tops[place - 1], middle, top, palette.accent)
    for middle, top, value in zip(middles, tops, shown.values()):
        over = page.lift(top - face.height - (3 if line else 0), face)  # up: below is the bar
        if line:  # its value stands clear of it
            wide = face.width(str(value)) / 2 + 1
            page.canvas.fill((middle - wide, over + 1, middle + wide, over + face.ascent + 1), palette.paper)
            page.canvas.fill((middle - 2, top - 2, middle + 2, top + 2), palette.ink)
        page.write(str(value), middle, over, face, align="centre")
    for number, (middle, label) in enumerate(zip(middles, shown)):
        page.write(label, middle, floor + 3, face, align="centre", follow=number > 0)
    return shown


def _axis(page: Page, face: Face, left: int, floor: int, ceiling: int, highest: int, scale: float) -> None:
    """Both axes, ticks with numbers, faint lines across."""
    palette, step = page.palette, _step(highest)
    across = page.rng.random() < 0.5
    for tick in range(0, highest + 1, step):
        y = round(floor - tick * scale)
        top = y - face.ascent + round(face.cap / 2)
        if not page.angle and off_borders(top, face.height) != top:
            continue
        if across and tick:
            page.canvas.fill((left, y, page.right, y + 1), mix(palette.paper, palette.soft, 0.5))
        page.canvas.fill((left - 3, y, left, y + 1), palette.ink)
        page.write(str(tick), left - 5, top, face, align="right")
    page.canvas.fill((left - 1, ceiling, left, floor + 1), palette.ink)
    page.canvas.fill((left, floor, page.right, floor + 1), palette.ink)
