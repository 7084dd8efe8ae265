// View "kept": how many tokens each KV head keeps under a policy and budget, and which of the page's image tokens.

class KeptView {
  constructor(pane) {
    this.pane = pane;
    this.pointed = null;
    this.box = el("div", { class: "columns" });
  }

  build(model) {
    this.model = model;
    this.box.replaceChildren();
    this.empty = !model.scores || !keptPolicies(model).length;
    if (this.empty) {
      this.box.append(hint("What heads keep is not recorded: run the targets budget and evaluate."));
      return;
    }
    this.policy = picker("Policy", keptPolicies(model).map((name) => [name, labelOf(name)]),
      (value) => setState({ policy: value }), "policy");
    this.budgets = keptBudgets(model);
    const slider = el("input", { type: "range", id: newId("budget"), min: 0, max: this.budgets.length - 1, step: 1,
      "data-control": "budget", oninput: () => setState({ budget: this.budgets[Number(slider.value)] }) });
    this.slider = slider;
    this.said = el("output", { for: slider.id });
    this.grid = new HeadGrid(`Tokens kept by every KV head of ${model.name}; rows are layers`, {
      shown: (cell) => { this.pointed = cell; this.show(); },
      locked: (cell) => setPane("kv", this.pane, cell ? headKey(cell.layer, cell.head) : ""),
    });
    this.read = el("p", { class: "readout", role: "status" });
    this.source = el("p", { class: "note" });
    this.box.append(el("section", { "aria-label": "Tokens kept" }, el("h3", { text: "Tokens kept by every KV head" }),
      this.policy.box, el("span", { class: "control" }, el("label", { for: slider.id, text: "Budget" }), slider, this.said),
      this.grid.box, this.read, this.source));
    const right = el("section", { "aria-label": "Kept image tokens" }, el("h3", { text: "Image tokens kept on the page" }));
    this.box.append(right);
    this.picture = null;
    if (!model.page || !Object.keys(model.kept).length) {
      right.append(hint("Which image tokens heads keep of a page is not recorded: run the target evaluate."));
      return;
    }
    this.picture = new Picture(model.page);
    this.look = el("p", { class: "readout", role: "status" });
    const joined = model.page.block > 1
      ? ` A cell is ${model.page.block} x ${model.page.block} image tokens and drawn as kept where one of them is.` : "";
    right.append(this.look, this.picture.box, el("p", { class: "note", text:
      "One head: what it drops is veiled. No head: the more heads keep a cell, the stronger its colour. "
      + `Image tokens of other views than the finest are counted and not drawn.${joined}` }));
  }

  // The policy and budget that are shown; where the state's are not this model's, the nearest that are.
  asked() {
    const policies = keptPolicies(this.model);
    const policy = policies.includes(state.policy) ? state.policy : policies[0];
    const known = new Set([...Object.keys(this.model.kept[policy] || {}), ...Object.keys(this.model.plan[policy] || {})].map(Number));
    const wanted = state.budget || this.budgets[Math.floor((this.budgets.length - 1) / 2)];
    const budget = [...known].sort((a, b) => Math.abs(a - wanted) - Math.abs(b - wanted) || a - b)[0];
    const page = (this.model.kept[policy] || {})[String(budget)] || null;
    const plan = (this.model.plan[policy] || {})[String(budget)] || null;
    return { policy, budget, page, plan, counts: page ? page.tokens : plan };
  }

  chosen() {
    return keyHead(state.kv[this.pane], this.model.scores.layers, this.model.scores.kv_heads);
  }

  update(model) {
    if (model !== this.model) this.build(model);
    if (this.empty) return;
    const { policy, budget, page, counts } = this.asked();
    this.policy.set(policy);
    this.slider.value = String(this.budgets.indexOf(budget));
    this.slider.setAttribute("aria-valuetext", `${budget} tokens a head`);
    this.said.textContent = `${budget} tokens a head`;
    const { layers, kv_heads: heads } = this.model.scores;
    const most = Math.max(...counts, 1);
    this.grid.update(naturalOrder(layers, heads), (cell) => counts[cell.layer * heads + cell.head] / most,
      (cell) => this.words(cell), this.chosen(), ["0", `${most} tokens`]);
    const mean = counts.reduce((total, count) => total + count, 0) / counts.length;
    this.source.textContent = page
      ? `On this page, window included: ${mean.toFixed(1)} tokens a head in the mean, ${Math.min(...counts)} to ${most}.`
      : `As planned for a long prompt, beyond the window: ${mean.toFixed(1)} tokens a head in the mean. The page itself is not recorded.`;
    this.show();
  }

  words(cell) {
    const { page, plan } = this.asked();
    const at = cell.layer * this.model.scores.kv_heads + cell.head;
    const parts = [];
    if (page) parts.push(`keeps ${page.tokens[at]} of ${this.model.page.prompt_tokens} tokens, ${page.image[at]} of them the image's`);
    if (plan) parts.push(`planned ${plan[at]} beyond the window`);
    return `Layer ${cell.layer}, KV head ${cell.head}: ${parts.join("; ")}`;
  }

  async show() {
    const cell = this.chosen() || this.pointed;
    this.read.textContent = this.pointed || cell ? this.words(this.pointed || cell) : "All heads. Point at one, or lock it with a click or Enter.";
    if (!this.picture) return;
    const { policy, budget, page } = this.asked();
    const turn = (this.turn = {}); // what an earlier call still waits for is out of date
    if (!page) {
      this.look.textContent = `${labelOf(policy)} at ${budget}: not recorded for this page.`;
      this.picture.draw(() => null, [], this.look.textContent);
      return;
    }
    const ranks = await block(this.model.ranks[page.ranker]);
    if (turn !== this.turn) return;
    this.draw(cell, page, ranks, `${labelOf(policy)} at ${budget}`);
  }

  draw(cell, page, ranks, name) {
    const { rows, cols } = this.model.page;
    const heads = this.model.scores.kv_heads;
    const cells = (rows.length - 1) * (cols.length - 1);
    const boxes = this.model.page.words.map((_, index) => ({ index, kind: "any" }));
    if (cell) {
      const at = cell.layer * heads + cell.head;
      const kept = (index) => ranks[at * cells + index] <= page.keep[at];
      const drawn = Array.from({ length: cells }, (_, index) => kept(index)).filter(Boolean).length;
      this.look.textContent = `${name}, layer ${cell.layer}, KV head ${cell.head}: ${drawn} of ${cells} cells kept.`;
      this.picture.draw((index) => (kept(index) ? "rgba(213,94,0,0.35)" : "rgba(90,96,108,0.72)"), boxes, this.look.textContent);
      return;
    }
    const count = new Uint32Array(cells);
    page.keep.forEach((keep, at) => {
      for (let index = 0; index < cells; index += 1) if (ranks[at * cells + index] <= keep) count[index] += 1;
    });
    const most = Math.max(...count, 1);
    this.look.textContent = `${name}, all heads: a cell is kept by at most ${most} of ${page.keep.length} heads; `
      + `${count.filter((value) => value === 0).length} of ${cells} cells by none.`;
    this.picture.draw((index) => (count[index] ? `rgba(213,94,0,${(0.08 + 0.72 * count[index] / most).toFixed(3)})` : null),
      boxes, this.look.textContent);
  }
}
