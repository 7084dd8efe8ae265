"""Type on richer pages: boxes against ink, tile borders, rotation, colours."""

from __future__ import annotations

import random
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm.documents.fonts import CHARACTERS, FONTS, Font
from sparsemm.documents.rich.document import RICH_PATCH, RICH_TILE
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.grounds import TEXTURES, Palette, ground, lightness
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import Source

BLACK = Palette((255, 255, 255), (0, 0, 0), (0, 0, 0), (0, 0, 0), (0, 0, 0))


def page(font: Font, angle: float = 0.0, size: tuple[int, int] = (192, 192)) -> Page:
    rng = random.Random(0)
    return Page(size, rng, Source(rng, "train"), font, font, BLACK, angle)


def ink_box(made: Page, threshold: float) -> tuple[int, int, int, int]:
    """Of the layer's coverage, turned as the page is."""
    if made.angle:
        made.canvas.rotate(made.angle)
    ys, xs = np.nonzero(made.canvas.pixels[..., 3] > threshold)
    return int(xs.min()), int(ys.min()), int(xs.max()) + 1, int(ys.max()) + 1


@pytest.mark.parametrize("font", FONTS, ids=lambda font: font.name)
@pytest.mark.parametrize("cap", [7, 9.5, 14])
def test_the_box_of_a_glyph_is_that_of_its_ink(font: Font, cap: float) -> None:
    for char in CHARACTERS:
        made = page(font)
        box = made.write(char, 40, 40, Face(font, cap))
        (word,) = made.words()
        assert word.glyphs[0].box == box == word.box == ink_box(made, 0)
        assert 40 <= box[1] < box[3] <= 40 + Face(font, cap).height  # a line is as high as its glyphs need


@settings(max_examples=25, deadline=None)
@given(
    font=st.sampled_from(FONTS),
    char=st.sampled_from("ABGHMQRXgkmpx358@"),
    angle=st.floats(0.5, 6),
    turn=st.sampled_from([-1, 1]),
    x=st.integers(20, 150),
    y=st.integers(20, 150),
)
def test_the_box_of_a_turned_glyph_holds_its_ink(
    font: Font, char: str, angle: float, turn: int, x: int, y: int
) -> None:
    made = page(font, turn * angle)
    made.write(char, x, y, Face(font, 12))
    (word,) = made.words()
    box, ink = word.glyphs[0].box, ink_box(made, 0.3)
    assert np.abs(np.subtract(box, ink)).max() <= 3  # the box is that of the turned box, which has corners
    assert (np.subtract(ink, box)[:2] >= -1).all()
    assert (np.subtract(ink, box)[2:] <= 1).all()


@settings(max_examples=60, deadline=None)
@given(
    font=st.sampled_from(FONTS),
    cap=st.sampled_from([7, 8.5, 10, 14]),
    text=st.text(CHARACTERS, min_size=1, max_size=24),
    x=st.floats(3, 60),
    back=st.booleans(),
)
def test_no_border_cuts_a_glyph(font: Font, cap: float, text: str, x: float, back: bool) -> None:
    face = Face(font, cap)
    placed = face.word_off_borders(text, x + 30, 30, back=back)
    assert "".join(glyph.char for glyph in placed) == text
    assert all(glyph.x // RICH_TILE == (glyph.right - 1) // RICH_TILE for glyph in placed)
    if len(text) > 1 and face.width(text) < RICH_TILE // 2:  # moved as a whole
        plain = face.word(text, x + 30, 30)
        gaps = [[b.x - a.x for a, b in pairwise(word)] for word in (plain, placed)]
        assert np.abs(np.subtract(*gaps)).max() <= 1


@pytest.mark.parametrize("align", ["left", "right", "centre"])
def test_a_line_goes_where_it_is_told(align: str) -> None:
    made = page(FONTS[0], size=(128, 192))
    box = made.write(
        "Sum of it", {"left": 5, "right": 91, "centre": 48}[align], 20, Face(FONTS[0], 8), align=align
    )
    place = {"left": box[0] - 5, "right": box[2] - 91, "centre": (box[0] + box[2]) / 2 - 48}[align]
    assert abs(place) <= 2
    assert [word.text for word in made.words()] == ["Sum", "of", "it"]
    assert made.transcript == "Sum of it"
    gaps = [b.box[0] - a.box[2] for a, b in pairwise(made.words())]
    assert min(gaps) >= 3


@pytest.mark.parametrize("cap", [8, 9.5, 11])
def test_rows_stand_on_the_grid_off_borders_and_end_with_the_page(cap: float) -> None:
    made, tops, face = page(FONTS[0]), [], Face(FONTS[0], cap)
    while (top := made.row(face, 3)) is not None:
        tops.append(top)
    middles = [top + face.ascent - cap / 2 for top in tops]
    assert all(abs(middle % RICH_PATCH - RICH_PATCH / 2) <= 0.5 for middle in middles)
    assert all(top % RICH_TILE + face.height <= RICH_TILE for top in tops)
    assert all(b - a >= face.height for a, b in pairwise(tops))
    assert tops[-1] + face.height <= 192
    assert len(tops) >= 9


def test_rows_that_do_not_all_fit_take_no_room() -> None:
    made, face = page(FONTS[0]), Face(FONTS[0], 8)
    assert made.rows(face, 99) is None
    tops = made.rows(face, 3)
    assert tops is not None
    assert tops == [page(FONTS[0]).row(face), *tops[1:]]


def test_a_row_is_lifted_to_the_last_place_above() -> None:
    made, face = page(FONTS[0]), Face(FONTS[0], 9)
    for top in range(10, 170):
        lifted = made.lift(top, face)
        assert lifted <= top
        assert made.settle(lifted, face) == lifted
        assert all(made.settle(other, face) != other for other in range(lifted + 1, top + 1))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_ink_stands_out_from_every_ground(seed: int) -> None:
    rng = random.Random(seed)
    palette = Palette.draw(rng)
    for colour in (palette.paper, palette.ink, palette.accent, palette.soft, palette.tint):
        assert all(-0.01 <= value <= 255.01 for value in colour)
    gap = abs(lightness(palette.paper) - lightness(palette.ink))
    assert gap >= 115
    assert abs(lightness(palette.paper) - lightness(palette.accent)) >= 0.6 * gap
    weights = np.array([0.299, 0.587, 0.114])
    rough = (ground(rng, (192, 192), palette) @ weights).std()
    assert rough < 20


def test_every_texture_is_different_and_bounded() -> None:
    from sparsemm.documents.rich.grounds import _texture

    made = [_texture(name, number) for name in TEXTURES for number in range(2)]
    assert all(np.abs(texture).max() <= 1.3 for texture in made)
    assert len({texture.tobytes() for texture in made}) == len(made) - 1  # plain is plain
