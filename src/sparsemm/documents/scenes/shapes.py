"""Scenes of shapes: large, one a tile, named by colour and form, no two of the same colour or form."""

from __future__ import annotations

import math
import random

from PIL import Image, ImageDraw

from sparsemm.documents.boxes import Box
from sparsemm.documents.pages import Word
from sparsemm.documents.scenes import grounds
from sparsemm.documents.scenes.base import Scene, SceneStyle, Slot
from sparsemm.documents.words import split_of

COLORS: dict[str, grounds.Color] = {
    "red": (214, 30, 38),
    "green": (30, 150, 60),
    "blue": (36, 72, 212),
    "yellow": (246, 214, 30),
    "orange": (246, 130, 20),
    "purple": (130, 40, 170),
    "pink": (246, 150, 190),
    "brown": (112, 66, 30),
    "black": (14, 14, 14),
    "white": (250, 250, 250),
}
FORMS = ("circle", "square", "triangle", "star", "diamond", "cross", "ring", "heart", "hexagon", "arrow")
_FINE = 4
_POLYGONS: dict[str, list[tuple[float, float]]] = {
    "square": [(-0.8, -0.8), (0.8, -0.8), (0.8, 0.8), (-0.8, 0.8)],
    "diamond": [(0, -1), (0.62, 0), (0, 1), (-0.62, 0)],
    "cross": [
        *((-0.3, -1), (0.3, -1), (0.3, -0.3), (1, -0.3), (1, 0.3), (0.3, 0.3)),
        *((0.3, 1), (-0.3, 1), (-0.3, 0.3), (-1, 0.3), (-1, -0.3), (-0.3, -0.3)),
    ],
    "arrow": [(-1, -0.28), (0.1, -0.28), (0.1, -0.75), (1, 0), (0.1, 0.75), (0.1, 0.28), (-1, 0.28)],
}


def shapes_scene(rng: random.Random, *, split: str, style: SceneStyle, group: str) -> Scene:
    """Two or more shapes on a soft ground. Scenes of two splits never show the same list of names.

    Args:
        rng: the only source of randomness.
        split: "train", "eval" or "probe".
        style: sizes; names are in upper case where the style has no other letters.
        group: of fonts; nothing is written here.
    """
    del group
    canvas = grounds.textured(rng, rng.choice(style.sizes), strength=0.35)
    rows = style.slots(rng, canvas.size, (1, 1))
    chosen = _named(rng, sum(map(len, rows)), split, style, _seen_on(canvas))
    lines = []
    for slots in rows:
        line = []
        for slot in slots:
            name, color, form = chosen.pop(0)
            if name:
                line.append(Word(name, _paint(rng, canvas, slot, COLORS[color], form), ()))
        if line:
            lines.append(tuple(line))
    return Scene(grounds.camera(rng, canvas), tuple(lines), "shapes")


def _seen_on(canvas: Image.Image) -> list[str]:
    """The colours that stand out from the ground."""
    mean = grounds.mean_color(canvas, (0, 0, *canvas.size))
    return [name for name, color in COLORS.items() if math.dist(color, mean) > 100]


def _named(
    rng: random.Random, slots: int, split: str, style: SceneStyle, seen: list[str]
) -> list[tuple[str, str, str]]:
    """Name, colour and form for each slot, in reading order; some slots of many are empty ("").

    No colour and no form is there twice, so there are at most as many shapes.
    """
    shout = not any(alphabet.islower() for alphabet in style.alphabets)
    most = min(slots, len(seen), len(FORMS))
    while True:
        count = rng.randint(max(2, most - 1), most)
        taken = sorted(rng.sample(range(slots), count))
        colors, forms = rng.sample(seen, most), rng.sample(FORMS, most)
        which = {slot: slot if most == slots else number for number, slot in enumerate(taken)}
        names = [f"{colors[which[i]]} {forms[which[i]]}" if i in which else "" for i in range(slots)]
        if split_of(", ".join(filter(None, names))) == split:
            said = [name.upper() if shout else name for name in names]
            return [(said[i], colors[which.get(i, 0)], forms[which.get(i, 0)]) for i in range(slots)]


def _paint(rng: random.Random, canvas: Image.Image, slot: Slot, color: grounds.Color, form: str) -> Box:
    """Paint a shape of half to nine tenths of its slot; returns its box."""
    x0, y0, x1, y1 = slot
    radius = rng.uniform(0.27, 0.44) * min(x1 - x0, y1 - y0)
    x, y = rng.uniform(x0 + radius, x1 - radius), rng.uniform(y0 + radius, y1 - radius)
    turn = math.radians(rng.uniform(-12, 12))
    points = [
        (
            radius * (px * math.cos(turn) - py * math.sin(turn)),
            radius * (px * math.sin(turn) + py * math.cos(turn)),
        )
        for px, py in _outline(form)
    ]
    across, down = zip(*points)
    # The corners of some forms lie outside the unit circle: the shape is moved back into its slot.
    x = min(max(x, x0 - min(across)), x1 - max(across))
    y = min(max(y, y0 - min(down)), y1 - max(down))
    mask = Image.new("L", (canvas.width * _FINE, canvas.height * _FINE))
    brush = ImageDraw.Draw(mask)
    brush.polygon([((x + px) * _FINE, (y + py) * _FINE) for px, py in points], fill=255)
    if form == "ring":
        inner = radius * 0.55
        ends = (x - inner, y - inner, x + inner, y + inner)
        brush.ellipse([v * _FINE for v in ends], fill=0)
    canvas.paste(_shaded(rng, color), (0, 0), mask.resize(canvas.size, Image.Resampling.BOX))
    left, top, right, bottom = (float(edge) for edge in slot)  # sums of floats may lie beyond by the last bit
    return (
        max(left, x + min(across)),
        max(top, y + min(down)),
        min(right, x + max(across)),
        min(bottom, y + max(down)),
    )


def _outline(form: str) -> list[tuple[float, float]]:
    """Corners of a form within the unit circle, or nearly."""
    if form in _POLYGONS:
        return _POLYGONS[form]
    if form == "heart":
        turns = [2 * math.pi * i / 60 for i in range(60)]
        return [
            (
                math.sin(t) ** 3,
                -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 16,
            )
            for t in turns
        ]
    corners = {"triangle": 3, "star": 10, "hexagon": 6}.get(form, 90)
    lengths = (1.0, 0.42) if form == "star" else (1.0, 1.0)
    return [
        (
            lengths[i % 2] * math.sin(2 * math.pi * i / corners),
            -lengths[i % 2] * math.cos(2 * math.pi * i / corners),
        )
        for i in range(corners)
    ]


def _shaded(rng: random.Random, color: grounds.Color) -> grounds.Color:
    """The colour, a little lighter or darker."""
    red, green, blue = (min(255, max(0, part + rng.randint(-10, 10))) for part in color)
    return red, green, blue
