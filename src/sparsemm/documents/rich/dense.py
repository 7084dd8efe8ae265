"""Pages full of random words, each line in another face: many characters a page, for training a vision tower.

Other pages are blank in nine patches of ten. Nothing can be asked about these.
"""

from __future__ import annotations

import random

from sparsemm.documents.fonts import fonts as faces
from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.canvas import NoRoomError
from sparsemm.documents.rich.document import RichDocument
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.grounds import Palette
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import Source

SIZE = (192, 192)  # width, height in px
TURNED = 0.2  # share of the pages that are turned
_TURN = 4.0  # degrees at most
_CAPS = (7.5, 12.0)  # px
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_SIGNS = "!\"#$%&'()*+,-./:;<=>?@[]^_{|}~"
_FIXED = [*v.ANIMALS, *v.ADJECTIVES, *v.THINGS, *v.CITIES, *v.FIRST, *v.LONG_MONTHS, *v.LONG_DAYS]


def generate_dense(rng: random.Random, *, split: str = "train", fonts: str = "train") -> RichDocument:
    """Generate one page; arguments as those of `generate_rich`.

    Raises:
        InputError: if a face is not installed.
        ValueError: for an unknown split or group.
    """
    page = None
    while page is None or not page.transcript:
        page = _draw(rng, split, fonts)
    words = page.words()
    return RichDocument(page.finish(), words, (), page.transcript, "dense", page.font.name, page.angle)


def _draw(rng: random.Random, split: str, fonts: str) -> Page | None:
    group = faces(fonts)
    angle = rng.choice((-1, 1)) * rng.uniform(0.5, _TURN) if rng.random() < TURNED else 0.0
    page = Page(SIZE, rng, Source(rng, split), rng.choice(group), rng.choice(group), Palette.draw(rng), angle)
    cap = rng.uniform(*_CAPS)  # alike on a page: which patches a line is in is told by the page's capitals
    try:
        while True:
            face = page.face(cap - 0.75, cap + 0.75, rng.choice(group))
            top = page.row(face, rng.choice((0, 0, 1, 2, 4)))
            if top is None:
                return page
            if (text := _line(page, face)) is not None:
                page.write(text, page.left + rng.randrange(8), top, face)
    except NoRoomError:
        return None


def _line(page: Page, face: Face) -> str | None:
    """As many words as a line has room for."""
    line = ""
    while True:
        word = page.source.draw(lambda: _word(page.rng))
        longer = f"{line} {word}".strip()
        if not page.fits(longer, face, page.width - 8):
            return line or None
        line = longer


def _word(rng: random.Random) -> str:
    """A word of the fixed list, random letters, digits, both, or a number with signs."""
    pick = rng.random()
    if pick < 0.25:
        word = rng.choice(_FIXED)
    elif pick < 0.5:
        word = "".join(rng.choices(_LETTERS, k=rng.randint(1, 8)))
    elif pick < 0.8:
        word = "".join(rng.choices("0123456789", k=rng.randint(1, 6)))
    else:
        word = "".join(rng.choices(_LETTERS.upper() + "0123456789", k=rng.randint(1, 6)))
    case = rng.random()
    word = word.upper() if case < 0.3 else word.capitalize() if case < 0.5 else word
    if rng.random() < 0.35:
        place = rng.randint(0, len(word))
        word = word[:place] + rng.choice(_SIGNS) + word[place:]
    return word
