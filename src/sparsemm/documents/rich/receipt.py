"""Receipts: a shop, a date, goods with prices, and their sum."""

from __future__ import annotations

from sparsemm.documents.rich import vocabulary as v
from sparsemm.documents.rich.face import Face
from sparsemm.documents.rich.page import Page
from sparsemm.documents.rich.source import cents

SIZES = {(192, 192): 2, (128, 192): 2}
TURNED = 0.2


def draw(page: Page) -> None:
    """Paint a receipt; ask for its sum, its shop, its date, prices and numbers of things."""
    rng, source = page.rng, page.source
    narrow = page.narrow
    face = page.face(8, 8.5 if narrow else 10.5)
    page.start()
    shop = source.draw(lambda: f"{rng.choice(v.LAST)} {rng.choice(v.SHOPS)}")
    title = page.face(8, 9) if narrow else page.face(9, 12, page.other)
    if page.fits(shop, title):
        _centred(page, shop, title)
        page.ask(
            ["What is the name of the shop?", "Which shop is it?", "Where were the things bought?"], shop
        )
    date = source.date()
    if rng.random() < 0.7 and page.fits(date, face):
        _centred(page, date, face)
        page.ask(["What is the date?", "When was it paid?", "What date is on the receipt?"], date)
    page.skip(2)
    lines = _goods(page, face, narrow)
    _sum(page, face, lines)


def _centred(page: Page, text: str, face: Face) -> None:
    top = page.row(face)
    if top is not None:
        page.write(text, (page.left + page.right) / 2, top, face, align="centre")


def _goods(page: Page, face: Face, narrow: bool) -> int:
    """Lines of goods; returns their sum in cents."""
    rng, source = page.rng, page.source
    counted = not narrow and rng.random() < 0.5
    room = page.bottom - 3 * (face.height + 6)  # for the sum and a line below it
    gap, total = rng.randint(1, 4), 0
    goods = source.some(v.COUNTED if counted else v.GOODS, rng.randint(2, 5))
    for thing in goods:
        price = source.amount(50, 950 if narrow else 1999, thing)
        count = source.number(2, 19, thing) if counted else 1
        text = f"{count} {thing}" if counted else thing
        if face.width(text) + face.width(price) + 6 + page.slack(face) > page.width:
            continue
        if page.y + face.height > room:
            break
        top = page.row(face, gap)
        if top is None:
            break
        page.write(text, page.left, top, face)
        page.write(price, page.right, top, face, align="right", follow=True)
        total += round(float(price) * 100)
        _ask_about(page, thing, price, count if counted else None)
    return total


def _ask_about(page: Page, thing: str, price: str, count: int | None) -> None:
    name = thing.lower()
    verb = "is" if count is None else "are"
    page.ask([f"How much {verb} the {name}?", f"What is the price of the {name}?"], price)
    if count is not None:
        page.ask([f"How many {name} were bought?", f"How many {name} are on the receipt?"], str(count))


def _sum(page: Page, face: Face, total: int) -> None:
    rng = page.rng
    page.canvas.dashes(page.left, page.right, page.y, page.palette.ink, rng.choice((1, 3, 6)))
    page.skip(3)
    label = rng.choice(("Total", "TOTAL", "Sum", "Total:"))
    lines = [(label, total, ["What is the total?", "How much was paid in total?", "What is the sum?"])]
    if rng.random() < 0.4:
        cash = (total // 500 + 1) * 500
        lines.append(("Cash", cash, ["How much cash was given?"]))
        lines.append(("Change", cash - total, ["How much is the change?", "What is the change?"]))
    for name, amount, asked in lines:
        top = page.row(face)
        if top is None or face.width(name) + face.width(cents(amount)) + 4 + page.slack(face) > page.width:
            break
        page.write(name, page.left, top, face)
        page.write(cents(amount), page.right, top, face, align="right", follow=True)
        page.ask(asked, cents(amount))
