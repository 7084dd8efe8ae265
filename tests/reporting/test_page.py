"""The page of tables and figures: complete in itself, escaped, and clear about what it cannot read."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from PIL import Image

from sparsemm.errors import InputError
from sparsemm.reporting.page import Item, write_report


@pytest.fixture
def items(tmp_path: Path) -> list[Item]:
    Image.new("RGB", (4, 3), "red").save(tmp_path / "figure4.png")
    (tmp_path / "table2.csv").write_text('method,score\n"<Full, KV>",0.5\n', encoding="utf-8")
    return [
        Item(tmp_path / "figure4.png", "Score *against* budget,\nwith ``window`` 8.\n\nA & B."),
        Item(tmp_path / "table2.csv", "**Cells**."),
    ]


def test_page_holds_everything_and_fetches_nothing(tmp_path: Path, items: list[Item]) -> None:
    write_report(tmp_path / "out" / "report.html", "A <run>", items, {"model": "tiny"})
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert not re.findall(r'(?:src|href)="(?!data:|#)', page)
    assert "<h1>A &lt;run&gt;</h1>" in page
    assert "<li>model: tiny</li>" in page
    assert '<h2 id="figure4">Figure 4</h2>' in page
    assert '<img src="data:image/png;base64,' in page
    assert '<td>&lt;Full, KV&gt;</td><td class="right">0.5</td>' in page
    assert "Score <em>against</em> budget, with <code>window</code> 8.</p>" in page
    assert '<p class="caption">A &amp; B.</p>' in page
    assert "<strong>Cells</strong>" in page


def test_same_inputs_give_the_same_bytes(tmp_path: Path, items: list[Item]) -> None:
    for name in ("a.html", "b.html"):
        write_report(tmp_path / name, "Run", items, {})
    assert (tmp_path / "a.html").read_bytes() == (tmp_path / "b.html").read_bytes()


@pytest.mark.parametrize("name", ["gone.png", "gone.csv", "figure4.pdf", "empty.csv"])
def test_unreadable_item_is_one_line_and_leaves_no_page(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty.csv").touch()
    with pytest.raises(InputError, match=re.escape(name)) as caught:
        write_report(tmp_path / "report.html", "Run", [Item(tmp_path / name, "")], {})
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "report.html").exists()


def test_a_tables_notes_are_below_it(tmp_path: Path, items: list[Item]) -> None:
    (tmp_path / "table2.md").write_text("| a |\n| :-- |\n| b |\n\n- A & B.\nOnly 4 rows.\n", encoding="utf-8")
    write_report(tmp_path / "report.html", "Run", items, {})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<ul class="notes"><li>A &amp; B.</li><li>Only 4 rows.</li></ul>' in page


def test_a_table_is_shown_as_in_its_markdown(tmp_path: Path, items: list[Item]) -> None:
    (tmp_path / "table2.csv").write_text("method,32\nSparseMM,0.82412345\n", encoding="utf-8")
    shown = "| method | 32 |\n| :-- | --: |\n| SparseMM \\| 1 | **0.824 [0.796, 0.850]** |\n\n- By `anls`, 5 * 3 * 2.\n"
    (tmp_path / "table2.md").write_text(shown, encoding="utf-8")
    write_report(tmp_path / "report.html", "Run", items, {})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert '<td>SparseMM | 1</td><td class="right"><strong>0.824 [0.796, 0.850]</strong></td>' in page
    assert "0.82412345" not in page
    assert "<li>By <code>anls</code>, 5 * 3 * 2.</li>" in page


def test_findings_open_the_page_and_tables_end_it(tmp_path: Path, items: list[Item]) -> None:
    (tmp_path / "findings.csv").write_text("a\n1\n", encoding="utf-8")
    (tmp_path / "findings.md").write_text("| a |\n| :-- |\n| 1 |\n\n- SparseMM wins.\n", encoding="utf-8")
    all_items = [items[1], Item(tmp_path / "findings.csv", "All cells."), items[0]]
    write_report(tmp_path / "report.html", "Run", all_items, {"model": "tiny"})
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    places = [
        page.index(part)
        for part in ("SparseMM wins.", "model: tiny", "<img ", 'id="table2"', 'id="findings"')
    ]
    assert places == sorted(places)
