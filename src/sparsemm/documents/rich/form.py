"""Forms: a title and fields, each a label with its value beside or below it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.grounds import mix
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import Source

SIZES = {(192, 192): 4, (192, 128): 1, (256, 128): 1}
TURNED = 0.2  # share of pages that are turned
TITLES = (
    "Order Form",
    "Registration",
    "Invoice",
    "Visitor Pass",
    "Booking",
    "Member Card",
    "Delivery Note",
    "Report",
)


@dataclass(frozen=True)
class Field:
    """A label, what is asked about it, and its values."""

    label: str
    asked: tuple[str, ...]
    value: Callable[[Source], str]


FIELDS = (
    Field("Name", ("What is the name?", "Which name is given?", "Whose name is on the form?"), Source.name),
    Field("Date", ("What is the date?", "What date is given?"), Source.date),
    Field("Time", ("What is the time?", "What time is given?"), Source.time),
    Field("Phone", ("What is the phone number?", "Which number can be called?"), Source.phone),
    Field("Street", ("What is the street?", "What is the address?"), Source.street),
    Field("City", ("What is the city?", "Which city is named?"), lambda s: s.rng.choice(v.CITIES)),
    Field(
        "Country", ("What is the country?", "Which country is named?"), lambda s: s.rng.choice(v.COUNTRIES)
    ),
    Field("Job", ("What is the job?", "Which job is named?"), lambda s: s.rng.choice(v.JOBS)),
    Field("Code", ("What is the code?", "Which code is given?"), Source.code),
    Field("Order", ("What is the order number?", "Which order is it?"), Source.code),
    Field("Room", ("What is the room?", "Which room is it?"), lambda s: s.digits(3)),
    Field("Amount", ("What is the amount?", "How much is to be paid?"), Source.amount),
    Field("Price", ("What is the price?", "How much does it cost?"), Source.amount),
    Field("Age", ("What is the age?", "How old is the person?"), lambda s: str(s.rng.randint(10, 99))),
    Field("Weight", ("What is the weight?", "How heavy is it?"), lambda s: f"{s.rng.randint(2, 99)} kg"),
    Field("Boss", ("Who is the boss?", "What is the name of the boss?"), Source.name),
    Field("ID", ("What is the ID?", "Which ID is given?"), Source.code),
    Field("Flight", ("What is the flight?", "Which flight is it?"), Source.code),
)


def draw(page: Page) -> None:
    """Paint a form and note a question about every field."""
    rng = page.rng
    face = page.face(8, 10.5)
    tall = page.tall
    if tall:
        page.start()
    stacked = tall and rng.random() < 0.3
    if tall or (not page.angle and rng.random() < 0.5):
        _title(page)
    fields = rng.sample(FIELDS, len(FIELDS))
    mark = rng.choice((":", ":", ""))
    column = max(face.width(field.label) for field in FIELDS) + 14 if rng.random() < 0.5 else None
    most = rng.randint(3, 8)
    gap = rng.randint(2, 9 if tall else 5)
    used = 0
    for field in fields:
        if used == most:
            break
        value = field.value(page.source)
        done = (
            _stacked(page, face, field, value)
            if stacked
            else _beside(page, face, field, value, mark, column, gap)
        )
        if done is None:
            break
        if done:
            page.ask(list(field.asked), value)
            used += 1


def _title(page: Page) -> None:
    rng, title = page.rng, page.rng.choice(TITLES)
    if rng.random() < 0.3:
        title = title.upper()
    face = page.face(9, 12, rng.choice((page.font, page.other)))
    if not page.fits(title, face):
        return
    plate = rng.random() < 0.4
    top = page.row(face, rng.randint(4, 9) if page.tall else 3, pad=2 * plate)
    assert top is not None
    if plate:
        page.canvas.fill((page.left, top, page.right, top + face.height + 2), page.palette.ink)
    ink = page.palette.paper if plate else None
    align = rng.choice(("left", "centre"))
    x = page.left + 3 if align == "left" else (page.left + page.right) / 2
    page.write(title, x, top + plate, face, ink=ink, align=align)


def _beside(
    page: Page, face: Face, field: Field, value: str, mark: str, column: int | None, gap: int
) -> bool | None:
    """Label and value on one line; False if they are too long, None if the page is full."""
    label = field.label + mark
    start = column if column is not None else face.width(label) + 8
    if not page.fits(value, face, page.width - start):
        return False
    top = page.row(face, gap)
    if top is None:
        return None
    page.write(label, page.left, top, face, ink=mix(page.palette.ink, page.palette.paper, 0.2))
    page.write(value, page.left + start, top, face, follow=True)
    if gap > 4 and column is not None:
        page.canvas.dashes(page.left, page.right, top + face.height, page.palette.soft, 1 + page.size[0] % 5)
    return True


def _stacked(page: Page, face: Face, field: Field, value: str) -> bool | None:
    """A small label over a framed value."""
    small = Face(face.font, 8)
    if not page.fits(value, face, page.width - 10):
        return False
    over, top = page.row(small), page.row(face, 4)
    if over is None or top is None:
        return None
    page.write(field.label, page.left, over, small, ink=mix(page.palette.ink, page.palette.accent, 0.5))
    frame = (page.left, over + small.height, page.right, top + face.height + 2)
    page.canvas.frame(frame, page.palette.soft)
    page.write(value, page.left + 5, top, face)
    return True
