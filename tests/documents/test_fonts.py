"""The faces of richer pages: every file is there, draws every character, and held-out families are not trained."""

from __future__ import annotations

import dataclasses
import re

import pytest
from fontTools.ttLib import TTFont

from sparsemm.documents.fonts import CHARACTERS, FONTS, Font, fonts
from sparsemm.errors import InputError

EACH = pytest.mark.parametrize("font", FONTS, ids=lambda font: font.name)


@EACH
def test_a_face_has_every_character_and_each_looks_different(font: Font) -> None:
    known = TTFont(font.path).getBestCmap()
    assert all(ord(char) in known for char in CHARACTERS)
    masks = [bytes(font.load(40).getmask(char)) for char in CHARACTERS]
    assert all(any(mask) for mask in masks)
    assert len(set(masks)) == len(CHARACTERS)  # no I drawn like an l, no missing glyph


@EACH
@pytest.mark.parametrize("height", [7, 9, 14])
def test_a_face_is_sized_by_the_height_of_its_capitals(font: Font, height: int) -> None:
    _, top, _, bottom = font.at_cap_height(height).getbbox("H")
    assert abs(bottom - top - height) <= 1


def test_held_out_families_are_of_three_styles_and_not_trained() -> None:
    held, trained = fonts("held-out"), fonts("train")
    assert len(trained) >= 12
    assert {font.style for font in held} == {font.style for font in trained} == {"sans", "serif", "mono"}
    assert {font.name.split()[0] for font in held}.isdisjoint(font.name.split()[0] for font in trained)
    assert {font.package for font in held}.isdisjoint(font.package for font in trained)
    assert sorted(font.name for font in held + trained) == sorted({font.name for font in FONTS})


@pytest.mark.parametrize("package", ["matplotlib", "font-lato", "no-such-package"])
def test_a_missing_face_is_one_line_with_the_cure(package: str) -> None:
    font = dataclasses.replace(FONTS[0], package=package, file="Nowhere.ttf")
    cure = f"pip install -c constraints.txt {package}"
    with pytest.raises(InputError, match=rf"^font DejaVu Sans: Nowhere\.ttf .*{re.escape(cure)}$"):
        font.load(12)


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="'test' is unknown"):
        fonts("test")
