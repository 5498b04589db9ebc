// Pictures on canvases, all over the same time axis.

import { scaleLinear } from "d3-scale";
import { interpolateInferno, interpolatePuOr, interpolateViridis } from "d3-scale-chromatic";

import { NOTABLE } from "./model.js";
import { GUTTER, Picture } from "./picture.js";

/** With no more steps than this in view, only the words used in view have a row. */
const FEW_STEPS = 500;
/** Words of an input are written where a step has so many pixels across. */
const ROOM_FOR_A_WORD = 28;
/** A frame draws no more events than this while somebody zooms or moves; what is left out follows when they rest. */
const EVENTS_IN_MOTION = 150_000;

function lookUp(interpolate) {
  const table = new Uint32Array(256);
  for (let place = 0; place < 256; place++) {
    const colour = interpolate(place / 255);
    const parts = colour.startsWith("#")
      ? [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16))
      : colour.match(/\d+/g).map(Number);
    // Bytes in the order red, green, blue, opacity, as canvases have them.
    table[place] = (255 << 24) | (parts[2] << 16) | (parts[1] << 8) | parts[0];
  }
  return table;
}

const COLOURS = {
  /** From the least to the largest value. */
  sequential: lookUp(interpolateViridis),
  /** From negative to positive values. */
  diverging: lookUp(interpolatePuOr),
  errors: lookUp(interpolateInferno),
};

/** The steps in view, and where they are on a canvas of a width. */
export class View {
  constructor(steps) {
    this.steps = steps;
    this.transform = { k: 1, x: 0 };
    this.width = 800;
    this.moving = false;
  }

  /** Step to pixel: a step reaches from its number to the next. */
  scale() {
    const { k, x } = this.transform;
    const range = [GUTTER * k + x, this.width * k + x];
    return scaleLinear().domain([0, this.steps]).range(range);
  }

  /** The first and the last step in view, as numbers between steps. */
  span() {
    const scale = this.scale();
    return [Math.max(0, scale.invert(GUTTER)), Math.min(this.steps, scale.invert(this.width))];
  }

  stepAt(x) {
    return Math.max(0, Math.min(this.steps - 1, Math.floor(this.scale().invert(x))));
  }
}

/** The time axis. */
export class Axis extends Picture {
  constructor(parent, model) {
    super(parent, "The time axis, in steps", 20);
    this.model = model;
    this.canvas.setAttribute("aria-hidden", "true");
  }

  draw(view, selected, theme) {
    const context = this.start(view);
    const [from, to] = view.span();
    const scale = view.scale();
    context.fillStyle = theme.soft;
    context.strokeStyle = theme.line;
    context.fillText("step", 4, 10);
    context.textAlign = "center";
    const ticks = scaleLinear()
      .domain([from, to])
      .ticks(Math.max(2, Math.floor((view.width - GUTTER) / 90)));
    for (const tick of ticks.filter(Number.isInteger)) {
      const x = scale(tick + 0.5);
      if (x < GUTTER || x > view.width) continue;
      context.fillText(this.model.numberOf(Math.min(tick, view.steps - 1)).toLocaleString("en-US"), x, 9);
      context.beginPath();
      context.moveTo(x, 16);
      context.lineTo(x, 20);
      context.stroke();
    }
    context.textAlign = "left";
    this.markSelected(context, view, selected, theme);
  }
}

/** Levels of detail: each has, of four steps of the one before, the value farthest from 0. */
function coarsen(values, width) {
  const levels = [values];
  while (levels[levels.length - 1].length > 64 * width) {
    const fine = levels[levels.length - 1];
    const steps = fine.length / width;
    const coarse = new Float32Array(Math.ceil(steps / 4) * width);
    for (let step = 0; step < steps; step++) {
      const to = (step >> 2) * width;
      for (let row = 0; row < width; row++) {
        const value = fine[step * width + row];
        if (Math.abs(value) > Math.abs(coarse[to + row])) coarse[to + row] = value;
      }
    }
    levels.push(coarse);
  }
  return levels;
}

/** Numbers over time, a row for each. */
export class Strip extends Picture {
  /**
   * `values` has `width` numbers for each step, of which `rows` are shown, `names` beside them. `ranges` has the least and the
   * largest value, of all rows or of each. `tell`, where there is one, has a word for each number, which stands in its place
   * where there is room.
   */
  constructor(parent, { label, values, width, rows, names, ranges, colours, rowHeight, tell }) {
    rows ??= Array.from({ length: width }, (_, row) => row);
    rowHeight ??= Math.max(1, Math.min(16, Math.floor(320 / rows.length)));
    super(parent, label, Math.max(12, Math.min(480, rows.length * rowHeight)));
    Object.assign(this, { values, width, rows, names: names ?? [], label, colours, tell });
    this.ranges = rows.map((row, place) => (Array.isArray(ranges?.[0]) ? ranges[place] : ranges) ?? [0, 1]);
  }

  setRows(rows) {
    this.rows = rows;
  }

  valueAt(step, y) {
    const place = Math.min(this.rows.length - 1, Math.floor((y / this.height) * this.rows.length));
    const row = this.rows[place];
    return { name: this.names[place] ?? `${place}`, value: this.values[step * this.width + row] };
  }

  draw(view, selected, theme) {
    const context = this.start(view);
    const { rows, width, height } = this;
    this.levels ??= coarsen(this.values, width);
    const [from, to] = view.span();
    const scale = view.scale();
    const pixels = Math.max(1, Math.round(view.width - GUTTER));
    const [first, last] = [Math.floor(from), Math.min(view.steps, Math.ceil(to))];
    if (this.tell && scale(1) - scale(0) >= ROOM_FOR_A_WORD) {
      this.#drawWords(context, view, scale, first, last, theme);
      this.#drawNames(context, theme);
      this.markSelected(context, view, selected, theme);
      return;
    }
    const exact = last - first <= pixels;
    const columns = exact ? last - first : pixels;
    if (columns > 0) {
      const image = new ImageData(columns, rows.length);
      const colours = new Uint32Array(image.data.buffer);
      const stepsPerColumn = exact ? 1 : (to - from) / columns;
      let level = 0;
      while (level + 1 < this.levels.length && 4 ** (level + 1) <= stepsPerColumn) level++;
      const [values, group] = [this.levels[level], 4 ** level];
      const end = values.length / width;
      rows.forEach((row, place) => {
        const [least, largest] = this.ranges[place] ?? [0, 1];
        const table = this.colours ?? (least < 0 ? COLOURS.diverging : COLOURS.sequential);
        const factor = largest > least ? 255 / (largest - least) : 0;
        for (let column = 0; column < columns; column++) {
          const start = exact ? first + column : Math.floor((from + column * stepsPerColumn) / group);
          const stop = exact
            ? start + 1
            : Math.max(start + 1, Math.min(end, Math.ceil((from + (column + 1) * stepsPerColumn) / group)));
          let value = values[start * width + row];
          for (let step = start + 1; step < stop; step++) {
            const other = values[step * width + row];
            if (Math.abs(other) > Math.abs(value)) value = other;
          }
          const shade = (value - least) * factor;
          colours[place * columns + column] = table[shade <= 0 ? 0 : shade >= 255 ? 255 : shade | 0];
        }
      });
      const sheet = new OffscreenCanvas(columns, rows.length);
      sheet.getContext("2d").putImageData(image, 0, 0);
      this.clip(context, view);
      context.imageSmoothingEnabled = false;
      const [left, right] = exact ? [scale(first), scale(last)] : [scale(from), scale(to)];
      context.drawImage(sheet, left, 0, right - left, height);
      context.restore();
    }
    this.#drawNames(context, theme);
    this.markSelected(context, view, selected, theme);
  }

  #drawWords(context, view, scale, first, last, theme) {
    const { rows, width, height } = this;
    const rowHeight = height / rows.length;
    const room = scale(1) - scale(0) - 6;
    this.clip(context, view);
    context.strokeStyle = theme.line;
    context.fillStyle = theme.ink;
    for (let step = first; step < last; step++) {
      const x = scale(step);
      context.strokeRect(x, 0, scale(step + 1) - x, height);
      rows.forEach((row, place) => {
        const word = this.tell(this.values[step * width + row]);
        context.fillText(shorten(context, word, room), x + 3, (place + 0.5) * rowHeight);
      });
    }
    context.restore();
  }

  #drawNames(context, theme) {
    const rowHeight = this.height / this.rows.length;
    context.fillStyle = theme.soft;
    const every = Math.ceil(11 / rowHeight);
    for (let place = 0; place < this.rows.length; place += every) {
      const name = this.names[place] ?? `${place}`;
      context.fillText(shorten(context, name, GUTTER - 8), 4, (place + 0.5) * rowHeight);
    }
  }
}

function shorten(context, text, room) {
  if (context.measureText(text).width <= room) return text;
  while (text.length > 1 && context.measureText(`${text}…`).width > room) text = text.slice(0, -1);
  return `${text}…`;
}

/** The words of the memory over time. */
export class Words extends Picture {
  constructor(parent, model) {
    const label = `Reads and writes of ${model.words.length} words over ${model.steps} steps; the tables under "Step" say the same`;
    super(parent, label, 380);
    this.model = model;
  }

  /** The rows: of the words used in view if these are few steps, else of all words. */
  #layOut(view, selected, lines) {
    const { model, height } = this;
    const [from, to] = view.span();
    const [first, last] = [Math.floor(from), Math.min(model.steps, Math.ceil(to))];
    this.inView = [first, last];
    if (last - first > FEW_STEPS) {
      this.rowOf = null;
      this.rowHeight = height / Math.max(1, model.words.length);
      return;
    }
    const used = new Set(lines.map(({ word }) => model.rank.get(word)).filter((rank) => rank !== undefined));
    for (const events of [model.reads, model.writes]) {
      for (let event = events.first[first]; event < events.first[last]; event++) used.add(events.ranks[event]);
    }
    const ranks = [...used].sort((a, b) => a - b);
    this.ranks = ranks;
    this.rowOf = new Map(ranks.map((rank, row) => [rank, row]));
    this.rowHeight = Math.min(18, height / Math.max(1, ranks.length));
  }

  #middle(rank) {
    const row = this.rowOf ? (this.rowOf.get(rank) ?? -1) : rank;
    return (row + 0.5) * this.rowHeight;
  }

  wordAt(y) {
    const row = Math.floor(y / this.rowHeight);
    const rank = this.rowOf ? this.ranks[row] : row;
    return rank === undefined || rank >= this.model.words.length ? -1 : this.model.words[rank];
  }

  draw(view, selected, theme, chosen) {
    const context = this.start(view);
    const { model, height } = this;
    const lines = this.#lines(selected);
    this.#layOut(view, selected, lines);
    const [first, last] = this.inView;
    const scale = view.scale();
    const stepWidth = scale(1) - scale(0);
    this.clip(context, view);
    if (chosen >= 0 && model.rank.has(chosen)) {
      const size = Math.max(3, this.rowHeight);
      context.fillStyle = theme.line;
      context.fillRect(GUTTER, this.#middle(model.rank.get(chosen)) - size / 2, view.width, size);
    }
    if (stepWidth >= 3 && this.rowOf) this.#drawMarks(context, scale, stepWidth, first, last, theme);
    else this.#drawDensity(context, view, scale, first, last, theme);
    if (this.rowOf) this.#drawLinks(context, scale, first, last, selected, theme);
    this.#drawLines(context, scale, lines, theme);
    context.restore();
    context.fillStyle = theme.soft;
    if (this.rowOf && this.rowHeight >= 9) {
      this.ranks.forEach((rank) => context.fillText(`word ${model.words[rank]}`, 4, this.#middle(rank)));
    } else {
      context.fillText(`${(this.rowOf ? this.ranks.length : model.words.length).toLocaleString("en-US")} words`, 4, 10);
      context.fillText("used first: above", 4, 26);
    }
    context.strokeStyle = theme.line;
    context.strokeRect(GUTTER, 0, view.width - GUTTER, height);
    this.markSelected(context, view, selected, theme);
  }

  /** From what the selected step reads to who wrote it, and to what it should have read. */
  #lines(selected) {
    const { model } = this;
    const lines = [];
    for (let event = model.reads.first[selected]; event < model.reads.first[selected + 1]; event++) {
      const word = model.reads.words[event];
      const from = model.mainWriter(word, selected);
      if (from >= 0) lines.push({ word, from, to: selected, weight: model.reads.weights[event], colour: "read" });
    }
    const { origin, written } = model.explain(selected);
    if (origin >= 0 && written) {
      const [most] = written;
      if (most) lines.push({ word: most.word, from: origin, to: selected, weight: 1, colour: "wanted", dashed: true });
    }
    return lines;
  }

  #drawLines(context, scale, lines, theme) {
    for (const { word, from, to, weight, colour, dashed } of lines) {
      const y = this.#middle(this.model.rank.get(word)) + (dashed ? 3 : 0);
      context.strokeStyle = theme[colour];
      context.lineWidth = 1 + 2 * weight;
      context.globalAlpha = 0.35 + 0.65 * weight;
      context.setLineDash(dashed ? [5, 4] : []);
      context.beginPath();
      context.moveTo(scale(from + 0.5), y);
      context.lineTo(scale(to + 0.5), y);
      context.stroke();
      context.beginPath();
      context.arc(scale(from + 0.5), y, 4, 0, 2 * Math.PI);
      context.stroke();
    }
    context.globalAlpha = 1;
    context.setLineDash([]);
  }

  /** The order of writing, which temporal links follow, and for the selected step along which links it reads. */
  #drawLinks(context, scale, first, last, selected, theme) {
    const { model } = this;
    if (!model.has("forward_words")) return;
    context.strokeStyle = theme.write;
    context.globalAlpha = 0.35;
    context.lineWidth = 1;
    context.beginPath();
    let begun = false;
    for (let step = first; step < last; step++) {
      let most = -1;
      for (let event = model.writes.first[step]; event < model.writes.first[step + 1]; event++) {
        if (most < 0 || model.writes.weights[event] > model.writes.weights[most]) most = event;
      }
      if (most < 0) continue;
      const [x, y] = [scale(step + 0.5), this.#middle(model.writes.ranks[most])];
      if (begun) context.lineTo(x, y);
      else context.moveTo(x, y);
      begun = true;
    }
    context.stroke();
    if (model.follows(selected, -1)) {
      context.strokeStyle = theme.accent;
      for (const mode of ["forward", "backward"]) {
        const [heads, share] = [model.arrays.read_modes.shape[1], mode === "forward" ? 2 : 0];
        const modes = model.at("read_modes", selected);
        for (const { head, word, weight } of model.pairs(mode, selected)) {
          const strength = weight * modes[head * 3 + share];
          if (strength < NOTABLE || head >= heads || !model.rank.has(word)) continue;
          const before = model.pairs("read", selected - 1).filter((pair) => pair.head === head);
          if (before.length === 0 || !model.rank.has(before[0].word)) continue;
          context.globalAlpha = Math.min(1, 0.3 + strength);
          context.lineWidth = 2;
          context.beginPath();
          context.moveTo(scale(selected - 0.5), this.#middle(model.rank.get(before[0].word)));
          context.lineTo(scale(selected + 0.5), this.#middle(model.rank.get(word)));
          context.stroke();
        }
      }
    }
    context.globalAlpha = 1;
  }

  #drawMarks(context, scale, stepWidth, first, last, theme) {
    const { model, rowHeight } = this;
    const size = Math.max(3, Math.min(stepWidth, rowHeight, 14));
    context.fillStyle = theme.write;
    for (let event = model.writes.first[first]; event < model.writes.first[last]; event++) {
      context.globalAlpha = 0.25 + 0.75 * Math.min(1, model.writes.weights[event]);
      const [x, y] = [scale(model.writes.steps[event] + 0.5), this.#middle(model.writes.ranks[event])];
      context.fillRect(x - size / 2, y - size / 2, size, size);
    }
    context.fillStyle = theme.read;
    for (let event = model.reads.first[first]; event < model.reads.first[last]; event++) {
      context.globalAlpha = 0.25 + 0.75 * Math.min(1, model.reads.weights[event]);
      context.beginPath();
      const y = this.#middle(model.reads.ranks[event]);
      context.arc(scale(model.reads.steps[event] + 0.5), y, Math.max(1.5, size / 3), 0, 2 * Math.PI);
      context.fill();
    }
    context.globalAlpha = 1;
  }

  /** A pixel for each event, since there are more events than anyone can tell apart. */
  #drawDensity(context, view, scale, first, last, theme) {
    const { model, height } = this;
    const across = Math.max(1, Math.round(view.width - GUTTER));
    const image = new ImageData(across, height);
    const pixels = new Uint32Array(image.data.buffer);
    const [origin, perStep] = [scale(0) - GUTTER, scale(1) - scale(0)];
    for (const [events, name] of [
      [model.writes, "write"],
      [model.reads, "read"],
    ]) {
      const colour = pixelOf(theme[name]);
      const [start, end] = [events.first[first], events.first[last]];
      const stride = view.moving ? Math.max(1, Math.ceil((end - start) / EVENTS_IN_MOTION)) : 1;
      for (let event = start; event < end; event += stride) {
        const x = (origin + (events.steps[event] + 0.5) * perStep) | 0;
        const y = this.#middle(events.ranks[event]) | 0;
        if (x >= 0 && x < across) pixels[y * across + x] = colour;
      }
    }
    const sheet = new OffscreenCanvas(across, height);
    sheet.getContext("2d").putImageData(image, 0, 0);
    context.drawImage(sheet, GUTTER, 0);
  }
}

function pixelOf(colour) {
  const [red, green, blue] = [1, 3, 5].map((start) => parseInt(colour.slice(start, start + 2), 16));
  return ((255 << 24) | (blue << 16) | (green << 8) | red) >>> 0;
}

/** The words in the order of last use. */
export class Ring extends Picture {
  constructor(parent) {
    super(parent, "The words in the order of their last use; the sentence below says which is next", 34);
  }

  draw(view, order, selected, theme) {
    const context = this.start(view);
    this.order = order;
    const width = view.width - GUTTER;
    this.cell = Math.min(40, width / Math.max(1, order.length));
    context.fillStyle = theme.soft;
    context.fillText("oldest to newest", 4, 17);
    order.forEach(({ word, step }, place) => {
      const shade = COLOURS.sequential[Math.round((255 * (step + 1)) / Math.max(1, selected + 1))];
      context.fillStyle = `rgb(${shade & 255} ${(shade >> 8) & 255} ${(shade >> 16) & 255})`;
      const x = GUTTER + place * this.cell;
      context.fillRect(x, 4, Math.max(1, this.cell - (this.cell > 4 ? 1 : 0)), 26);
      if (this.cell >= 24) {
        context.fillStyle = step / Math.max(1, selected) > 0.6 ? "#111111" : "#ffffff";
        context.fillText(`${word}`, x + 4, 17);
      }
    });
  }

  wordAt(x) {
    const place = Math.floor((x - GUTTER) / this.cell);
    return this.order?.[place]?.word ?? -1;
  }
}

export { COLOURS };
