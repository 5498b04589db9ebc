// Curves over the sequences trained on.

import { scaleLinear, scaleLog } from "d3-scale";

import { GUTTER, Picture } from "./picture.js";
import { grouped } from "./tell.js";

const HEIGHT = 190;
/** Pixels above, right of and below what is drawn. */
const MARGIN = { top: 8, right: 40, bottom: 22 };
/** A logarithmic axis begins here at the lowest: it has no 0. */
const LEAST = 1e-4;

/** Lines over all evaluations, each with a name, a colour of the theme, and `of`, what it shows of a line of metrics. */
export class Chart extends Picture {
  constructor(parent, { label, lines, isLogarithmic = false, isWhole = false }) {
    super(parent, label, HEIGHT);
    Object.assign(this, { lines, isLogarithmic, isWhole, metrics: [], selected: -1 });
  }

  /** Whether there is anything to show of these evaluations. */
  has(metrics) {
    return this.lines.some(({ of }) => metrics.some((line) => isNumber(of(line))));
  }

  #scales(width) {
    const x = scaleLinear()
      .domain([0, this.metrics.reduce((most, { sequences }) => Math.max(most, sequences), 1)])
      .range([GUTTER, width - MARGIN.right]);
    const values = this.lines.flatMap(({ of }) => this.metrics.map(of)).filter(isNumber);
    const down = [HEIGHT - MARGIN.bottom, MARGIN.top];
    if (this.isLogarithmic && values.some((value) => value > 0)) {
      const shown = values.map((value) => Math.max(value, LEAST));
      const [least, largest] = extent(shown, Infinity, -Infinity);
      return {
        x,
        y: scaleLog()
          .domain([least / 1.1, largest * 1.1])
          .range(down)
          .clamp(true),
      };
    }
    const [least, largest] = extent(values, 0, 0);
    return {
      x,
      y: scaleLinear()
        .domain([least, largest > least ? largest * 1.05 : least + 1])
        .range(down),
    };
  }

  /** The evaluation nearest to a pixel; -1 if there is none. */
  nearest(pixel, width) {
    const { x } = this.#scales(width);
    let best = -1;
    this.metrics.forEach(({ sequences }, place) => {
      if (best < 0 || Math.abs(x(sequences) - pixel) < Math.abs(x(this.metrics[best].sequences) - pixel)) best = place;
    });
    return best;
  }

  draw(metrics, selected, width, theme) {
    this.metrics = metrics;
    const context = this.start({ width });
    const { x, y } = this.#scales(width);
    this.#drawAxes(context, x, y, width, theme);
    for (const { colour, dashed, of } of this.lines) {
      context.strokeStyle = context.fillStyle = theme[colour];
      context.lineWidth = 1.5;
      context.setLineDash(dashed ? [5, 4] : []);
      const points = metrics.filter((line) => isNumber(of(line))).map((line) => [x(line.sequences), y(of(line))]);
      context.beginPath();
      points.forEach(([across, down]) => context.lineTo(across, down));
      context.stroke();
      context.setLineDash([]);
      // A single point has no line.
      for (const [across, down] of points.length === 1 ? points : []) dot(context, across, down);
      const line = metrics[selected];
      if (line && isNumber(of(line))) dot(context, x(line.sequences), y(of(line)));
    }
    if (metrics[selected]) {
      context.strokeStyle = theme.wrong;
      context.lineWidth = 1;
      const across = x(metrics[selected].sequences);
      context.strokeRect(across, MARGIN.top, 0, HEIGHT - MARGIN.top - MARGIN.bottom);
    }
  }

  #drawAxes(context, x, y, width, theme) {
    context.fillStyle = theme.soft;
    context.strokeStyle = theme.line;
    context.lineWidth = 1;
    context.textAlign = "right";
    const ticks = y.ticks(4).filter((tick) => !this.isWhole || Number.isInteger(tick));
    // A logarithmic scale names every digit of a power.
    const every = Math.ceil(ticks.length / 6);
    ticks.forEach((tick, place) => {
      if (place % every !== 0) return;
      context.fillText(tick.toLocaleString("en-US", { maximumSignificantDigits: 4 }), GUTTER - 8, y(tick));
      context.beginPath();
      context.moveTo(GUTTER, y(tick));
      context.lineTo(width - MARGIN.right, y(tick));
      context.stroke();
    });
    context.textAlign = "center";
    for (const tick of x.ticks(Math.max(2, Math.floor((width - GUTTER) / 140)))) {
      if (Number.isInteger(tick)) context.fillText(grouped(tick), x(tick), HEIGHT - 8);
    }
    context.textAlign = "left";
    context.fillText("sequences", 4, HEIGHT - 8);
  }
}

const isNumber = (value) => typeof value === "number";

function dot(context, across, down) {
  context.beginPath();
  context.arc(across, down, 3, 0, 2 * Math.PI);
  context.fill();
}

/** The least and the largest of values and two others. As arguments, too many values would be an error. */
function extent(values, least, largest) {
  return values.reduce(([low, high], value) => [Math.min(low, value), Math.max(high, value)], [least, largest]);
}
