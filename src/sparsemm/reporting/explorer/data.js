// What the page holds: the index as JSON, and packed blocks that are opened when a view asks for them.

const DATA = JSON.parse(document.getElementById("index").textContent);
const opened = new Map();

async function unpack(name) {
  const held = document.getElementById(`block-${name}`);
  const text = atob(held.textContent);
  const bytes = new Uint8Array(text.length);
  for (let at = 0; at < text.length; at += 1) bytes[at] = text.charCodeAt(at);
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  const buffer = await new Response(stream).arrayBuffer();
  const kind = held.dataset.kind;
  if (kind === "u16") return new Uint16Array(buffer);
  if (kind === "f32") return new Float32Array(buffer);
  if (kind === "u8") return new Uint8Array(buffer);
  const plain = new TextDecoder().decode(buffer);
  return kind === "json" ? JSON.parse(plain) : plain;
}

// A block's content, opened once.
function block(name) {
  if (!opened.has(name)) opened.set(name, unpack(name));
  return opened.get(name);
}

// The chart library, run when the first chart is drawn.
let library = null;
function plotly() {
  library ??= block("plotly").then((text) => {
    document.head.append(el("script", { text }));
    return window.Plotly;
  });
  return library;
}

const MODEL = Object.fromEntries(DATA.models.map((model) => [model.name, model]));
const METHOD = Object.fromEntries(DATA.methods.map((method) => [method.name, method]));
const labelOf = (policy) => (METHOD[policy] ? METHOD[policy].label : policy);
const benchmarks = [...new Set(DATA.cells.map((cell) => cell.benchmark))];

// Policies whose kept tokens are known of a model: on its page, or as planned for any page.
function keptPolicies(model) {
  const names = new Set([...Object.keys(model.kept), ...Object.keys(model.plan)]);
  return DATA.methods.map((method) => method.name).filter((name) => names.has(name));
}

function keptBudgets(model) {
  const all = [...Object.values(model.kept), ...Object.values(model.plan)].flatMap((found) => Object.keys(found));
  return [...new Set(all.map(Number))].sort((a, b) => a - b);
}
