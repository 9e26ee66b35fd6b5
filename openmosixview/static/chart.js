// Lines over time on a canvas: range, gaps, marks, migrations, a cross-hair, zooming with mouse and keyboard.

import { h, text } from "./dom.js";
import { moment } from "./format.js";

const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
const LINES = ["--line-1", "--line-2", "--line-3", "--line-4", "--line-5", "--line-6", "--line-7", "--line-8"];
const STEPS_S = [10, 30, 60, 300, 600, 1800, 3600, 7200, 21600, 43200, 86400, 172800, 604800, 2592000];

export function lineColour(index, element = document.documentElement) {
  return getComputedStyle(element).getPropertyValue(LINES[index % LINES.length]).trim();
}

// data: {lines: [{name, points: [[t, average, min, max]], colour}], start, end, step, marks, moves, band}
export class Chart {
  constructor(label, onZoom) {
    this.canvas = h("canvas", { tabindex: "0", role: "img", "aria-label": label });
    this.readout = h("span", { class: "stats", "aria-live": "off" });
    this.data = null;
    this.cursor = null;
    this.pressed = null;
    this.label = label;
    this.onZoom = onZoom;
    this.canvas.addEventListener("pointermove", (event) => this.point(event));
    this.canvas.addEventListener("pointerleave", () => this.leave());
    this.canvas.addEventListener("pointerdown", (event) => this.press(event));
    this.canvas.addEventListener("pointerup", (event) => this.release(event));
    this.canvas.addEventListener("dblclick", () => this.zoom(-1));
    this.canvas.addEventListener("keydown", (event) => this.key(event));
    new ResizeObserver(() => this.draw()).observe(this.canvas);
  }

  show(data) {
    this.data = data;
    this.canvas.setAttribute("aria-label", `${this.label}. ${describe(data)}`);
    this.draw();
  }

  x(t) {
    const { start, end } = this.data;
    return LEFT + ((t - start) / (end - start || 1)) * (this.width - LEFT - RIGHT);
  }

  time(x) {
    const { start, end } = this.data;
    return start + ((x - LEFT) / (this.width - LEFT - RIGHT)) * (end - start);
  }

  y(value) {
    return TOP + (1 - value / this.top) * (this.height - TOP - BOTTOM);
  }

  draw(scale = Math.max(1, devicePixelRatio), forPaper = false) {
    const { canvas, data } = this;
    this.width = canvas.clientWidth;
    this.height = canvas.clientHeight;
    if (!data || !this.width) return;
    canvas.width = Math.round(this.width * scale);
    canvas.height = Math.round(this.height * scale);
    const pen = canvas.getContext("2d");
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    const style = getComputedStyle(canvas);
    const colour = (name) => style.getPropertyValue(name).trim();
    pen.fillStyle = forPaper ? "#ffffff" : colour("--card");
    pen.fillRect(0, 0, this.width, this.height);
    this.top = topOf(data);
    this.drawGrid(pen, colour);
    this.drawEvents(pen, colour);
    data.lines.forEach((line) => this.drawLine(pen, line, data.band && data.lines.length === 1));
    if (this.cursor !== null && !forPaper) this.drawCursor(pen, colour);
  }

  drawGrid(pen, colour) {
    const { start, end } = this.data;
    pen.font = "11px system-ui, sans-serif";
    pen.lineWidth = 1;
    pen.strokeStyle = colour("--line");
    pen.fillStyle = colour("--soft");
    pen.textAlign = "right";
    pen.textBaseline = "middle";
    for (let part = 0; part <= 4; part += 1) {
      const value = (this.top * part) / 4;
      const y = Math.round(this.y(value)) + 0.5;
      line(pen, LEFT, y, this.width - RIGHT, y);
      pen.fillText(`${Math.round(value / 10)}%`, LEFT - 6, y);
    }
    pen.textAlign = "center";
    pen.textBaseline = "top";
    const wanted = (end - start) / Math.max(2, this.width / 110);
    const step = STEPS_S.find((one) => one >= wanted) ?? STEPS_S.at(-1);
    const offset = new Date(start * 1000).getTimezoneOffset() * 60;
    for (let t = Math.ceil((start - offset) / step) * step + offset; t <= end; t += step) {
      const x = Math.round(this.x(t)) + 0.5;
      line(pen, x, TOP, x, this.height - BOTTOM);
      const label = step >= 86400 ? moment(t).slice(5, 10) : end - start > 86400 ? moment(t).slice(5, 16) : moment(t, false).slice(0, step < 60 ? 8 : 5);
      pen.fillText(label, x, this.height - BOTTOM + 6);
    }
  }

  drawEvents(pen, colour) {
    pen.lineWidth = 1.5;
    const taken = [];
    for (const mark of this.data.marks) {
      pen.strokeStyle = pen.fillStyle = colour("--memory");
      const x = this.x(mark.t);
      pen.setLineDash([4, 3]);
      line(pen, x, TOP, x, this.height - BOTTOM);
      pen.setLineDash([]);
      pen.textAlign = "left";
      pen.textBaseline = "top";
      const label = mark.text.slice(0, 24);
      const width = pen.measureText(label).width;
      const left = x + 4 + width > this.width - RIGHT ? x - 4 - width : x + 4;
      // A label that would lie over another one goes a line lower; below the third line it is left out.
      const row = [0, 1, 2].find((line) => !taken.some((one) => one.row === line && left < one.right && left + width > one.left));
      if (row === undefined) continue;
      taken.push({ row, left: left - 6, right: left + width + 6 });
      pen.fillText(label, left, TOP + 1 + row * 13);
    }
    pen.fillStyle = colour("--warn");
    for (const move of this.data.moves) {
      const x = this.x(move.t);
      const y = this.height - BOTTOM;
      pen.beginPath();
      pen.moveTo(x - 4, y);
      pen.lineTo(x + 4, y);
      pen.lineTo(x, y - 7);
      pen.fill();
    }
  }

  drawLine(pen, { points, colour }, withBand) {
    const gap = this.data.step * 2.5;
    const runs = [];
    let run = [];
    for (const point of points) {
      if (run.length && point[0] - run.at(-1)[0] > gap) {
        runs.push(run);
        run = [];
      }
      run.push(point);
    }
    if (run.length) runs.push(run);
    for (const piece of runs) {
      if (withBand) {
        pen.fillStyle = colour;
        pen.globalAlpha = 0.16;
        pen.beginPath();
        piece.forEach(([t, , , high]) => pen.lineTo(this.x(t), this.y(Math.min(high, this.top))));
        [...piece].reverse().forEach(([t, , low]) => pen.lineTo(this.x(t), this.y(Math.min(low, this.top))));
        pen.fill();
        pen.globalAlpha = 1;
      }
      pen.strokeStyle = pen.fillStyle = colour;
      pen.lineWidth = 1.8;
      pen.lineJoin = "round";
      pen.beginPath();
      piece.forEach(([t, value]) => pen.lineTo(this.x(t), this.y(Math.min(value, this.top))));
      pen.stroke();
      if (piece.length === 1) pen.fillRect(this.x(piece[0][0]) - 1.5, this.y(piece[0][1]) - 1.5, 3, 3);
    }
  }

  drawCursor(pen, colour) {
    pen.strokeStyle = colour("--soft");
    const x = Math.round(this.x(this.cursor)) + 0.5;
    line(pen, x, TOP, x, this.height - BOTTOM);
    if (this.pressed !== null) {
      pen.fillStyle = colour("--accent");
      pen.globalAlpha = 0.15;
      const from = this.x(this.pressed);
      pen.fillRect(from, TOP, x - from, this.height - BOTTOM - TOP);
      pen.globalAlpha = 1;
    }
  }

  say() {
    if (this.cursor === null || !this.data) return text(this.readout, "");
    const near = this.data.lines.map(({ name, points }) => {
      const found = nearest(points, this.cursor);
      if (!found || Math.abs(found[0] - this.cursor) > this.data.step * 2) return null;
      return `${this.data.lines.length > 1 ? `${name} ` : ""}${(found[1] / 10).toFixed(1)}%`;
    });
    const moves = this.data.moves.filter((move) => Math.abs(this.x(move.t) - this.x(this.cursor)) < 5).slice(0, 2);
    const words = moves.map((move) => `${move.pid} ${move.command} ${move.from || "home"}→${move.to || "home"}`);
    text(this.readout, [moment(this.cursor, this.data.end - this.data.start > 43200), ...near.filter(Boolean).slice(0, 6), ...words].join(" · "));
  }

  point(event) {
    if (!this.data) return;
    const x = event.clientX - this.canvas.getBoundingClientRect().left;
    this.cursor = Math.min(this.data.end, Math.max(this.data.start, this.time(x)));
    this.draw();
    this.say();
  }

  leave() {
    this.cursor = null;
    this.pressed = null;
    this.draw();
    this.say();
  }

  press(event) {
    if (!this.data || event.button !== 0) return;
    this.point(event);
    this.pressed = this.cursor;
    this.canvas.setPointerCapture(event.pointerId);
  }

  release(event) {
    if (this.pressed === null) return;
    this.point(event);
    const [from, to] = [this.pressed, this.cursor].sort((a, b) => a - b);
    this.pressed = null;
    if (this.x(to) - this.x(from) > 8) this.onZoom(Math.floor(from), Math.ceil(to));
    else this.draw();
  }

  zoom(direction) {
    const { start, end } = this.data;
    const middle = this.cursor ?? (start + end) / 2;
    const factor = direction > 0 ? 0.5 : 2;
    this.onZoom(Math.round(middle - (middle - start) * factor), Math.round(middle + (end - middle) * factor));
  }

  key(event) {
    if (!this.data) return;
    const { start, end } = this.data;
    const shift = Math.round((end - start) / 4);
    if (event.key === "+" || event.key === "=") this.zoom(1);
    else if (event.key === "-") this.zoom(-1);
    else if (event.key === "ArrowLeft") this.onZoom(start - shift, end - shift);
    else if (event.key === "ArrowRight") this.onZoom(start + shift, end + shift);
    else return;
    event.preventDefault();
  }

  png(name) {
    this.draw(2, true);
    this.canvas.toBlob((blob) => {
      const link = h("a", { href: URL.createObjectURL(blob), download: name });
      link.click();
      setTimeout(() => URL.revokeObjectURL(link.href), 10000);
    });
    this.draw();
  }
}

export function statistics(points) {
  if (!points.length) return null;
  let low = Infinity;
  let high = -Infinity;
  let sum = 0;
  for (const [, value, min, max] of points) {
    low = Math.min(low, min);
    high = Math.max(high, max);
    sum += value;
  }
  return { min: low, max: high, average: sum / points.length };
}

function describe(data) {
  const known = data.lines.map(({ name, points }) => {
    const found = statistics(points);
    return found ? `${name}: average ${Math.round(found.average / 10)}%, least ${Math.round(found.min / 10)}%, most ${Math.round(found.max / 10)}%` : `${name}: nothing recorded`;
  });
  return known.join("; ");
}

function topOf(data) {
  let top = 1000;
  for (const { points } of data.lines) for (const point of points) top = Math.max(top, point[1]);
  return top <= 1000 ? 1000 : Math.ceil(top / 1000) * 1000;
}

function nearest(points, t) {
  let low = 0;
  let high = points.length - 1;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (points[middle][0] < t) low = middle + 1;
    else high = middle;
  }
  const after = points[low];
  const before = points[low - 1];
  return before && after && t - before[0] < after[0] - t ? before : after;
}

function line(pen, x1, y1, x2, y2) {
  pen.beginPath();
  pen.moveTo(x1, y1);
  pen.lineTo(x2, y2);
  pen.stroke();
}
