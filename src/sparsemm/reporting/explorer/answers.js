// View "answers": sample by sample, what each policy said beside the truth.

const FILTERS = {
  all: "all samples", lost: "right with the full cache, wrong here", gained: "wrong with the full cache, right here",
  differ: "another answer than the full cache's",
};

class AnswersView {
  constructor(pane) {
    this.pane = pane;
    this.box = el("section", { "aria-label": "Answers" });
  }

  build(model, answers) {
    this.model = model;
    this.own = answers.filter((entry) => entry.model === model.name);
    if (!this.own.length) {
      this.box.replaceChildren(hint("No predictions in this run: run the target evaluate."));
      return;
    }
    this.benchmark = picker("Benchmark", this.own.map((entry) => [entry.benchmark, entry.benchmark]),
      (value) => setState({ benchmark: value }), "answers-benchmark");
    this.budget = picker("Budget", [], (value) => setState({ budget: Number(value) }), "answers-budget");
    this.filter = picker("Show", Object.entries(FILTERS), (value) => setState({ filter: value }), "filter");
    this.by = picker("“Here” is", [], (value) => setState({ by: value }), "by");
    const search = el("input", { type: "search", id: newId("search"), "data-control": "search",
      oninput: () => setState({ search: search.value }) });
    this.search = search;
    this.count = el("p", { class: "note", role: "status" });
    this.head = el("tr", {});
    this.body = el("tbody", {});
    this.box.replaceChildren(el("h3", { text: "What each policy said" }), this.benchmark.box, this.budget.box, this.filter.box, this.by.box,
      el("span", { class: "control" }, el("label", { for: search.id, text: "Search" }), search), this.count,
      el("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "Table of answers" },
        el("table", { class: "answers" }, el("thead", {}, this.head), this.body)));
  }

  async update(model) {
    const turn = (this.turn = {});
    const answers = await block("answers");
    if (turn !== this.turn) return;
    if (model !== this.model) this.build(model, answers);
    if (!this.own.length) return;
    const entry = this.own.find((each) => each.benchmark === state.benchmark) || this.own[0];
    const budgets = [...new Set(entry.cells.map(([, budget]) => budget))].filter(Boolean).sort((a, b) => a - b);
    const wanted = state.budget || budgets[Math.floor((budgets.length - 1) / 2)];
    const budget = [...budgets].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || a - b)[0];
    const columns = entry.cells.map(([policy, at], index) => ({ policy, at, index }))
      .filter(({ policy, at }) => at === 0 || (at === budget && shownMethod(policy)))
      .sort((a, b) => order(a.policy) - order(b.policy));
    const full = columns.find(({ at }) => at === 0);
    const others = columns.filter(({ at }) => at > 0);
    this.benchmark.set(entry.benchmark);
    this.budget.offer(budgets.map((each) => [each, `${each} tokens a head`]));
    this.budget.set(budget);
    this.by.offer([["", "any of the methods shown"], ...others.map(({ policy }) => [policy, labelOf(policy)])]);
    const by = others.some(({ policy }) => policy === state.by) ? state.by : "";
    this.by.set(by);
    this.filter.set(FILTERS[state.filter] ? state.filter : "all");
    if (this.search.value !== state.search) this.search.value = state.search;
    const asked = others.filter(({ policy }) => !by || policy === by);
    const found = entry.samples.filter((sample) => passes(sample, entry, full, asked) && holds(sample, columns));
    this.head.replaceChildren(...["sample", "truth", ...columns.map(({ policy }) => labelOf(policy))]
      .map((text) => el("th", { scope: "col", text })));
    this.body.replaceChildren(...found.map((sample) => answerRow(sample, entry, columns)));
    this.count.textContent = `${found.length} of the ${entry.samples.length} samples held here, of ${entry.total} answered `
      + `(${entry.metric}). Held are those on which policies disagree most, not a random part. Right: a score of ${entry.right} or more. `
      + "Methods are switched on and off in the view of scores.";
  }
}

const order = (policy) => DATA.methods.findIndex((method) => method.name === policy);

// Whether a cell's answer is right; null where it has no score.
function isRight(sample, entry, index) {
  const score = sample.scores[index];
  return score === null ? null : score >= entry.right;
}

function passes(sample, entry, full, asked) {
  if (!full || state.filter === "all" || !FILTERS[state.filter]) return true;
  const whole = isRight(sample, entry, full.index);
  return asked.some(({ index }) => {
    const here = isRight(sample, entry, index);
    if (state.filter === "lost") return whole === true && here === false;
    if (state.filter === "gained") return whole === false && here === true;
    return sample.said[index] !== sample.said[full.index];
  });
}

function holds(sample, columns) {
  const wanted = state.search.trim().toLowerCase();
  if (!wanted) return true;
  const texts = [sample.id, ...sample.truth, ...columns.map(({ index }) => sample.texts[sample.said[index]] || "")];
  return texts.some((text) => text.toLowerCase().includes(wanted));
}

function answerRow(sample, entry, columns) {
  return el("tr", {}, el("th", { scope: "row", text: sample.id }),
    el("td", { "data-label": "truth", class: "said" }, sample.truth.join(" | ")),
    columns.map(({ policy, index }) => {
      const right = isRight(sample, entry, index);
      const kind = right === null ? "unknown" : right ? "right-answer" : "wrong-answer";
      const text = sample.said[index] < 0 ? "–" : sample.texts[sample.said[index]];
      const mark = right ? "✓ " : "✗ ";
      return el("td", { "data-label": labelOf(policy), class: `said ${kind}` },
        right === null ? null : el("span", { class: "mark", "aria-label": right ? "right" : "wrong", role: "img", text: mark }),
        text === "" ? "(nothing)" : text,
        sample.scores[index] === null ? null : el("span", { class: "points", text: ` ${sample.scores[index].toFixed(2)}` }));
    }));
}
