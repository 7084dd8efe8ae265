"""Signs: a few large words on a plate, in the street, on a door."""

from __future__ import annotations

import random

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.page import Page

SIZES = {(192, 128): 3, (192, 192): 2, (256, 128): 2, (128, 192): 1}
TURNED = 0.4
Asked = list[tuple[str, str]]
SAYS = ("What does the sign say?", "What is written on the sign?", "Read the sign.")


def draw(page: Page) -> None:
    """Paint one sign; ask for its words and for a fact of it."""
    rng = page.rng
    asked: Asked = []
    narrow = page.narrow

    def make() -> str:
        asked.clear()
        return _words(rng, asked)

    plain = page.palette
    if rng.random() < 0.6:
        page.palette = plain.turned()
    for _ in range(20):
        text = page.source.draw(make)
        lines = text.split("\n")
        face = page.face(
            9 if narrow else 10, 10.5 if narrow else 14, rng.choice((page.font, page.font, page.other))
        )
        if all(page.fits(line, face, page.width - 16) for line in lines):
            tops = _tops(page, face, len(lines))
            if tops:
                break
    else:
        face, lines = page.face(8, 8), [page.source.code(), str(page.source.number(10, 99))]
        asked[:] = [("Which number is on the sign?", lines[1])]
        tops = _tops(page, face, len(lines)) or []
    _plate(page, face, lines, tops)
    middle = (page.left + page.right) / 2
    for line, top in zip(lines, tops):
        page.write(line, middle, top, face, align="centre")
    page.ask(list(SAYS), " ".join(lines))
    for prompt, answer in asked:
        page.ask(prompt, answer)
    page.palette = plain


def _tops(page: Page, face: Face, count: int) -> list[int] | None:
    """Tops of the lines, about the middle of the page; None if they do not fit."""
    gap = 3
    whole = count * (face.height + gap) - gap
    room = page.bottom - page.top - whole - 12
    top, tops = page.top + 6 + max(0, round(room * page.rng.uniform(0.2, 0.8))), []
    for _ in range(count):
        top = page.settle(top, face)
        tops.append(top)
        top += face.height + gap
    return tops if top - gap + 6 <= page.bottom else None


def _plate(page: Page, face: Face, lines: list[str], tops: list[int]) -> None:
    rng = page.rng
    half = max(face.width(line) for line in lines) / 2 + page.slack(face) / 2 + rng.randint(4, 8)
    middle = (page.left + page.right) / 2
    box = (
        max(page.left, middle - half),
        max(page.top, tops[0] - rng.randint(3, 6)),
        min(page.right, middle + half + 4),
        min(page.bottom, tops[-1] + face.height + rng.randint(3, 6)),
    )
    page.canvas.fill(box, page.palette.paper)
    if rng.random() < 0.6:
        page.canvas.frame(box, page.palette.ink, rng.choice((1, 2)))


def _words(rng: random.Random, asked: Asked) -> str:
    """The sign's lines; questions about it are appended."""
    pick = rng.choice
    kind = rng.randrange(8)
    if kind == 0:
        city, way = pick(v.CITIES), f"{rng.randint(2, 199)} km"
        asked.append((f"How far is it to {city}?", way))
        return f"{city}\n{way}"
    if kind == 1:
        first, last = (
            f"{rng.randint(6, 11)}:{pick(('00', '30'))}",
            f"{rng.randint(14, 22)}:{pick(('00', '30'))}",
        )
        asked += [("When does it open?", first), ("When does it close?", last)]
        return f"{pick(('OPEN', 'Open', 'Hours'))}\n{first} - {last}"
    if kind == 2:
        number, place = str(rng.randint(2, 99)), pick(v.CITIES)
        asked += [("Which exit is it?", number), (f"Where does exit {number} lead?", place)]
        return f"EXIT {number}\n{place}"
    if kind == 3:
        shop, name = pick(v.SHOPS), pick(v.LAST)
        asked.append(("Whose name is on the sign?", name))
        return f"{name}'s\n{shop}"
    if kind == 4:
        what, until = pick(("PARKING", "ENTRY", "SWIMMING", "FISHING", "SMOKING")), f"{rng.randint(5, 22)}:00"
        asked.append((f"Until when is {what.lower()} not allowed?", until))
        return f"NO {what}\nuntil {until}"
    if kind == 5:
        street, number = f"{pick(v.STREETS)} {pick(('Street', 'Road', 'Lane'))}", str(rng.randint(1, 199))
        asked.append(("Which number is on the sign?", number))
        return f"{street}\n{number}"
    if kind == 6:
        thing, price = pick(v.COUNTED), f"{rng.randint(1, 9)}.{pick(('20', '50', '75', '90', '95'))}"
        asked.append((f"What do the {thing.lower()} cost?", price))
        return f"{thing}\n{price}"
    name, room = pick(v.LAST), str(rng.randint(100, 999))
    asked += [("Who is in this room?", f"Dr. {name}"), ("Which room is it?", room)]
    return f"Room {room}\nDr. {name}"
