// View "scores": score against budget or bytes, latency and memory against length, drawn by Plotly.

const MEASURES = {
  decode: { text: "decode, ms a token", scale: 1, unit: "ms" },
  prefill: { text: "prefill, s", scale: 1, unit: "s" },
  peak: { text: "peak memory of the process, MiB", scale: 2 ** 20, unit: "MiB" },
  cache: { text: "K and V held, MiB", scale: 2 ** 20, unit: "MiB" },
};

const shownMethod = (policy) => !state.hidden.includes(policy);

class ScoresView {
  constructor(pane) {
    this.pane = pane;
    this.box = el("div", { class: "charts" });
  }

  build(model) {
    this.model = model;
    this.drawn = "";
    this.cells = DATA.cells.filter((cell) => cell.model === model.name);
    this.speed = DATA.efficiency.filter((row) => row.model === model.name);
    this.chart = el("div", { class: "chart", role: "img", "data-chart": "score" });
    this.timed = el("div", { class: "chart", role: "img", "data-chart": "efficiency" });
    this.caption = el("p", { class: "note" });
    this.device = el("p", { class: "note" });
    const names = [...new Set(this.cells.map((cell) => cell.benchmark))];
    this.benchmark = picker("Benchmark", names.map((name) => [name, name]), (value) => setState({ benchmark: value }), "benchmark");
    this.axis = picker("Against", [["budget", "budget asked for"], ["bytes", "bytes really kept"]],
      (value) => setState({ axis: value }), "axis");
    this.measure = picker("Measure", Object.entries(MEASURES).map(([name, { text }]) => [name, text]),
      (value) => setState({ measure: value }), "measure");
    this.methods = el("fieldset", { class: "methods" });
    const scores = el("section", { "aria-label": "Scores" }, el("h3", { text: "Score against what is kept" }));
    if (names.length) scores.append(this.benchmark.box, this.axis.box, this.chart, this.caption);
    else scores.append(hint("No predictions in this run: run the target evaluate."));
    const speed = el("section", { "aria-label": "Efficiency" }, el("h3", { text: "Latency and memory against length" }));
    if (this.speed.length) speed.append(this.measure.box, this.timed, this.device);
    else speed.append(hint("No timing of this model in this run: run the target efficiency."));
    this.box.replaceChildren(this.methods, scores, speed);
  }

  update(model) {
    if (model !== this.model) this.build(model);
    this.boxes();
    const names = [...new Set(this.cells.map((cell) => cell.benchmark))];
    this.name = names.includes(state.benchmark) ? state.benchmark : names[0];
    this.benchmark.set(this.name);
    this.axis.set(state.axis);
    this.measure.set(state.measure);
    const drawn = JSON.stringify([this.name, state.axis, state.measure, state.hidden, isDark()]);
    if (drawn === this.drawn) return;
    this.drawn = drawn;
    if (names.length) this.scores();
    if (this.speed.length) this.efficiency();
  }

  // Boxes to switch methods on and off.
  boxes() {
    const found = new Set([...this.cells, ...this.speed].map((row) => row.policy));
    const offered = DATA.methods.filter((method) => found.has(method.name));
    if (this.methods.childElementCount) {
      for (const input of this.methods.querySelectorAll("input")) input.checked = shownMethod(input.value);
      for (const swatch of this.methods.querySelectorAll(".swatch")) swatch.style.background = methodColour(swatch.dataset.of);
      return;
    }
    const check = (method) => {
      const input = el("input", { type: "checkbox", value: method.name, onchange: () => setState({
        hidden: input.checked ? state.hidden.filter((name) => name !== method.name)
          : DATA.methods.map(({ name }) => name).filter((name) => name === method.name || state.hidden.includes(name)),
      }) });
      input.checked = shownMethod(method.name);
      return el("label", {}, input, el("span", { class: "swatch", "data-of": method.name,
        style: { background: methodColour(method.name) } }), method.label);
    };
    const extra = offered.filter((method) => !method.main);
    this.methods.append(el("legend", { text: "Methods" }), ...offered.filter((method) => method.main).map(check));
    if (extra.length) this.methods.append(el("details", {}, el("summary", { text: "Ablations" }), ...extra.map(check)));
  }

  async scores() {
    const cells = this.cells.filter((cell) => cell.benchmark === this.name && cell.score !== null && shownMethod(cell.policy));
    const full = cells.find((cell) => cell.budget === 0);
    const bytes = state.axis === "bytes";
    const compressed = cells.filter((cell) => cell.budget > 0);
    const at = (cell) => (bytes ? cell.bytes / 2 ** 20 : cell.budget);
    const widest = Math.max(...compressed.map(at), 0);
    const traces = [...new Set(compressed.map((cell) => cell.policy))].map((policy) => {
      const own = compressed.filter((cell) => cell.policy === policy);
      return trace(policy, own.map(at), own.map((cell) => cell.score), own.map((cell) => cell.high - cell.score),
        own.map((cell) => cell.score - cell.low), own.map((cell) => `<b>${plain(labelOf(policy))}</b> at ${cell.budget}<br>`
          + `score ${cell.score.toFixed(3)} [${cell.low.toFixed(3)}, ${cell.high.toFixed(3)}]<br>`
          + `${cell.kept.toFixed(1)} tokens a head kept, ${(cell.bytes / 2 ** 20).toFixed(2)} MiB`));
    });
    if (full) traces.push(fullTrace(full, bytes, compressed.length ? compressed.map(at) : [1], widest));
    const metric = this.cells.find((cell) => cell.benchmark === this.name).metric;
    const ticks = [...new Set(compressed.map((cell) => cell.budget))].sort((a, b) => a - b);
    await draw(this.chart, traces, bytes ? "K and V kept, MiB (mean of the samples)" : "budget, tokens a head", metric,
      bytes ? {} : { tickvals: ticks, ticktext: ticks.map(String) });
    const samples = this.cells.find((cell) => cell.benchmark === this.name).samples;
    const best = compressed.length ? compressed.reduce((a, b) => (b.score > a.score ? b : a)) : null;
    this.caption.textContent = `${this.name}, ${samples} samples. Bars: 95 % bootstrap intervals over images.`
      + `${full ? ` Full cache ${full.score.toFixed(3)}.` : ""}`;
    this.chart.setAttribute("aria-label", `${this.model.name} on ${this.name}: ${metric} against ${bytes ? "bytes kept" : "budget"} of `
      + `${traces.map((each) => each.name).join(", ")}${best ? `; best ${best.score.toFixed(3)} by ${labelOf(best.policy)} at ${best.budget}` : ""}`);
  }

  async efficiency() {
    const { text, scale, unit } = MEASURES[state.measure] || MEASURES.decode;
    const key = MEASURES[state.measure] ? state.measure : "decode";
    const rows = this.speed.filter((row) => shownMethod(row.policy));
    const traces = [...new Set(rows.map((row) => row.policy))].map((policy) => {
      const own = rows.filter((row) => row.policy === policy).sort((a, b) => a.input_tokens - b.input_tokens);
      const values = own.map((row) => row[key].map((value) => value / scale).sort((a, b) => a - b));
      const middle = values.map((each) => (each[Math.floor((each.length - 1) / 2)] + each[Math.ceil((each.length - 1) / 2)]) / 2);
      return trace(policy, own.map((row) => row.input_tokens), middle, values.map((each, i) => each[each.length - 1] - middle[i]),
        values.map((each, i) => middle[i] - each[0]), own.map((row, i) => `<b>${plain(labelOf(policy))}</b>, ${row.input_tokens} tokens<br>`
          + `${middle[i].toPrecision(4)} ${unit} [${values[i][0].toPrecision(4)}, ${values[i][values[i].length - 1].toPrecision(4)}]`
          + `${row.budget ? `<br>budget ${row.budget}` : ""}`));
    });
    const lengths = [...new Set(this.speed.map((row) => row.input_tokens))].sort((a, b) => a - b);
    await draw(this.timed, traces, "prompt, tokens", text, { tickvals: lengths, ticktext: lengths.map(String) });
    this.timed.setAttribute("aria-label", `${this.model.name}: ${text} against the prompt's length of ${traces.map((each) => each.name).join(", ")}`);
    const devices = [...new Set(rows.map((row) => row.device))].join(", ");
    this.device.textContent = `Batch 1, median of the repeats; bars: least to most. Device: ${devices || "–"}.`;
  }
}

// Text in a hover label: Plotly reads tags there, so there are none in it.
const plain = (text) => String(text).replace(/[<>&]/g, " ");

function trace(policy, x, y, up, down, hover) {
  const colour = methodColour(policy);
  return {
    name: plain(labelOf(policy)), x, y, type: "scatter", mode: "lines+markers", hovertext: hover, hoverinfo: "text",
    line: { color: colour, width: 2, dash: policy === "random_heads" ? "dot" : "solid" }, marker: { color: colour, size: 7 },
    error_y: { type: "data", symmetric: false, array: up, arrayminus: down, color: colour, thickness: 1, width: 3 },
  };
}

function fullTrace(full, bytes, places, widest) {
  const text = `<b>${plain(labelOf(full.policy))}</b><br>score ${full.score.toFixed(3)} [${full.low.toFixed(3)}, ${full.high.toFixed(3)}]<br>`
    + `${full.kept.toFixed(1)} tokens, ${(full.bytes / 2 ** 20).toFixed(2)} MiB`;
  const x = bytes ? [full.bytes / 2 ** 20] : [Math.min(...places), widest || 1];
  const made = trace(full.policy, x, x.map(() => full.score), x.map(() => full.high - full.score), x.map(() => full.score - full.low),
    x.map(() => text));
  return { ...made, mode: bytes ? "markers" : "lines", line: { ...made.line, dash: "dash" } };
}

async function draw(node, traces, x, y, ticks) {
  const Plotly = await plotly();
  const style = getComputedStyle(document.documentElement);
  const [text, line] = [style.getPropertyValue("--text"), style.getPropertyValue("--line")];
  const axis = (title) => ({ title: { text: title }, gridcolor: line, zerolinecolor: line, linecolor: line, automargin: true });
  const layout = {
    height: 340, margin: { l: 50, r: 12, t: 12, b: 46 }, paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { color: text, family: "system-ui, sans-serif", size: 12 }, showlegend: false, hovermode: "closest",
    xaxis: { ...axis(x), type: "log", ...(ticks.tickvals ? { tickmode: "array", ...ticks } : { dtick: "D2" }) },
    yaxis: { ...axis(y), rangemode: "tozero" },
  };
  const config = { displayModeBar: false, responsive: true };
  await Plotly.react(node, traces, layout, config);
}
