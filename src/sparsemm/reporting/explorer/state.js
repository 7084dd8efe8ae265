// The state of the page, and its permalink: everything that differs from the defaults stands in the URL's hash.

const VIEWS = ["heads", "kept", "scores", "answers"];
const DEFAULTS = {
  view: "heads",
  models: DATA.models.length ? [DATA.models[0].name] : [],
  locked: [], // a pane's head that stays: "layer.head"
  kv: [], // the same of KV heads, in the view of kept tokens
  order: "layer", // of the head map: layer, score, best
  sort: "score", // of the ranking: layer, head, score, low, hits; a - in front turns it round
  token: "mean", // the answer's token whose attention is shown, or the mean of all that match a word
  policy: keptPolicies(DATA.models[0] || { kept: {}, plan: {} }).includes("sparsemm") ? "sparsemm" : "",
  budget: 0, // 0: the middle one
  benchmark: benchmarks[0] || "",
  axis: "budget", // of scores: budget or bytes
  measure: "decode", // of efficiency: decode, prefill, peak, cache
  hidden: DATA.methods.filter((method) => !method.main).map((method) => method.name),
  filter: "all", // of answers: all, lost, gained, differ
  by: "", // the policy that the filter asks about; empty: any
  search: "",
  theme: "", // light, dark; empty: as the system
};

let state = { ...DEFAULTS };
const listeners = [];

const same = (a, b) => String(a) === String(b);

function hashOf(of) {
  const parts = [];
  for (const key of Object.keys(DEFAULTS)) {
    if (same(of[key], DEFAULTS[key])) continue;
    const values = Array.isArray(of[key]) ? of[key] : [of[key]];
    parts.push(`${key}=${values.map((value) => encodeURIComponent(value ?? "")).join(",")}`);
  }
  return `#${parts.join("&")}`;
}

function stateOf(hash) {
  const found = { ...DEFAULTS };
  for (const part of hash.replace(/^#/, "").split("&")) {
    const [key, text] = [part.slice(0, part.indexOf("=")), part.slice(part.indexOf("=") + 1)];
    if (!(key in DEFAULTS) || !part.includes("=")) continue;
    let values;
    try {
      values = text.split(",").map(decodeURIComponent);
    } catch {
      continue; // a broken link: what can be read of it counts
    }
    if (Array.isArray(DEFAULTS[key])) found[key] = text === "" ? [] : values;
    else found[key] = typeof DEFAULTS[key] === "number" ? Number(values[0]) || 0 : values[0];
  }
  found.models = found.models.filter((name) => MODEL[name]).slice(0, 2);
  if (!found.models.length) found.models = DEFAULTS.models;
  if (!VIEWS.includes(found.view)) found.view = DEFAULTS.view;
  return found;
}

// Change the state and show it; views keep what has not changed.
function setState(patch) {
  state = { ...state, ...patch };
  history.replaceState(null, "", hashOf(state));
  for (const listener of listeners) listener();
}

// One pane's entry of a list.
function setPane(key, pane, value) {
  const list = state.models.map((_, at) => state[key][at] ?? "");
  list[pane] = value;
  while (list.length && list[list.length - 1] === "") list.pop();
  setState({ [key]: list });
}

window.addEventListener("hashchange", () => {
  state = stateOf(location.hash);
  for (const listener of listeners) listener();
});
state = stateOf(location.hash);

const headKey = (layer, head) => `${layer}.${head}`;

function keyHead(key, layers, heads) {
  const [layer, head] = String(key || "").split(".").map(Number);
  return key && layer < layers && head < heads ? { layer, head } : null;
}
