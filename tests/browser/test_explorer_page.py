"""The explorer in headless Chromium: every control does what it says, links restore the state, nothing is loaded."""

from __future__ import annotations

import json

import pytest
from selenium.webdriver.common.keys import Keys

from helpers.browsing import Browser

pytestmark = pytest.mark.long

GRID = ".headgrid"
READ = "section[aria-label='Heads'] .readout"
LOOK = "section[aria-label='Attention'] .readout"
KEPT = "section[aria-label='Kept image tokens'] .readout"
ROWS, COLS = 12, 8  # of the made-up page


def cell(key: str) -> str:
    return f'.headcell[data-head="{key}"]'


def test_opens_from_disk_with_the_best_head(browser: Browser) -> None:
    assert "SparseMM: run made-up" in browser.driver.title
    assert browser.text("h1") == "SparseMM: run made-up"
    assert len(browser.all(".headcell")) == 6 * 12
    browser.says(READ, "(the best)")
    browser.says(LOOK, "mean of 2 tokens", "of 2 tokens with a word")
    assert browser.hash == ""


def test_a_click_locks_a_head_and_another_lets_it_go(browser: Browser) -> None:
    browser.point(cell("2.4"))
    browser.says(LOOK, "Layer 2, head 4,")
    browser.click(cell("2.4"))
    browser.says(READ, "Layer 2, head 4:")
    assert browser.hash == "#locked=2.4"
    browser.point(cell("5.1"))  # the locked head stays while another is pointed at
    browser.says(READ, "Layer 5, head 1:")
    browser.says(LOOK, "Layer 2, head 4,", "2 hits of 2")
    browser.click(cell("2.4"))
    assert browser.hash in ("", "#")
    browser.point("h1")
    browser.says(READ, "(the best)")


def test_attention_is_drawn_where_the_head_looks(browser: Browser) -> None:
    browser.open("#locked=3.5&token=3")
    browser.says(LOOK, "Layer 3, head 5", "of the word “407”: miss", "75.0 %", "at most 50.0 %")
    middle = (5.5 / COLS, 3.5 / ROWS)  # the brightest cell: row of the layer, column of the head
    browser.wait(lambda: browser.pixel(*middle)[3] > 0)
    strong, weak = browser.pixel(*middle), browser.pixel(5.5 / COLS, 4.5 / ROWS)
    assert strong[3] > weak[3] > 0
    assert browser.pixel(0.5 / COLS, 0.5 / ROWS)[3] == 0
    assert browser.one(".word").get_attribute("class") == "word miss"
    browser.open("#locked=3.4&token=3")
    browser.says(LOOK, "“407”: hit")
    browser.wait(lambda: browser.one(".word").get_attribute("class") == "word hit")


def test_tokens_are_stepped_through_by_pointer_and_keys(browser: Browser) -> None:
    browser.says('[data-token="1"]', "0")
    browser.click('[data-token="1"]')
    browser.says(LOOK, "token “0” (of no word)")
    browser.keys(Keys.ARROW_RIGHT)
    browser.says(LOOK, "token “␣”")
    browser.keys(Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    browser.says(LOOK, "token “K” of the word “K0”")
    assert browser.hash == "#token=0"
    assert browser.run("return document.activeElement.dataset.token") == "0"
    browser.keys(Keys.ARROW_LEFT)
    browser.says(LOOK, "mean of 2 tokens")


def test_keys_move_lock_and_unlock(browser: Browser) -> None:
    browser.run("document.querySelector(arguments[0]).focus()", GRID)
    browser.says(READ, "Layer 0, head 0:")
    browser.keys(Keys.ARROW_DOWN, Keys.ARROW_DOWN, Keys.ARROW_RIGHT)
    browser.says(READ, "Layer 2, head 1:")
    active = browser.one(GRID).get_attribute("aria-activedescendant")
    assert browser.run("return document.getElementById(arguments[0]).dataset.head", active) == "2.1"
    browser.keys(Keys.ENTER)
    assert browser.hash == "#locked=2.1"
    assert browser.one(cell("2.1")).get_attribute("aria-selected") == "true"
    browser.keys(Keys.ARROW_UP, Keys.ARROW_LEFT, Keys.ARROW_LEFT)
    browser.says(READ, "Layer 1, head 0:")
    browser.says(LOOK, "Layer 2, head 1,")
    browser.keys(Keys.ESCAPE)
    browser.says(LOOK, "Layer 1, head 0,")
    assert browser.hash in ("", "#")


def test_map_and_ranking_are_sorted(browser: Browser) -> None:
    scores = json.loads(browser.run("return document.getElementById('index').textContent"))
    values = scores["models"][0]["scores"]["score"]
    browser.pick("order", "best")
    keys = [each.get_attribute("data-head") for each in browser.all(".headcell")]
    shown = [values[int(key.split(".")[0]) * 12 + int(key.split(".")[1])] for key in keys]
    rows = [shown[start : start + 12] for start in range(0, 72, 12)]
    assert all(row == sorted(row, reverse=True) for row in rows)
    assert [row[0] for row in rows] == sorted((row[0] for row in rows), reverse=True)
    assert browser.text(".ranking tbody tr:first-child td:nth-child(3)") == f"{max(values) * 100:.2f} %"
    browser.click('[data-sort="layer"]')
    browser.click('[data-sort="layer"]')
    assert browser.hash == "#order=best&sort=-layer"
    assert browser.text(".ranking tbody tr:first-child td") == "0"
    assert browser.one(".ranking th").get_attribute("aria-sort") == "ascending"
    browser.click(".ranking tbody tr:nth-child(2) button")
    assert browser.one(".ranking tr.chosen button").get_attribute("aria-pressed") == "true"
    assert "locked=0.1" in browser.hash


def test_budget_and_policy_change_what_heads_keep(browser: Browser) -> None:
    browser.click("#tab-kept")
    browser.says(KEPT, "SparseMM at", "all heads")
    browser.pick("policy", "adakv")
    browser.run(
        "const slider = document.querySelector('[data-control=budget]');"
        "slider.value = slider.max; slider.dispatchEvent(new Event('input'));"
    )
    browser.says(KEPT, "AdaKV at 32, all heads")
    browser.pick("policy", "sparsemm")
    browser.click(cell("1.2"))
    browser.says(KEPT, "SparseMM at 32, layer 1, KV head 2: 48 of 96 cells kept")
    browser.wait(lambda: browser.pixel(0.5 / COLS, 11.5 / ROWS)[3] > 150)
    kept, dropped = browser.pixel(0.5 / COLS, 0.5 / ROWS), browser.pixel(0.5 / COLS, 11.5 / ROWS)
    assert kept[0] > dropped[0]
    assert "keeps 56 of 120 tokens, 48 of them the image's" in browser.text(
        "section[aria-label='Tokens kept'] .readout"
    )
    assert browser.hash == "#view=kept&kv=1.2&budget=32"
    browser.pick("policy", "snapkv")  # planned, not recorded for the page
    browser.says(KEPT, "SnapKV at 16: not recorded for this page")


def test_charts_show_and_hide_methods(browser: Browser) -> None:
    browser.click("#tab-scores")
    score = "document.querySelector('[data-chart=score]')"
    speed = "document.querySelector('[data-chart=efficiency]')"
    names = f"return ({score}.data || []).map((trace) => trace.name)"
    browser.wait(lambda: "SparseMM" in browser.run(names))
    assert browser.run(names) == ["SparseMM", "SnapKV", "PyramidKV", "AdaKV", "Random", "FullKV"]
    browser.click('.methods input[value="snapkv"]')
    browser.wait(lambda: "SnapKV" not in browser.run(names))
    browser.run("document.querySelector('.methods details').open = true")
    browser.click('.methods input[value="local_window"]')
    browser.wait(lambda: "local window" in browser.run(names))
    browser.click('.methods input[value="snapkv"]')
    browser.wait(lambda: "SnapKV" in browser.run(names))
    browser.pick("axis", "bytes")
    browser.wait(lambda: "MiB" in browser.run(f"return {score}.layout.xaxis.title.text"))
    trace = browser.run(f"return JSON.parse(JSON.stringify({score}.data[0]))")
    assert all(low >= 0 for low in trace["error_y"]["arrayminus"])
    assert "score" in trace["hovertext"][0]
    browser.pick("benchmark", "synth-chart")
    browser.wait(lambda: "synth-chart" in str(browser.one("[data-chart=score]").get_attribute("aria-label")))
    for measure, said in (("peak", "MiB"), ("prefill", "s"), ("cache", "MiB"), ("decode", "ms a token")):
        browser.pick("measure", measure)
        browser.wait(lambda said=said: said in browser.run(f"return {speed}.layout.yaxis.title.text"))
    assert browser.run(f"return {speed}.data[0].x.length") == 5
    browser.open(browser.run("return location.hash"))
    browser.wait(lambda: browser.run(names))
    assert (browser.picked("axis"), browser.picked("benchmark")) == ("bytes", "synth-chart")
    browser.pick("benchmark", "synth-docvqa")  # the made-up run has the window alone on this one only
    browser.wait(lambda: "local window" in browser.run(names))


def test_hovering_a_point_tells_its_values(browser: Browser) -> None:
    browser.open("#view=scores")
    browser.one("[data-chart=score] .scatterlayer .point")
    browser.wait(lambda: browser.run("return window.Plotly !== undefined"))
    browser.run(
        "Plotly.Fx.hover(document.querySelector('[data-chart=score]'), [{curveNumber: 0, pointNumber: 1}])"
    )
    said = browser.wait(
        lambda: browser.run("return (document.querySelector('.hovertext') || {}).textContent")
    )
    assert "SparseMM at 32" in said
    assert "tokens a head kept" in said


def test_answers_are_filtered_and_stay_text(browser: Browser) -> None:
    browser.click("#tab-answers")
    body = "table.answers tbody"
    browser.wait(lambda: len(browser.all(f"{body} tr")) == 20)
    browser.pick("answers-budget", "16")
    browser.pick("filter", "lost")
    browser.pick("by", "sparsemm")
    lost = len(browser.all(f"{body} tr"))
    assert 0 < lost < 20
    browser.says("section[aria-label=Answers] .note", f"{lost} of the 20 samples")
    for row in browser.all(f"{body} tr"):
        cells = row.find_elements("css selector", "td")
        assert "right-answer" in cells[1].get_attribute("class")
        assert "wrong-answer" in cells[2].get_attribute("class")
        assert "<img src=x onerror=alert(1)></script><b>bold</b>" in cells[2].text
    assert browser.all(f"{body} img") == []
    assert browser.all(f"{body} b") == []
    browser.pick("filter", "all")
    browser.one('[data-control="search"]').send_keys("00003")
    browser.wait(lambda: len(browser.all(f"{body} tr")) == 1)
    assert browser.run("return document.activeElement.dataset.control") == "search"
    browser.open(browser.run("return location.hash"))
    browser.wait(lambda: len(browser.all(f"{body} tr")) == 1)
    assert browser.picked("by") == "sparsemm"


def test_two_models_stand_side_by_side(browser: Browser) -> None:
    browser.click(cell("1.1"))
    browser.pick("beside", "second-model")
    panes = [box for box in browser.all(".panebox") if box.is_displayed()]
    assert [box.find_element("css selector", "h2").text for box in panes] == ["first-model", "second-model"]
    assert panes[0].location["y"] == panes[1].location["y"]
    assert panes[1].location["x"] > panes[0].location["x"]
    assert "No attention of all heads is recorded" in panes[1].text  # of the second model nothing is recorded
    panes[1].find_element("css selector", cell("4.3")).click()
    assert browser.hash == "#models=first-model,second-model&locked=1.1,4.3"
    browser.click("#tab-kept")
    assert "is not recorded: run the target evaluate" in panes[1].text
    browser.pick("model", "second-model")
    browser.pick("beside", "")
    assert browser.hash.startswith("#view=kept&models=second-model")


def test_a_link_restores_every_state(browser: Browser) -> None:
    shown = "#view=answers&models=second-model,first-model&budget=64&benchmark=synth-chart"
    browser.open(f"{shown}&filter=differ&by=adakv&theme=dark")
    browser.wait(lambda: len(browser.all("table.answers")) == 2)
    assert browser.picked("model") == "second-model"
    assert browser.picked("beside") == "first-model"
    assert browser.picked("answers-budget") == "64"
    assert (browser.picked("filter"), browser.picked("by")) == ("differ", "adakv")
    assert browser.one("#tab-answers").get_attribute("aria-selected") == "true"
    assert browser.run("return document.documentElement.dataset.theme") == "dark"
    browser.click("#tab-heads")
    browser.run("location.hash = '#locked=5.5'")  # a link pasted into the open page
    browser.says(LOOK, "Layer 5, head 5")
    browser.open("#view=nothing&models=x&locked=99.99&token=77&budget=abc&policy=%E0%A4%A")
    browser.says(READ, "(the best)")


def test_light_and_dark_follow_the_system_and_the_button(browser: Browser) -> None:
    colour = "return getComputedStyle(document.body).backgroundColor"
    browser.prefer("light")
    browser.open()
    assert browser.run(colour) == "rgb(255, 255, 255)"
    browser.prefer("dark")
    browser.wait(lambda: browser.run(colour) == "rgb(21, 24, 29)")
    browser.click('[data-control="theme"]')
    browser.wait(lambda: browser.run(colour) == "rgb(255, 255, 255)")
    assert browser.hash == "#theme=light"
    browser.prefer("light")


@pytest.mark.parametrize("view", ["heads", "kept", "scores", "answers"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_and_fits_a_phone(browser: Browser, view: str, theme: str) -> None:
    browser.resize(390, 844)
    browser.open(f"#view={view}&models=first-model,second-model&theme={theme}")
    if view == "answers":
        browser.one("table.answers")
    if view == "scores":
        browser.one("[data-chart=score] .scatterlayer")
    assert browser.run("return document.documentElement.scrollWidth") <= 390
    assert browser.run(_FAINT) == []


def test_roles_and_names_for_a_reader_of_the_screen(browser: Browser) -> None:
    browser.says(LOOK, "Layer")
    assert browser.run("return document.documentElement.lang") == "en"
    assert [tab.get_attribute("role") for tab in browser.all("[role=tablist] button")] == ["tab"] * 4
    assert browser.one(".picture img").get_attribute("alt").startswith("Page 00000. Its words: K0, 407")
    assert (
        browser.one(".picture canvas")
        .get_attribute("aria-label")
        .startswith("Attention over the page. Layer")
    )
    assert "Layer 0, head 0: " in browser.one(cell("0.0")).get_attribute("aria-label")
    for view in ("heads", "kept", "scores", "answers"):
        browser.open(f"#view={view}")
        if view == "answers":
            browser.one("table.answers")
        browser.wait(lambda: browser.run(_UNNAMED) == [])
    browser.click("#tab-heads")
    browser.keys(Keys.ARROW_RIGHT)
    assert browser.hash == "#view=kept"
    assert browser.run("return document.activeElement.id") == "tab-kept"
    assert browser.run("return getComputedStyle(document.activeElement).outlineStyle") == "solid"


# Shown texts whose contrast with what is behind them is less than 4.5 (WCAG AA). Colours are opaque or see-through to
# an opaque one.
_FAINT = """
const channel = (value) => { const c = value / 255; return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
const numbers = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
const behind = (node) => {
  for (let at = node; at; at = at.parentElement) {
    const colour = numbers(getComputedStyle(at).backgroundColor);
    if (colour.length === 3 || colour[3] === 1) return colour;
  }
  return [255, 255, 255];
};
const faint = [];
for (const node of document.querySelectorAll('#app *')) {
  const own = [...node.childNodes].some((child) => child.nodeType === 3 && child.textContent.trim());
  if (!own || !node.offsetParent || node.closest('svg')) continue;
  const [a, b] = [light(numbers(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
  const ratio = (a + 0.05) / (b + 0.05);
  if (ratio < 4.5) faint.push(`${node.className} ${node.textContent.slice(0, 30)} ${ratio.toFixed(2)}`);
}
return faint;
"""
# Shown controls and pictures without a name.
_UNNAMED = """
const named = (node) => node.getAttribute('aria-label') || node.getAttribute('alt') || node.textContent.trim()
  || (node.labels && node.labels.length && node.labels[0].textContent.trim());
return [...document.querySelectorAll('button, select, input, img, canvas, [role=grid], [role=img]')]
  .filter((node) => node.offsetParent && !named(node) && !node.closest('[aria-hidden]')).map((node) => node.outerHTML);
"""
