"""Short English texts from a small list of words, wrapped to the page."""

from __future__ import annotations

import random

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.face import wrap
from sparsemm.documents.rich.page import Page

SIZES = {(192, 128): 3, (192, 192): 2, (256, 128): 2, (128, 192): 1}
TURNED = 0.2
Asked = list[tuple[str, str]]  # questions and answers
_SENTENCES = 6


def draw(page: Page) -> None:
    """Paint one to four sentences."""
    rng = page.rng
    face = page.face(8, 8.5 if page.narrow else 11)
    gap = rng.randint(1, 5)
    page.start()
    for kind in rng.sample(range(_SENTENCES), rng.randint(1, 4 if page.size == (192, 192) else 3)):
        asked: Asked = []

        def make(kind: int = kind, asked: Asked = asked) -> str:
            asked.clear()
            return _sentence(rng, kind, asked)

        lines = wrap(page.source.draw(make), lambda line: page.fits(line, face))
        tops = page.rows(face, len(lines), gap) if all(page.fits(line, face) for line in lines) else None
        if tops is None:
            continue
        for line, top in zip(lines, tops):
            page.write(line, page.left, top, face)
        for prompt, answer in asked:
            page.ask(prompt, answer)
        page.y += rng.choice((0, 4))


def _sentence(rng: random.Random, kind: int, asked: Asked) -> str:
    """A sentence of one of _SENTENCES kinds; its questions are appended."""
    pick = rng.choice
    if kind == 0:
        who, doing, where = (
            f"{pick(v.ADJECTIVES)} {pick(v.ANIMALS + v.PEOPLE)}",
            pick(v.STILL),
            pick(v.PLACES),
        )
        asked += [(f"Who {doing} {where}?", f"the {who}"), (f"Where is the {who.split()[1]}?", where)]
        return f"The {who} {doing} {where}."
    if kind == 1:
        who, did, what = pick(v.FIRST), pick(v.DONE), f"{pick(v.ADJECTIVES)} {pick(v.THINGS)}"
        when = pick(v.LONG_DAYS)
        asked += [(f"Who {did} the {what}?", who), (f"On which day did {who} do it?", when)]
        return f"{who} {did} the {what} on {when}."
    if kind == 2:
        count, what, where = str(rng.randint(2, 99)), f"{pick(v.ANIMALS)}s", pick(v.PLACES)
        what = {"mouses": "mice", "sheeps": "sheep", "foxs": "foxes", "wolfs": "wolves"}.get(what, what)
        asked += [(f"How many {what} are there?", count), (f"Where are the {what}?", where)]
        return f"{count} {what} {pick(v.STILL_PLURAL)} {where}."
    if kind == 3:
        time, room = f"{rng.randint(7, 21)}:{rng.randrange(0, 60, 5):02d}", str(rng.randint(100, 499))
        asked += [("When do we meet?", time), ("In which room do we meet?", room)]
        return f"We meet at {time} in room {room}."
    if kind == 4:
        order, time = pick(v.ORDERS), f"{rng.randint(7, 21)}:{rng.randrange(0, 60, 5):02d}"
        asked += [("By what time?", time), ("What should be done?", order)]
        return f"Please {order} before {time}!"
    who, city, month, year = pick(v.FIRST), pick(v.CITIES), pick(v.LONG_MONTHS), rng.randint(1950, 2029)
    asked += [(f"Where did {who} go?", city), (f"When did {who} go to {city}?", f"{month} {year}")]
    return f"{who} went to {city} in {month} {year}."
