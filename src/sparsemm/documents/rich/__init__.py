"""Richer pages: forms, receipts, tables, texts, signs and charts in many faces, on coloured and textured grounds.

A page that is not turned has its lines of type on a grid, the middle of capitals in the middle of a row of patches, so
that no tower need learn a letter at eight heights; no line of type across a horizontal tile border, and no glyph across
a vertical one: tiles of RICH_TILE px are encoded apart. Numbers at the ticks of a chart stand where their tick is.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from types import ModuleType

from sparsemm.documents.fonts import fonts as faces
from sparsemm.documents.rich import chart, form, receipt, sign, table, text
from sparsemm.documents.rich.canvas import NoRoomError
from sparsemm.documents.rich.document import RICH_PATCH, RICH_SIZES, RICH_TILE, Question, RichDocument
from sparsemm.documents.rich.grounds import Palette
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import Source

__all__ = ["KINDS", "RICH_PATCH", "RICH_SIZES", "RICH_TILE", "Question", "RichDocument", "generate_rich"]

_KINDS: Mapping[str, ModuleType] = {
    "form": form,
    "receipt": receipt,
    "table": table,
    "text": text,
    "sign": sign,
    "chart": chart,
}
KINDS = tuple(_KINDS)
_TURN = 4.0  # degrees, the most that a page is turned


def generate_rich(
    rng: random.Random, *, split: str, fonts: str = "train", kind: str | None = None
) -> RichDocument:
    """Generate one page.

    Args:
        rng: the only source of randomness.
        split: "train", "eval" or "probe"; no random text, and no pair of a label and a short number, is in two.
        fonts: the group of faces, "train" or "held-out".
        kind: one of `KINDS`; None: any.

    Raises:
        InputError: if a face is not installed.
        ValueError: for an unknown split, group or kind.
    """
    if kind is not None and kind not in _KINDS:
        raise ValueError(f"kind {kind!r} is unknown: use one of {', '.join(KINDS)}")
    kind = kind or rng.choice(KINDS)
    page = None
    while page is None or len(page.questions) < 2:  # drawn again where little found room: one in a thousand
        page = _draw(rng, split, fonts, _KINDS[kind])
    asked, words = tuple(page.questions), page.words()
    return RichDocument(page.finish(), words, asked, page.transcript, kind, page.font.name, page.angle)


def _draw(rng: random.Random, split: str, fonts: str, how: ModuleType) -> Page | None:
    """One page with its contents painted; None where keeping off tile borders pushed a word beyond the page."""
    size = rng.choices(list(how.SIZES), list(how.SIZES.values()))[0]
    angle = rng.choice((-1, 1)) * rng.uniform(0.5, _TURN) if rng.random() < how.TURNED else 0.0
    group = faces(fonts)
    page = Page(size, rng, Source(rng, split), rng.choice(group), rng.choice(group), Palette.draw(rng), angle)
    try:
        how.draw(page)
    except NoRoomError:
        return None
    return page
