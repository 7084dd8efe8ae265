"""Scenes of words: other fonts and scripts on plain grounds, and words in the wild on boards and walls."""

from __future__ import annotations

import random

from PIL import Image

from sparsemm.documents.fonts import Font, fonts
from sparsemm.documents.pages import Word
from sparsemm.documents.scenes import grounds
from sparsemm.documents.scenes.base import Scene, SceneStyle, Slot
from sparsemm.documents.scenes.lettering import (
    Lettering,
    Matrix,
    Pose,
    box_in,
    paint_board,
    paint_word,
    set_word,
    word_in,
)
from sparsemm.documents.words import WordSource

# Letters of words in other scripts: of the Latin ones most carry a mark; of the others none is drawn like a Latin one,
# so that what is written can be told from the picture.
SCRIPTS = {
    "latin": "aeinorstulàáâäãåçèéêëíîïñóôöõøúûüýßčěřšžąęłńś",
    "greek": "αβγδεζηθλμξπσφψω",
    "cyrillic": "бвгджзилпфцчшыэюя",
}
# Families with the letters of every script, and families without the marks.
_EVERY_SCRIPT = ("DejaVu", "STIX", "Source", "Roboto")
_NO_MARKS = ("Computer Modern", "Fredoka", "Lato")
_MARGIN = 2  # px between a word, or its board, and the ends of its slot
_LEAST_CAP = 7.0  # px


def covers(font: Font, script: str) -> bool:
    """Whether a face has every letter of a script of SCRIPTS, or of plain words ("plain")."""
    if script == "plain":
        return True
    return not font.name.startswith(_NO_MARKS) if script == "latin" else font.name.startswith(_EVERY_SCRIPT)


def scripts_scene(rng: random.Random, *, split: str, style: SceneStyle, group: str) -> Scene:
    """Words in other fonts and scripts, each in a face of its own, nearly upright, on a ground of one colour."""
    canvas, ground = grounds.flat(rng, rng.choice(style.sizes))
    source = WordSource(rng, split)
    lines = []
    for slots in style.slots(rng, canvas.size, (2, 4)):
        line = []
        for slot in _chosen(rng, slots):
            script = rng.choice(("plain", *SCRIPTS)) if style.scripts and rng.random() < 0.75 else "plain"
            lettering, matrix = _fitted(rng, source, slot, style, script, group, Pose(rng.uniform(-3, 3)))
            paint_word(canvas, lettering, matrix, grounds.ink_on(rng, ground))
            line.append(word_in(lettering, matrix))
        lines.append(tuple(line))
    return _finished(rng, canvas, lines, "scripts")


def wild_scene(rng: random.Random, *, split: str, style: SceneStyle, group: str) -> Scene:
    """Words in the wild: turned and receding, on boards or painted on textured, coloured walls."""
    canvas = grounds.textured(rng, rng.choice(style.sizes))
    source = WordSource(rng, split)
    lines = []
    for slots in style.slots(rng, canvas.size, (2, 3)):
        line = []
        for slot in _chosen(rng, slots):
            pose = Pose(rng.uniform(-18, 18), rng.uniform(-0.12, 0.12), rng.uniform(-0.08, 0.08))
            lettering, matrix = _fitted(rng, source, slot, style, "plain", group, pose)
            ground = grounds.mean_color(canvas, box_in(lettering.bounds, matrix))
            # A wall of middle brightness takes no ink that can be read: the word needs a board.
            if rng.random() < 0.55 or 80 < grounds.brightness(ground) < 175:
                light = (0.7, 0.95) if rng.random() < 0.5 else (0.08, 0.35)
                ground = grounds.random_color(rng, light, (0.2, 0.9))
                paint_board(canvas, lettering, matrix, _MARGIN, ground)
            paint_word(canvas, lettering, matrix, grounds.ink_on(rng, ground))
            line.append(word_in(lettering, matrix))
        lines.append(tuple(line))
    return _finished(rng, canvas, lines, "wild")


def _chosen(rng: random.Random, slots: list[Slot]) -> list[Slot]:
    """Most of a line's slots, at least one."""
    count = rng.randint(max(1, len(slots) - 1), len(slots))
    return [slots[i] for i in sorted(rng.sample(range(len(slots)), count))]


def _fitted(
    rng: random.Random,
    source: WordSource,
    slot: Slot,
    style: SceneStyle,
    script: str,
    group: str,
    pose: Pose,
) -> tuple[Lettering, Matrix]:
    """A new word set so that it and a board's margin fit into its slot, at a random place there."""
    x0, y0, x1, y1 = (*(v + 2 * _MARGIN for v in slot[:2]), *(v - 2 * _MARGIN for v in slot[2:]))
    cap = min(rng.uniform(*style.caps), 0.62 * (y1 - y0))
    alphabet = rng.choice(style.alphabets) if script == "plain" else _letters(rng, script)
    longest = int((x1 - x0) / (0.95 * cap))
    text = source.draw(alphabet, rng.randint(3, max(3, min(7, longest))))
    able = [face for face in fonts(group) if covers(face, script)]
    font = rng.choice(able or [face for face in fonts("train") if covers(face, script)])
    while True:
        lettering = set_word(text, font, cap, style.pitch)
        left, top, right, bottom = box_in(lettering.bounds, pose.matrix(lettering, (0.0, 0.0)))
        if right - left <= x1 - x0 and bottom - top <= y1 - y0:
            break
        if cap <= _LEAST_CAP and abs(pose.angle) < 0.5:
            text = text[:-1]
        pose, cap = pose.weaker(), max(_LEAST_CAP, 0.95 * cap)
    center = (rng.uniform(x0 - left, x1 - right), rng.uniform(y0 - top, y1 - bottom))
    return lettering, pose.matrix(lettering, center)


def _letters(rng: random.Random, script: str) -> str:
    """The letters of a script; those of Latin also in upper case, but for ß."""
    letters = SCRIPTS[script]
    if script != "latin" or rng.random() < 0.6:
        return letters
    return "".join(c if c == "ß" else c.upper() for c in letters)


def _finished(rng: random.Random, canvas: Image.Image, lines: list[tuple[Word, ...]], kind: str) -> Scene:
    return Scene(grounds.camera(rng, canvas), tuple(lines), kind)
