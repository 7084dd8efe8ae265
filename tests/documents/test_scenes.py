"""Scenes: boxes hold the ink, words stay in tiles and splits, the same seed draws the same picture."""

from __future__ import annotations

import random

import numpy as np
import pytest
from fontTools.ttLib import TTFont  # comes with matplotlib
from hypothesis import given, settings
from hypothesis import strategies as st

from sparsemm.documents.boxes import check_box
from sparsemm.documents.fonts import FONTS
from sparsemm.documents.scenes import KINDS, PLAIN, RICH, Scene, SceneStyle, generate_scene
from sparsemm.documents.scenes.lettering import Pose, paint_word, set_word, word_in
from sparsemm.documents.scenes.shapes import COLORS, FORMS
from sparsemm.documents.scenes.written import SCRIPTS, covers
from sparsemm.documents.words import SPLITS, split_of

STYLES = (PLAIN, RICH)


def scene(kind: str, seed: object, style: SceneStyle = RICH, split: str = "probe", **more: str) -> Scene:
    return generate_scene(kind, random.Random(f"{seed}"), split=split, style=style, **more)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(KINDS),
    st.integers(0, 10**6),
    st.sampled_from(STYLES),
    st.sampled_from(("train", "held-out")),
)
def test_every_word_has_a_box_inside_one_tile(kind: str, seed: int, style: SceneStyle, fonts: str) -> None:
    drawn = scene(kind, seed, style, fonts=fonts)
    assert drawn.image.size in style.sizes
    assert drawn.image.mode == "RGB"
    assert len(drawn.words) == len(drawn.boxes) >= 2
    for word in drawn.words:
        check_box(word.box, drawn.image.size[::-1])
        x0, y0, x1, y1 = word.box
        assert x0 // style.tile == (x1 - 1e-6) // style.tile
        assert y0 // style.tile == (y1 - 1e-6) // style.tile
        for glyph in word.glyphs:
            assert x0 <= glyph.box[0] < glyph.box[2] <= x1
            assert y0 <= glyph.box[1] < glyph.box[3] <= y1
        assert kind == "shapes" or "".join(glyph.char for glyph in word.glyphs) == word.text


@pytest.mark.parametrize("style", STYLES, ids=[style.name for style in STYLES])
@pytest.mark.parametrize("kind", KINDS)
def test_the_seed_alone_decides_the_picture(kind: str, style: SceneStyle) -> None:
    first, second, other = (scene(kind, seed, style) for seed in (1, 1, 2))
    assert first.lines == second.lines
    assert first.image.tobytes() == second.image.tobytes()
    assert first.image.tobytes() != other.image.tobytes()


@pytest.mark.parametrize("split", SPLITS)
def test_words_and_lists_of_shapes_are_of_their_split(split: str) -> None:
    for seed in range(10):
        for kind in ("scripts", "wild"):
            assert {split_of(word.text) for word in scene(kind, seed, split=split).words} == {split}
        shapes = scene("shapes", seed, split=split)
        assert split_of(", ".join(word.text for word in shapes.words)) == split


def test_plain_scenes_hold_upper_case_letters_and_digits_alone() -> None:
    for kind in KINDS:
        for seed in range(10):
            text = "".join(word.text for word in scene(kind, seed, PLAIN).words).replace(" ", "")
            assert text.isascii()
            assert text.isalnum()
            assert text == text.upper()


def test_other_scripts_stand_beside_plain_words() -> None:
    text = "".join(word.text for seed in range(30) for word in scene("scripts", seed).words)
    for script in SCRIPTS.values():
        assert set(text) & set(script) - set("aeinorstul")
    assert set(text) & set("qwvz")
    assert set(text) & set("QWVZ")


@pytest.mark.parametrize("font", FONTS, ids=[font.name for font in FONTS])
def test_faces_have_the_letters_of_the_scripts_that_they_are_used_for(font: object) -> None:
    from sparsemm.documents.fonts import Font

    assert isinstance(font, Font)
    known = TTFont(font.path, lazy=True).getBestCmap()
    for script, letters in SCRIPTS.items():
        if covers(font, script):
            upper = letters.replace("ß", "").upper() if script == "latin" else ""
            assert all(ord(letter) in known for letter in letters + upper), script


def test_no_two_shapes_share_a_colour_or_a_form() -> None:
    for seed in range(20):
        drawn = scene("shapes", seed, PLAIN)
        colors, forms = zip(*(word.text.lower().split() for word in drawn.words))
        assert len(set(colors)) == len(set(forms)) == len(drawn.words)
        assert set(colors) <= set(COLORS)
        assert set(forms) <= set(FORMS)
        assert drawn.transcript.count("\n") == len(drawn.words) - 1


@settings(max_examples=30, deadline=None)
@given(st.floats(-20, 20), st.floats(-0.15, 0.15), st.floats(-0.1, 0.1), st.sampled_from(FONTS))
def test_the_box_of_a_turned_word_is_that_of_its_ink(angle: float, x: float, y: float, font: object) -> None:
    from PIL import Image

    from sparsemm.documents.fonts import Font

    assert isinstance(font, Font)
    canvas = Image.new("RGB", (200, 120), (255, 255, 255))
    lettering = set_word("Hx7g", font, 16.0)
    matrix = Pose(angle, x, y).matrix(lettering, (100.0, 60.0))
    paint_word(canvas, lettering, matrix, (0, 0, 0))
    rows, columns = np.nonzero(np.asarray(canvas.convert("L")) < 128)
    ink = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
    box = word_in(lettering, matrix).box
    # A turned letter's ink need not reach the corners of its turned box.
    assert all(box[i] <= ink[i] + 1 for i in (0, 1))
    assert all(box[i] >= ink[i] - 1 for i in (2, 3))
    assert np.abs(np.array(box) - ink).max() < 7


def test_an_unknown_kind_is_told() -> None:
    with pytest.raises(ValueError, match="kind 'signs' is unknown: use one of scripts, wild, shapes"):
        scene("signs", 0)
