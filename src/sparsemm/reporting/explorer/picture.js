// The page that the model reads, its image cells coloured, and boxes of words over it.

class Picture {
  constructor(page) {
    this.page = page;
    this.image = el("img", { src: page.image, alt: `Page ${page.id}. Its words: ${page.words.join(", ")}` });
    this.canvas = el("canvas", { role: "img" });
    this.boxes = svg("svg", { preserveAspectRatio: "none", "aria-hidden": "true" });
    this.box = el("div", { class: "picture" }, this.image, this.canvas, this.boxes);
    this.ready = this.image.decode().catch(() => undefined);
  }

  // paint(cell) gives the cell's colour or null; boxes: [{index, kind}]; label: for a reader of the screen.
  async draw(paint, boxes, label) {
    const turn = (this.turn = {});
    await this.ready;
    if (turn !== this.turn) return; // another head was pointed at meanwhile
    const [wide, high] = [this.image.naturalWidth, this.image.naturalHeight];
    const scale = Math.max(1, Math.ceil(768 / wide));
    [this.canvas.width, this.canvas.height] = [wide * scale, high * scale];
    if (wide < 400) this.image.classList.add("small");
    const context = this.canvas.getContext("2d");
    const { rows, cols } = this.page;
    for (let row = 0; row < rows.length - 1; row += 1) {
      for (let col = 0; col < cols.length - 1; col += 1) {
        const colour = paint(row * (cols.length - 1) + col);
        if (!colour) continue;
        context.fillStyle = colour;
        const [left, top] = [Math.round(cols[col] * scale), Math.round(rows[row] * scale)];
        const [right, bottom] = [Math.round(cols[col + 1] * scale), Math.round(rows[row + 1] * scale)];
        context.fillRect(left, top, right - left, bottom - top);
      }
    }
    this.canvas.setAttribute("aria-label", label);
    this.boxes.setAttribute("viewBox", `0 0 ${wide} ${high}`);
    this.boxes.replaceChildren(...boxes.map(({ index, kind }) => {
      const [x0, y0, x1, y1] = this.page.boxes[index];
      return svg("rect", { x: x0, y: y0, width: x1 - x0, height: y1 - y0, class: `word ${kind}` });
    }));
  }
}
