// Heads by their visual score as a table that sorts by any column, with the scores' intervals drawn.

const RANKED = 100; // rows at most
const COLUMNS = [["layer", "layer"], ["head", "head"], ["score", "score"], ["low", "95 % interval"], ["hits", "hits"]];

class Ranking {
  constructor(calls) {
    this.calls = calls;
    this.head = el("tr", {});
    this.body = el("tbody", {});
    this.note = el("p", { class: "note" });
    this.box = el("details", { class: "ranking", open: true },
      el("summary", { text: "Heads in order" }), this.note,
      el("div", { class: "scroll tall", tabindex: "0", role: "region", "aria-label": "Table of heads" },
        el("table", {}, el("thead", {}, this.head), this.body)));
  }

  // The rows are made anew; who came here by keyboard stays where he was.
  update(scores, locked) {
    const focused = this.box.contains(document.activeElement) ? document.activeElement.dataset.focus : null;
    const [key, down] = [state.sort.replace(/^-/, ""), !state.sort.startsWith("-")];
    this.head.replaceChildren(...COLUMNS.map(([name, text]) => el("th", {
      scope: "col", "aria-sort": name === key ? (down ? "descending" : "ascending") : "none",
    }, el("button", {
      type: "button", "data-sort": name, "data-focus": name, text: name === key ? `${text} ${down ? "▼" : "▲"}` : text,
      onclick: () => setState({ sort: name === key && down ? `-${name}` : name }),
    }))));
    const rows = scores.score.map((score, at) => ({
      at, layer: Math.floor(at / scores.heads), head: at % scores.heads, score, low: scores.low[at],
      high: scores.high[at], hits: scores.hits[at],
    }));
    rows.sort((a, b) => (down ? b[key] - a[key] : a[key] - b[key]) || a.at - b.at);
    const most = Math.max(...scores.high);
    this.body.replaceChildren(...rows.slice(0, RANKED).map((row) => this.row(row, most, locked)));
    this.note.textContent = rows.length > RANKED ? `The first ${RANKED} of ${rows.length} heads in this order.` : "";
    if (focused) this.box.querySelector(`[data-focus="${focused}"]`)?.focus();
  }

  row(row, most, locked) {
    const chosen = locked && locked.layer === row.layer && locked.head === row.head;
    const x = (value) => (value / most) * 100;
    const bar = svg("svg", { viewBox: "0 0 100 10", class: "interval", "aria-hidden": "true", preserveAspectRatio: "none" },
      svg("line", { x1: x(row.low), x2: x(row.high), y1: 5, y2: 5 }),
      svg("rect", { x: Math.max(x(row.score) - 1, 0), y: 1.5, width: 2, height: 7 }));
    return el("tr", { class: chosen ? "chosen" : undefined },
      el("td", { class: "right", text: row.layer }),
      el("td", { class: "right" }, el("button", {
        type: "button", "aria-pressed": chosen ? "true" : "false", text: row.head,
        "aria-label": `layer ${row.layer}, head ${row.head}`, "data-focus": `${row.layer}.${row.head}`,
        onclick: () => this.calls.locked(chosen ? null : { layer: row.layer, head: row.head }),
      })),
      el("td", { class: "right", text: percent(row.score, 2) }),
      el("td", {}, bar, el("span", { class: "ci", text: `[${percent(row.low, 2)}, ${percent(row.high, 2)}]` })),
      el("td", { class: "right", text: row.hits }));
  }
}
