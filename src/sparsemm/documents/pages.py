"""Generated documents: pages of `KEY VALUE` lines and bar charts, in the DejaVu fonts of matplotlib.

Page shape, positions, pitch, font size and weight, contrast, polarity and noise are random. No glyph crosses a tile
border: the vision tower encodes each tile separately, and at 64 px tiles a glyph would be cut in two.
"""

from __future__ import annotations

import functools
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from sparsemm.documents.boxes import Box
from sparsemm.documents.words import ALPHABET, DIGITS, LETTERS, WordSource

TILE = 64  # px, side of a vision-tower input
PAGE_SIZES = ((128, 128), (192, 128), (128, 192))  # width, height in px
PAGE_WEIGHTS = (3, 1, 1)
READ_PROMPT = "Provide all the OCR results of this image."
VALUE_PROMPT = "What is the value of {key}?"
BAR_PROMPT = "What is the value of bar {key}?"
_FONTS = ("DejaVuSansMono.ttf", "DejaVuSansMono-Bold.ttf", "DejaVuSansMono-Oblique.ttf")


@dataclass(frozen=True)
class Glyph:
    """One drawn character and the box that contains its ink."""

    char: str
    box: Box

    @property
    def center(self) -> tuple[float, float]:
        """x, y in px."""
        return (self.box[0] + self.box[2]) / 2, (self.box[1] + self.box[3]) / 2


@dataclass(frozen=True)
class Word:
    """A word, its box and its characters."""

    text: str
    box: Box
    glyphs: tuple[Glyph, ...]


@dataclass(frozen=True)
class Line:
    """One `KEY VALUE` line of a page, or one bar of a chart."""

    key: str
    value: str
    words: tuple[Word, ...]


@dataclass(frozen=True)
class Document:
    """A document image with its ground truth.

    Attributes:
        image: RGB.
        lines: top to bottom.
        kind: "page" or "chart".
    """

    image: Image.Image
    lines: tuple[Line, ...]
    kind: str

    @property
    def words(self) -> list[Word]:
        """The words of all lines, in reading order."""
        return [word for line in self.lines for word in line.words]

    @property
    def transcript(self) -> str:
        """The expected answer to READ_PROMPT: one line per `KEY VALUE`, top to bottom."""
        return "\n".join(f"{line.key} {line.value}" for line in self.lines)

    def question(self, line: Line) -> str:
        """The prompt that asks for the value of `line`."""
        return (BAR_PROMPT if self.kind == "chart" else VALUE_PROMPT).format(key=line.key)


@functools.cache
def _font(name: str, size: int) -> ImageFont.FreeTypeFont:
    import matplotlib

    return ImageFont.truetype(str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / name), size)


@functools.cache
def _mask(name: str, size: int, char: str) -> tuple[Image.Image, int]:
    """The glyph's coverage mask, cropped to its ink, and its height in px."""
    font = _font(name, size)
    left, top, right, bottom = font.getbbox(char)
    mask = Image.new("L", (int(right - left), int(bottom - top)), 0)
    ImageDraw.Draw(mask).text((-left, -top), char, fill=255, font=font)
    return mask, int(bottom - top)


@dataclass(frozen=True)
class _Style:
    """How one document is drawn: font size and pitch in px, grey levels of ink and paper."""

    font: str
    size: int
    pitch: int
    ink: int
    paper: int

    @classmethod
    def draw(cls, rng: random.Random) -> _Style:
        """A random style; one in four is light on dark."""
        pitch = rng.choice((8, 8, 9, 10))
        size = rng.randint(11, 12) if pitch == 8 else rng.randint(11, pitch + 4)
        paper = rng.randint(190, 255)
        ink = rng.randint(0, 90)
        if rng.random() < 0.25:
            ink, paper = paper, ink
        return cls(rng.choice(_FONTS), size, pitch, ink, paper)

    @property
    def height(self) -> int:
        """Ink height of the tallest character in px (upper-case letters and digits have the same)."""
        return max(_mask(self.font, self.size, char)[1] for char in "O0Q8")


def _within_tile(start: int, extent: int) -> int:
    """`start`, moved forward if [start, start + extent) would cross a tile border."""
    return start if start % TILE + extent <= TILE else (start // TILE + 1) * TILE


def _layout(text: str, x: int, y: int, style: _Style) -> tuple[list[Glyph], int]:
    """The glyphs of `text` from x on (a space takes one pitch), and the x after the last one."""
    glyphs = []
    for char in text:
        if char != " ":
            x = _within_tile(x, style.pitch)
            glyphs.append(Glyph(char, (x, y, x + style.pitch, y + style.height)))
        x += style.pitch
    return glyphs, x


def _word(text: str, glyphs: list[Glyph]) -> Word:
    xs = [g.box[0] for g in glyphs] + [g.box[2] for g in glyphs]
    return Word(text, (min(xs), glyphs[0].box[1], max(xs), glyphs[0].box[3]), tuple(glyphs))


def _paint(image: Image.Image, words: list[Word], style: _Style) -> None:
    for word in words:
        for glyph in word.glyphs:
            mask, _ = _mask(style.font, style.size, glyph.char)
            x0, x1, bottom = (int(glyph.box[side]) for side in (0, 2, 3))
            if mask.width > x1 - x0:  # an oblique W can be wider than its box: scale it
                mask = mask.resize((x1 - x0, mask.height))
            image.paste(style.ink, (x0 + (x1 - x0 - mask.width) // 2, bottom - mask.height), mask)


def _rows(rng: random.Random, count: int, height: int, page_height: int) -> list[int]:
    """Top edges of up to `count` rows at random heights, without overlap and within tiles."""
    slack = page_height - count * (height + 2)
    while slack < 0:
        count -= 1
        slack += height + 2
    cuts = sorted(rng.randint(0, slack) for _ in range(count))
    rows: list[int] = []
    for index, cut in enumerate(cuts):
        top = cut + index * (height + 2) + 1
        if rows:
            top = max(top, rows[-1] + height + 2)
        top = _within_tile(top, height)
        if top + height <= page_height:
            rows.append(top)
    return rows


def _finish(canvas: Image.Image, rng: random.Random) -> Image.Image:
    """The RGB image with Gaussian noise."""
    pixels = np.asarray(canvas, dtype=np.float32)
    noise = np.random.default_rng(rng.getrandbits(32)).standard_normal(pixels.shape, dtype=np.float32)
    pixels = pixels + rng.uniform(0, 8) * noise
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).convert("RGB")


def generate_document(rng: random.Random, *, split: str, kind: str = "page") -> Document:
    """Generate one document.

    Args:
        rng: the only source of randomness.
        split: "train", "eval" or "probe"; no word is in two splits.
        kind: "page" (key-value lines) or "chart" (labelled bars with numbers).

    Raises:
        ValueError: for an unknown split or kind.
    """
    if kind not in ("page", "chart"):
        raise ValueError(f"kind {kind!r} is unknown: use page or chart")
    source = WordSource(rng, split)
    style = _Style.draw(rng)
    width, height = rng.choices(PAGE_SIZES, PAGE_WEIGHTS)[0]
    canvas = Image.new("L", (width, height), style.paper)
    most = (height - 8) // (style.height + 5)
    rows = _rows(rng, rng.randint(min(4, most), min(most, 9)), style.height, height)
    make = _bars if kind == "chart" else _lines
    lines = make(rng, source, style, canvas, rows)
    _paint(canvas, [word for line in lines for word in line.words], style)
    return Document(_finish(canvas, rng), tuple(lines), kind)


def _lines(
    rng: random.Random, source: WordSource, style: _Style, canvas: Image.Image, rows: list[int]
) -> list[Line]:
    """Key-value lines; the caller paints them."""
    cells = (canvas.width - 2 * style.pitch) // style.pitch  # two are left for glyphs moved to the next tile
    lines = []
    for y in rows:
        key = source.draw(LETTERS, 3)
        value = source.draw(ALPHABET, rng.randint(4, min(9, cells - 4)))
        free = canvas.width - (len(key) + 1 + len(value) + 2) * style.pitch
        key_glyphs, x = _layout(key + " ", rng.randint(0, max(0, free)), y, style)
        value_glyphs, _ = _layout(value, x, y, style)
        lines.append(Line(key, value, (_word(key, key_glyphs), _word(value, value_glyphs))))
    return lines


def _bars(
    rng: random.Random, source: WordSource, style: _Style, canvas: Image.Image, rows: list[int]
) -> list[Line]:
    """Bars with a label and a number, as lines; the bars are drawn here, the caller paints the words."""
    brush = ImageDraw.Draw(canvas)
    fill = (style.ink + 2 * style.paper) // 3
    left = rng.randint(0, 6)
    start = _layout("XXX", left, 0, style)[1] + 4
    longest = canvas.width - start - 6 - 5 * style.pitch
    lines = []
    for y in rows:
        key, value = source.draw(LETTERS, 3), source.draw(DIGITS, 3)
        key_glyphs, _ = _layout(key, left, y, style)
        end = start + max(2, longest * int(value) // 999)
        brush.rectangle((start, y, end, y + style.height - 1), fill=fill)
        value_glyphs, _ = _layout(value, end + 4, y, style)
        lines.append(Line(key, value, (_word(key, key_glyphs), _word(value, value_glyphs))))
    return lines
