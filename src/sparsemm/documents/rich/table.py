"""Tables: a row of heads, rows of names and values, with rules or shaded rows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.document import RICH_TILE, WIDE
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import Source

SIZES = {(192, 192): 4, (256, 128): 2, (192, 128): 1}
TURNED = 0.2


@dataclass(frozen=True)
class Column:
    """A head, what is asked about a row's value in it ({row}, or {lower} in lower case), and the values."""

    head: str
    asked: tuple[str, ...]
    value: Callable[[Source, str], str]


@dataclass(frozen=True)
class Subject:
    """What a table is about: the first column's head and names, and the columns it may have."""

    head: str
    names: tuple[str, ...]
    columns: tuple[Column, ...]


def _bought(thing: str) -> Column:
    asked = (f"How many {thing.lower()} did {{row}} buy?", f"How many {thing.lower()} are there for {{row}}?")
    return Column(thing, asked, lambda s, row: str(s.number(2, 99, f"{row} {thing}")))


SUBJECTS = (
    Subject("Name", v.FIRST, tuple(_bought(thing) for thing in v.COUNTED if len(thing) <= 6)),
    Subject(
        "Item",
        v.GOODS,
        (
            Column(
                "Price",
                ("What is the price of the {lower}?", "How much is the {lower}?"),
                lambda s, row: s.amount(100, 9999, row),
            ),
            Column("Stock", ("What is the stock of {lower}?",), lambda s, row: str(s.number(2, 999, row))),
            Column(
                "Code",
                ("What is the code of {lower}?", "Which code has the {lower}?"),
                lambda s, row: s.code(),
            ),
        ),
    ),
    Subject(
        "To",
        v.CITIES,
        (
            Column("Leaves", ("When does the train to {row} leave?",), lambda s, row: s.time()),
            Column(
                "Track",
                ("From which track does the train to {row} leave?",),
                lambda s, row: str(s.number(1, 29, row)),
            ),
            Column("Train", ("Which train goes to {row}?",), lambda s, row: s.code()),
        ),
    ),
    Subject(
        "Team",
        v.TEAMS,
        (
            Column(
                "Won",
                ("How many games did the {row} win?",),
                lambda s, row: str(s.number(1, 40, f"{row} won")),
            ),
            Column(
                "Lost",
                ("How many games did the {row} lose?",),
                lambda s, row: str(s.number(1, 40, f"{row} lost")),
            ),
            Column(
                "Points", ("How many points have the {row}?",), lambda s, row: str(s.number(10, 199, row))
            ),
        ),
    ),
    Subject(
        "Name",
        v.LAST,
        (
            Column(
                "Room", ("In which room is {row}?", "What is the room of {row}?"), lambda s, row: s.digits(3)
            ),
            Column("Phone", ("What is the phone number of {row}?",), lambda s, row: s.digits(4)),
            Column(
                "Age",
                ("How old is {row}?", "What is the age of {row}?"),
                lambda s, row: str(s.number(18, 99, row)),
            ),
            Column("Badge", ("What is on the badge of {row}?",), lambda s, row: s.code()),
        ),
    ),
)


def draw(page: Page) -> None:
    """Paint a table and note a question about every cell."""
    rng = page.rng
    face = page.face(8, 10)
    page.start()
    subject = rng.choice(SUBJECTS)
    wanted = 3 if page.size[0] == WIDE else rng.choice((1, 2, 2))
    columns = rng.sample(subject.columns, min(wanted, len(subject.columns)))
    rows = _rows(page, subject, columns, rng.randint(3, 8))
    while columns and not _fit(page, face, subject, columns, rows):
        columns.pop()
        rows = [row[:-1] for row in rows]
    _paint(page, face, [subject.head, *(column.head for column in columns)], rows, columns)


def _rows(page: Page, subject: Subject, columns: list[Column], count: int) -> list[list[str]]:
    names = page.source.some(subject.names, count)
    rows = []
    for name in names:
        page.source.used.clear()  # a number may stand in two rows
        rows.append([name, *(column.value(page.source, name) for column in columns)])
    return rows


def _widths(face: Face, heads: list[str], rows: list[list[str]]) -> list[int]:
    return [max(face.width(cell) for cell in column) for column in zip(heads, *rows)]


def _starts(page: Page, widths: list[int], spread: int) -> list[int]:
    """Where the columns begin, and the end; on a page not turned, none crosses a tile border that need not."""
    x, starts = page.left + 3, []
    for width in widths:
        fits = width + 2 <= RICH_TILE
        if fits and not page.angle and x // RICH_TILE != (x + width) // RICH_TILE:
            x = (x + width) // RICH_TILE * RICH_TILE + 2
        starts.append(x)
        x += width + spread
    return [*starts, x - spread]


def _fit(page: Page, face: Face, subject: Subject, columns: list[Column], rows: list[list[str]]) -> bool:
    widths = _widths(face, [subject.head, *(column.head for column in columns)], rows)
    return _starts(page, widths, 8)[-1] + 3 <= page.right


def _paint(page: Page, face: Face, heads: list[str], rows: list[list[str]], columns: list[Column]) -> None:
    rng, palette = page.rng, page.palette
    widths = _widths(face, heads, rows)
    spread = rng.randint(8, 40)
    while _starts(page, widths, spread)[-1] + 3 > page.right:
        spread -= 1
    *starts, end = _starts(page, widths, spread)
    end += 3
    look = rng.choice(("rules", "shaded", "plain", "grid"))
    headed = rng.random() < 0.5
    gap = rng.randint(2, 6)
    tops = []
    for number, cells in enumerate([heads, *rows]):
        top = page.row(face, gap)
        if top is None:
            break
        tops.append(top)
        bar = (page.left, top - gap // 2, end, top + face.height + gap // 2)
        if number == 0 and headed:
            page.canvas.fill(bar, palette.accent)
        elif look == "shaded" and number % 2:
            page.canvas.fill(bar, palette.tint)
        elif look in ("rules", "grid"):
            page.canvas.fill((page.left, bar[3], end, bar[3] + 1), palette.soft)
        ink = palette.paper if number == 0 and headed else palette.ink
        for cell, start in zip(cells, starts):
            page.write(cell, start, top, face, ink=ink, follow=cell is not cells[0])
        if number:
            for column, value in zip(columns, cells[1:]):
                page.ask(
                    [asked.format(row=cells[0], lower=cells[0].lower()) for asked in column.asked], value
                )
    if look == "grid":
        for start in starts[1:]:
            x = start - 4
            page.canvas.fill((x, tops[0], x + 1, tops[-1] + face.height), palette.soft)
