// View "heads": the map of visual scores, and where the chosen head looks on the page, token by token of the answer.

class HeadsView {
  constructor(pane) {
    this.pane = pane;
    this.pointed = null;
    this.box = el("div", { class: "columns" });
  }

  build(model) {
    this.model = model;
    this.box.replaceChildren();
    if (!model.scores) {
      this.box.append(hint("No head scores in this run: make them with the target scores."));
      return;
    }
    const locked = (cell) => setPane("locked", this.pane, cell ? headKey(cell.layer, cell.head) : "");
    this.grid = new HeadGrid(`Visual score of every head of ${model.name}; rows are layers`, {
      shown: (cell) => { this.pointed = cell; this.show(); }, locked,
    });
    this.order = picker("Order", [["layer", "layer and head"], ["score", "by score within a layer"],
      ["best", "layers by their best head too"]], (value) => setState({ order: value }), "order");
    this.read = el("p", { class: "readout", role: "status" });
    this.ranking = new Ranking({ locked });
    this.box.append(el("section", { "aria-label": "Heads" }, el("h3", { text: "Visual score of every head" }),
      this.order.box, this.grid.box, this.read,
      el("p", { class: "note", text: "Point at a head or use the arrow keys to see where it looks; a click or Enter locks it, "
        + "again or Escape lets it go. Colours grow with the root of the score. "
        + `Intervals: 95 % bootstrap over the ${model.scores.images ?? ""} probe images.` }), this.ranking.box));
    const right = el("section", { "aria-label": "Attention" }, el("h3", { text: "Where it looks" }));
    this.box.append(right);
    this.picture = null;
    if (!model.page || !model.tokens.length) {
      right.append(hint("No attention of all heads is recorded: run the target evaluate."));
      return;
    }
    this.picture = new Picture(model.page);
    this.tokens = el("div", { class: "tokens", role: "radiogroup", "aria-label": "Token of the answer",
      onkeydown: (event) => this.key(event) });
    this.look = el("p", { class: "readout", role: "status" });
    right.append(this.look, this.tokens, this.picture.box, el("p", { class: "note", text: this.about() }));
  }

  about() {
    const { page, tokens } = this.model;
    const cells = (page.rows.length - 1) * (page.cols.length - 1);
    const joined = page.block > 1 ? `, ${page.block} x ${page.block} image tokens each` : "";
    const bytes = tokens.length * this.model.scores.layers * this.model.scores.heads * cells;
    return `Page ${page.id}: ${page.prompt_tokens} prompt tokens, ${page.image_tokens} of them the image's; `
      + `${cells} cells${joined}. A hit: the head's largest weight over the whole prompt is on an image token of the token's word. `
      + `Attention of all heads for the first ${tokens.length} tokens, ${(bytes / 1e6).toFixed(1)} MB before compression.`;
  }

  chosen() {
    const { scores } = this.model;
    return keyHead(state.locked[this.pane], scores.layers, scores.heads);
  }

  update(model) {
    if (model !== this.model) this.build(model);
    if (!model.scores) return;
    this.order.set(state.order);
    const { scores } = model;
    const top = Math.max(...scores.score);
    const value = (cell) => Math.sqrt(scores.score[cell.layer * scores.heads + cell.head] / top);
    this.grid.update(this.sorted(), value, (cell) => this.words(cell), this.chosen(), ["0", percent(top)]);
    this.ranking.update(scores, this.chosen());
    this.show();
  }

  sorted() {
    const { scores } = this.model;
    const rows = naturalOrder(scores.layers, scores.heads);
    const score = (cell) => scores.score[cell.layer * scores.heads + cell.head];
    if (state.order !== "layer") rows.forEach((row) => row.sort((a, b) => score(b) - score(a) || a.head - b.head));
    if (state.order === "best") rows.sort((a, b) => score(b[0]) - score(a[0]) || a[0].layer - b[0].layer);
    return rows;
  }

  words(cell) {
    const { scores } = this.model;
    const at = cell.layer * scores.heads + cell.head;
    return `Layer ${cell.layer}, head ${cell.head}: ${percent(scores.score[at], 2)} `
      + `[${percent(scores.low[at], 2)}, ${percent(scores.high[at], 2)}], ${scores.hits[at]} hits of ${scores.matched}`;
  }

  // The head that is shown: the locked one, else the one pointed at, else the best.
  current() {
    const { scores } = this.model;
    const best = scores.score.indexOf(Math.max(...scores.score));
    return this.chosen() || this.pointed || { layer: Math.floor(best / scores.heads), head: best % scores.heads };
  }

  async show() {
    const cell = this.current();
    const kind = this.chosen() ? " (locked)" : this.pointed ? "" : " (the best)";
    this.read.textContent = this.words(this.pointed || cell) + (this.pointed && this.chosen() ? "" : kind);
    if (!this.picture) return;
    const { maps } = this.model;
    const turn = (this.turn = {});
    const [weights, hits, peaks, shares] = await Promise.all(
      ["weights", "hits", "peaks", "shares"].map((name) => block(maps[name])));
    if (turn !== this.turn) return;
    this.draw(cell, { weights, hits, peaks, shares });
  }

  draw(cell, arrays) {
    const { page, tokens, scores } = this.model;
    const cells = (page.rows.length - 1) * (page.cols.length - 1);
    const at = (step) => (step * scores.layers + cell.layer) * scores.heads + cell.head;
    this.list(tokens.map((token, step) => (token.word < 0 ? "none" : arrays.hits[at(step)] ? "hit" : "miss")));
    const matched = tokens.map((_, step) => step).filter((step) => tokens[step].word >= 0);
    const single = state.token !== "mean" && tokens[Number(state.token)] ? Number(state.token) : null;
    const steps = single !== null ? [single] : matched.length ? matched : tokens.map((_, step) => step);
    const sum = new Float32Array(cells);
    for (const step of steps) {
      for (let index = 0; index < cells; index += 1) {
        sum[index] += (arrays.weights[at(step) * cells + index] / 255) * arrays.peaks[at(step)] / steps.length;
      }
    }
    const most = Math.max(...sum);
    const share = steps.reduce((total, step) => total + arrays.shares[at(step)], 0) / steps.length;
    const count = matched.filter((step) => arrays.hits[at(step)]).length;
    let said = `Layer ${cell.layer}, head ${cell.head}, mean of ${steps.length} tokens: ${count} hits of ${matched.length} tokens with a word`;
    let boxes = page.words.map((_, index) => ({ index, kind: "any" }));
    if (single !== null) {
      const { text, word } = tokens[single];
      const hit = arrays.hits[at(single)];
      said = `Layer ${cell.layer}, head ${cell.head}, token “${shownToken(text)}” `
        + (word < 0 ? "(of no word)" : `of the word “${page.words[word]}”: ${hit ? "hit" : "miss"}`);
      boxes = word < 0 ? [] : [{ index: word, kind: hit ? "hit" : "miss" }];
    }
    said += `; ${percent(share)} of the attention is on the image, at most ${percent(most)} on a cell.`;
    this.look.textContent = said;
    const colour = (index) => {
      const value = most > 0 ? sum[index] / most : 0;
      return value > 0.02 ? `rgba(213,94,0,${(0.15 + 0.65 * value).toFixed(3)})` : null;
    };
    this.picture.draw(colour, boxes, `Attention over the page. ${said}`);
  }

  list(kinds) {
    const { tokens } = this.model;
    const marks = { hit: "✓", miss: "✗", none: "" };
    const words = { hit: "hit", miss: "miss", none: "of no word" };
    const chosen = tokens[Number(state.token)] ? state.token : "mean";
    const make = (value, text, kind) => el("button", {
      type: "button", role: "radio", class: `token ${kind}`, "data-token": value,
      "aria-checked": value === chosen ? "true" : "false", tabindex: value === chosen ? "0" : "-1",
      "aria-label": value === "mean" ? "mean of all tokens with a word" : `token ${text}, ${words[kind]}`,
      onclick: () => setState({ token: value }),
    }, text, marks[kind] ? el("sup", { text: marks[kind] }) : null);
    const focused = this.tokens.contains(document.activeElement);
    this.tokens.replaceChildren(make("mean", "mean", "mean"),
      ...tokens.map((token, step) => make(String(step), shownToken(token.text), kinds[step])));
    if (focused) this.tokens.querySelector('[tabindex="0"]').focus();
  }

  key(event) {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const now = state.token === "mean" ? -1 : Number(state.token);
    const next = Math.min(Math.max(now + step, -1), this.model.tokens.length - 1);
    setState({ token: next < 0 ? "mean" : String(next) });
    event.preventDefault();
  }
}
