// A map of layers x heads. The pointer or the arrow keys show a head; a click or Enter locks it, and again unlocks it;
// Escape unlocks.

class HeadGrid {
  // calls: shown(cell or null) when another head is pointed at, locked(cell or null) when one is locked or let go.
  constructor(label, calls) {
    this.calls = calls;
    this.prefix = newId("cell");
    this.cursor = null;
    this.locked = null;
    this.rows = el("div", {
      class: "headgrid", role: "grid", tabindex: "0", "aria-label": label, "aria-readonly": "true",
      onkeydown: (event) => this.key(event),
      onmouseleave: () => this.point(null),
      onfocus: () => { if (!this.cursor && this.order.length) this.point(this.locked || this.order[0][0]); },
      onblur: () => this.point(null),
    });
    this.ends = [el("span", {}), el("span", {})];
    this.box = el("div", { class: "gridbox" }, this.rows, el("p", { class: "scale", "aria-hidden": "true" },
      this.ends[0], el("span", { class: "ramp" }), this.ends[1]));
    this.order = [];
  }

  // order: rows of {layer, head}; value(cell) from 0 to 1; text(cell) for a reader of the screen.
  update(order, value, text, locked, ends) {
    this.locked = locked;
    const layout = JSON.stringify(order.map((row) => row.map((cell) => headKey(cell.layer, cell.head))));
    if (layout !== this.layout) {
      this.layout = layout;
      this.order = order;
      this.cursor = null;
      this.rows.style.setProperty("--columns", Math.max(...order.map((row) => row.length), 1));
      this.rows.replaceChildren(...order.map((row) => this.row(row)));
    }
    for (const cell of order.flat()) {
      const node = this.node(cell);
      node.style.background = heat(value(cell));
      node.setAttribute("aria-label", text(cell));
      node.title = text(cell);
    }
    this.ends.forEach((node, at) => { node.textContent = ends[at]; });
    this.mark();
  }

  row(cells) {
    return el("div", { role: "row", class: "headrow" },
      el("span", { role: "rowheader", class: "rowhead", text: `${cells[0].layer}`, title: `layer ${cells[0].layer}` }),
      cells.map((cell) => el("span", {
        role: "gridcell", id: `${this.prefix}-${headKey(cell.layer, cell.head)}`, class: "headcell",
        "data-head": headKey(cell.layer, cell.head),
        onmouseenter: () => this.point(cell),
        onclick: () => { this.point(cell); this.toggle(cell); },
      })));
  }

  node(cell) {
    return document.getElementById(`${this.prefix}-${headKey(cell.layer, cell.head)}`)
      || this.rows.querySelector(`[data-head="${headKey(cell.layer, cell.head)}"]`);
  }

  point(cell) {
    this.cursor = cell;
    this.mark();
    this.calls.shown(cell);
  }

  toggle(cell) {
    const again = this.locked && this.locked.layer === cell.layer && this.locked.head === cell.head;
    this.calls.locked(again ? null : cell);
  }

  mark() {
    for (const old of this.rows.querySelectorAll(".cursor, .locked")) {
      old.classList.remove("cursor", "locked");
      old.removeAttribute("aria-selected");
    }
    if (this.locked) {
      const node = this.node(this.locked);
      if (node) { node.classList.add("locked"); node.setAttribute("aria-selected", "true"); }
    }
    const at = this.cursor || this.locked;
    if (at && this.node(at)) this.rows.setAttribute("aria-activedescendant", this.node(at).id);
    else this.rows.removeAttribute("aria-activedescendant");
    if (this.cursor && this.node(this.cursor)) this.node(this.cursor).classList.add("cursor");
  }

  key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const at = this.cursor || this.locked || this.order[0][0];
    if (event.key in steps) {
      const row = this.order.findIndex((cells) => cells.includes(this.place(at)));
      const column = this.order[row].indexOf(this.place(at));
      const below = Math.min(Math.max(row + steps[event.key][0], 0), this.order.length - 1);
      const beside = Math.min(Math.max(column + steps[event.key][1], 0), this.order[below].length - 1);
      this.point(this.order[below][beside]);
    } else if (event.key === "Enter" || event.key === " ") this.toggle(at);
    else if (event.key === "Escape") this.calls.locked(null);
    else return;
    event.preventDefault();
  }

  // The cell of the order that stands for a head.
  place(cell) {
    return this.order.flat().find((other) => other.layer === cell.layer && other.head === cell.head);
  }
}

function naturalOrder(layers, heads) {
  return Array.from({ length: layers }, (_, layer) => Array.from({ length: heads }, (__, head) => ({ layer, head })));
}
