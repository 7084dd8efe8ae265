// Elements. All text goes in as text: answers come from models, so nothing is read as HTML.

const SVG = "http://www.w3.org/2000/svg";

function fill(node, attributes, children) {
  for (const [key, value] of Object.entries(attributes || {})) {
    if (value === undefined || value === null || value === false) continue;
    if (key === "text") node.textContent = value;
    else if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (key === "style") for (const [name, set] of Object.entries(value)) node.style.setProperty(name, set);
    else node.setAttribute(key, value === true ? "" : String(value));
  }
  for (const child of children.flat()) if (child !== null && child !== undefined) node.append(child);
  return node;
}

function el(tag, attributes, ...children) {
  return fill(document.createElement(tag), attributes, children);
}

function svg(tag, attributes, ...children) {
  return fill(document.createElementNS(SVG, tag), attributes, children);
}

function hint(text) {
  return el("p", { class: "hint", text });
}

let unused = 0;
function newId(prefix) {
  unused += 1;
  return `${prefix}-${unused}`;
}

// A labelled <select>; options are [value, text].
function picker(label, options, onchange, name) {
  const select = el("select", { id: newId("pick"), "data-control": name, onchange: () => onchange(select.value) });
  const box = el("span", { class: "control" }, el("label", { for: select.id, text: label }), select);
  const offer = (pairs) => select.replaceChildren(...pairs.map(([value, text]) => el("option", { value, text })));
  offer(options);
  return { box, select, offer, set: (value) => { select.value = value; } };
}

const percent = (value, digits = 1) => (value === null ? "–" : `${(value * 100).toFixed(digits)} %`);

// A token's text with its white space made visible.
function shownToken(text) {
  const shown = text.replace(/\n/g, "↵").replace(/ /g, "␣");
  return shown === "" ? "∅" : shown;
}
