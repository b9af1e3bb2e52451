// The canvas of the map: points, zoom and pan, picking by a grid, results that are lit, the query, and the lasso.

import { colour, still } from "../dom.js";

const CELLS = 64; // of the grid, on either side
const EDGE = 26; // pixels around the outermost points
const NEAR = 14; // pixels within which a point is picked
const RAMP = [[46, 89, 168], [86, 163, 143], [240, 196, 83]];

export class MapView {
  constructor(canvas, handlers) {
    Object.assign(this, { canvas, handlers, xs: new Float32Array(0), ys: new Float32Array(0), ids: [], codes: null, kind: "groups", only: null, lit: [], query: null, marking: false, lasso: null, hovered: -1, scale: 1, x: 0, y: 0 });
    Object.assign(this, { width: canvas.clientWidth, height: canvas.clientHeight }); // read here and in resize() alone: each read may lay out the page
    this.context = canvas.getContext("2d");
    this.pointers = new Map();
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
  }

  /** Show points: places as pairs of numbers of 16 bits. */
  points(ids, places) {
    const count = ids.length;
    this.ids = ids;
    this.xs = Float32Array.from({ length: count }, (_, at) => places[2 * at] / 65535);
    this.ys = Float32Array.from({ length: count }, (_, at) => 1 - places[2 * at + 1] / 65535);
    this.at = new Map(ids.map((id, at) => [id, at]));
    this.grid = Array.from({ length: CELLS * CELLS }, () => []);
    for (let at = 0; at < count; at += 1) this.grid[this.cell(this.xs[at], this.ys[at])].push(at);
    this.lit = [];
    this.query = null;
    this.home();
  }

  cell(x, y) {
    const clamp = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
    return clamp(y) * CELLS + clamp(x);
  }

  paint(kind, codes) { Object.assign(this, { kind, codes, only: null }); this.draw(); }

  light(ids, query) {
    this.lit = ids.map((id) => this.at.get(id)).filter((at) => at !== undefined);
    this.query = query;
    this.draw();
  }

  resize() {
    const ratio = Math.min(devicePixelRatio || 1, 2), { clientWidth, clientHeight } = this.canvas;
    Object.assign(this, { width: clientWidth, height: clientHeight });
    if (!clientWidth) return;
    this.ratio = ratio;
    this.canvas.width = clientWidth * ratio;
    this.canvas.height = clientHeight * ratio;
    this.draw();
  }

  get across() { return this.scale * Math.max(1, this.width - 2 * EDGE); } // pixels that the whole map takes now
  get down() { return this.scale * Math.max(1, this.height - 2 * EDGE); }
  toScreen(x, y) { return [(x - this.x) * this.across + this.width / 2, (y - this.y) * this.down + this.height / 2]; }
  toMap(px, py) { return [(px - this.width / 2) / this.across + this.x, (py - this.height / 2) / this.down + this.y]; }

  home() { Object.assign(this, { x: 0.5, y: 0.5, scale: 1 }); this.draw(); }
  zoom(factor, px = this.width / 2, py = this.height / 2) {
    const [x, y] = this.toMap(px, py);
    this.scale = Math.min(60, Math.max(0.8, this.scale * factor));
    const [nx, ny] = this.toMap(px, py);
    this.pan(x - nx, y - ny);
  }
  pan(dx, dy) {
    this.x = Math.min(1.1, Math.max(-0.1, this.x + dx));
    this.y = Math.min(1.1, Math.max(-0.1, this.y + dy));
    this.draw();
  }
  centre(id) {
    const at = this.at?.get(id);
    if (at === undefined) return;
    Object.assign(this, { x: this.xs[at], y: this.ys[at], scale: Math.max(this.scale, 5), hovered: at });
    this.draw();
  }

  draw() {
    if (this.asked) return;
    this.asked = requestAnimationFrame(() => { this.asked = 0; this.drawn(); });
  }

  drawn() {
    const { context: c, ratio = 1 } = this;
    if (!this.width) return;
    c.setTransform(ratio, 0, 0, ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    const palette = this.palette(), radius = Math.min(7, (this.ids.length > 5000 ? 1.6 : 2.6) * Math.sqrt(this.scale));
    const dim = this.lit.length > 0, order = [...palette.keys()];
    const buckets = order.map(() => []);
    for (let at = 0; at < this.ids.length; at += 1) {
      const [px, py] = this.toScreen(this.xs[at], this.ys[at]);
      if (px < -9 || py < -9 || px > this.width + 9 || py > this.height + 9) continue;
      const code = this.codes ? (this.kind === "ramp" ? (this.codes[at] === 255 ? palette.length - 1 : Math.min(palette.length - 2, this.codes[at] >> 4)) : Math.min(this.codes[at], palette.length - 1)) : 0;
      buckets[code].push(px, py);
    }
    order.forEach((code) => {
      const faded = this.kind === "groups" && this.only !== null && this.only !== code;
      c.globalAlpha = faded ? 0.16 : dim ? 0.55 : 0.82;
      c.fillStyle = palette[code];
      c.beginPath();
      const places = buckets[code];
      for (let at = 0; at < places.length; at += 2) { c.moveTo(places[at] + radius, places[at + 1]); c.arc(places[at], places[at + 1], radius, 0, 7); }
      c.fill();
    });
    c.globalAlpha = 1;
    this.drawLit(radius);
    this.drawLasso();
  }

  palette() {
    if (this.kind === "ramp") return [...Array.from({ length: 16 }, (_, at) => ramp(at / 15)), colour("line-strong")];
    return Array.from({ length: 8 }, (_, at) => colour(`s${at}`));
  }

  drawLit(radius) {
    const { context: c } = this, accent = colour("accent"), surface = colour("surface"), ink = colour("ink"), labels = [];
    if (this.query) {
      const [qx, qy] = this.toScreen(this.query[0], 1 - this.query[1]);
      c.strokeStyle = accent;
      c.globalAlpha = 0.35;
      c.lineWidth = 1;
      c.beginPath();
      for (const at of this.lit.slice(0, 12)) { const [px, py] = this.toScreen(this.xs[at], this.ys[at]); c.moveTo(qx, qy); c.lineTo(px, py); }
      c.stroke();
      c.globalAlpha = 1;
    }
    [...this.lit].reverse().forEach((at, back) => {
      const place = this.lit.length - back, [px, py] = this.toScreen(this.xs[at], this.ys[at]), size = Math.max(radius + 1.5, place <= 3 ? 6.5 : 5);
      c.beginPath();
      c.arc(px, py, size, 0, 7);
      c.fillStyle = accent;
      c.fill();
      c.lineWidth = 2;
      c.strokeStyle = surface;
      c.stroke();
      if (place <= 3) labels.unshift([String(place), px, py, size + 3]);
    });
    if (this.query) {
      const [qx, qy] = this.toScreen(this.query[0], 1 - this.query[1]);
      c.beginPath();
      for (let at = 0; at < 10; at += 1) { const r = at % 2 ? 4.5 : 11, a = (Math.PI * at) / 5 - Math.PI / 2; c.lineTo(qx + r * Math.cos(a), qy + r * Math.sin(a)); }
      c.closePath();
      c.fillStyle = colour("s1");
      c.fill();
      c.lineWidth = 2;
      c.strokeStyle = surface;
      c.stroke();
      labels.unshift(["query", qx, qy, 14]);
    }
    c.fillStyle = ink;
    c.font = "650 13px system-ui, sans-serif";
    for (const { text, x, y } of apart(labels, (text) => c.measureText(text).width)) outlined(c, text, x, y, surface);
    if (this.hovered >= 0) {
      const [px, py] = this.toScreen(this.xs[this.hovered], this.ys[this.hovered]);
      c.beginPath();
      c.arc(px, py, radius + 5, 0, 7);
      c.lineWidth = 2;
      c.strokeStyle = ink;
      c.stroke();
    }
  }

  drawLasso() {
    if (!this.lasso?.length) return;
    const { context: c } = this;
    c.beginPath();
    for (const [x, y] of this.lasso) c.lineTo(...this.toScreen(x, y));
    c.closePath();
    c.fillStyle = colour("accent");
    c.globalAlpha = 0.14;
    c.fill();
    c.globalAlpha = 1;
    c.lineWidth = 1.8;
    c.setLineDash([6, 4]);
    c.strokeStyle = colour("accent");
    c.stroke();
    c.setLineDash([]);
  }

  /** The point nearest to a place on the screen, -1 where there is none near. */
  pick(px, py, within = NEAR) {
    const [x, y] = this.toMap(px, py), rx = within / this.across, ry = within / this.down;
    let best = -1, nearest = within * within;
    const clamp = (value) => Math.min(CELLS - 1, Math.max(0, Math.floor(value * CELLS)));
    for (let row = clamp(y - ry); row <= clamp(y + ry); row += 1) {
      for (let column = clamp(x - rx); column <= clamp(x + rx); column += 1) {
        for (const at of this.grid?.[row * CELLS + column] || []) {
          const [qx, qy] = this.toScreen(this.xs[at], this.ys[at]), apart = (qx - px) ** 2 + (qy - py) ** 2;
          if (apart < nearest) { nearest = apart; best = at; }
        }
      }
    }
    return best;
  }

  /** Mark the items that are in view, as the keyboard draws no line. */
  markView() {
    this.lasso = [[0, 0], [this.width, 0], [this.width, this.height], [0, this.height]].map(([px, py]) => this.toMap(px, py));
    this.handlers.marked(this.inside(this.lasso));
  }

  /** The items within a line that was drawn. */
  inside(line) {
    const found = new Set();
    for (let at = 0; at < this.ids.length; at += 1) if (contains(line, this.xs[at], this.ys[at])) found.add(this.ids[at]);
    return found;
  }

  listen() {
    const { canvas } = this, at = (event) => { const box = canvas.getBoundingClientRect(); return [event.clientX - box.left, event.clientY - box.top]; };
    let moved = 0;
    canvas.addEventListener("wheel", (event) => { event.preventDefault(); this.zoom(Math.exp(-event.deltaY * 0.0016), ...at(event)); }, { passive: false });
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      this.pointers.set(event.pointerId, at(event));
      moved = 0;
      if (this.marking && this.pointers.size === 1) this.lasso = [this.toMap(...at(event))];
    });
    canvas.addEventListener("pointermove", (event) => {
      const here = at(event), was = this.pointers.get(event.pointerId);
      if (!was) return this.hover(...here);
      moved += Math.abs(here[0] - was[0]) + Math.abs(here[1] - was[1]);
      if (this.pointers.size === 2) this.pinch(event.pointerId, here);
      else if (this.marking) { this.lasso.push(this.toMap(...here)); this.draw(); }
      else this.pan((was[0] - here[0]) / this.across, (was[1] - here[1]) / this.down);
      return this.pointers.set(event.pointerId, here);
    });
    const up = (event) => {
      const here = at(event), had = this.pointers.delete(event.pointerId);
      if (!had || this.pointers.size) return;
      if (this.marking && this.lasso?.length > 3) this.handlers.marked(this.inside(this.lasso));
      else if (moved < 6 && event.type === "pointerup") { const found = this.pick(...here, 20); if (found >= 0) this.handlers.opened(found); }
    };
    canvas.addEventListener("pointerup", up);
    canvas.addEventListener("pointercancel", up);
    canvas.addEventListener("pointerleave", () => this.hover(-99, -99));
    canvas.addEventListener("keydown", (event) => {
      const step = 0.08 / this.scale;
      const run = { ArrowLeft: () => this.pan(-step, 0), ArrowRight: () => this.pan(step, 0), ArrowUp: () => this.pan(0, -step), ArrowDown: () => this.pan(0, step), "+": () => this.zoom(1.4), "=": () => this.zoom(1.4), "-": () => this.zoom(1 / 1.4), 0: () => this.home(), Enter: () => { const found = this.pick(this.width / 2, this.height / 2, 60); if (this.marking) this.markView(); else if (found >= 0) this.handlers.opened(found); } }[event.key];
      if (!run) return;
      event.preventDefault();
      run();
      if (event.key === "Enter") return;
      const near = this.pick(this.width / 2, this.height / 2, 60);
      this.hovered = near;
      this.handlers.hovered(near, near >= 0 ? this.toScreen(this.xs[near], this.ys[near]) : null, true);
    });
  }

  hover(px, py) {
    const found = this.pick(px, py);
    if (found === this.hovered) return;
    this.hovered = found;
    this.handlers.hovered(found, found >= 0 ? this.toScreen(this.xs[found], this.ys[found]) : null, false);
    this.draw();
  }

  pinch(id, here) {
    const [other] = [...this.pointers].filter(([key]) => key !== id).map(([, place]) => place), was = this.pointers.get(id);
    const before = Math.hypot(was[0] - other[0], was[1] - other[1]), after = Math.hypot(here[0] - other[0], here[1] - other[1]);
    if (before > 8) this.zoom(after / before, (here[0] + other[0]) / 2, (here[1] + other[1]) / 2);
  }
}

function ramp(share) {
  const at = share * (RAMP.length - 1), low = Math.min(RAMP.length - 2, Math.floor(at)), part = at - low;
  return `rgb(${RAMP[low].map((value, channel) => Math.round(value + (RAMP[low + 1][channel] - value) * part)).join(" ")})`;
}
export const rampColours = [0, 0.5, 1].map(ramp);
export const calm = still;

function outlined(context, text, x, y, around) {
  context.lineWidth = 3;
  context.strokeStyle = around;
  context.strokeText(text, x, y);
  context.fillText(text, x, y);
}

/** Put labels beside their points, [text, x, y, radius], where they do not lie over each other or over a labelled point. */
export function apart(labels, widthOf) {
  const boxes = labels.map(([, x, y, radius]) => [x - radius + 3, y - radius + 3, x + radius - 3, y + radius - 3]);
  const meets = (one, other) => one[0] < other[2] && other[0] < one[2] && one[1] < other[3] && other[1] < one[3];
  return labels.map(([text, x, y, radius]) => {
    const width = widthOf(text), places = [];
    for (const far of [0, 12, 26, 44]) {
      const side = radius + far;
      places.push([x + side, y + 5], [x - side - width, y + 5], [x - width / 2, y - side], [x - width / 2, y + side + 10]);
    }
    const boxOf = ([left, base]) => [left - 1, base - 11, left + width + 1, base + 3];
    const place = places.find((one) => !boxes.some((box) => meets(box, boxOf(one)))) || places[0];
    boxes.push(boxOf(place));
    return { text, x: place[0], y: place[1] };
  });
}

function contains(line, x, y) {
  let is = false;
  for (let at = 0, before = line.length - 1; at < line.length; before = at, at += 1) {
    const [x0, y0] = line[at], [x1, y1] = line[before];
    if (y0 > y !== y1 > y && x < ((x1 - x0) * (y - y0)) / (y1 - y0) + x0) is = !is;
  }
  return is;
}
