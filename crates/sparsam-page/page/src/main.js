// The page: reads its numbers, lays out the panels, and answers to mouse and keyboard.

import { select } from "d3-selection";
import { zoom, zoomIdentity } from "d3-zoom";

import { Axis, COLOURS, Ring, Strip, View, Words } from "./draw.js";
import { Model } from "./model.js";
import { NO_WORD, read } from "./numbers.js";
import { GUTTER } from "./picture.js";
import { Teller, element, grouped, number, ofHeads, partNames, selection, verdict } from "./tell.js";
import { followTheme, readTheme } from "./theme.js";

const byId = (id) => document.getElementById(id);

/** The most rows of a picture of numbers of heads. */
const MOST_ROWS = 256;

class Page {
  constructor(model) {
    this.model = model;
    this.view = new View(model.steps);
    this.opensAt = model.firstNotable() >= 0 ? model.firstNotable() : firstWanted(model);
    this.selected = this.opensAt;
    this.word = -1;
    this.pictures = [];
    this.theme = readTheme();
    this.teller = new Teller(model, {
      selectStep: (step) => this.select(step, true),
      selectWord: (word) => this.selectWord(word),
    });
    this.#tell();
    this.#layOut();
    this.#listen();
    this.#resize();
    this.select(this.selected);
  }

  #tell() {
    const { about } = this.model;
    byId("title").textContent = about.title;
    document.title = `${about.title}: sparsam inspect`;
    byId("facts").textContent = about.facts.map(([name, value]) => `${name} ${value}`).join(" · ");
    byId("verdict").textContent = verdict(this.model);
    if (this.model.isExcerpt) {
      byId("selection").hidden = false;
      byId("selection").textContent = selection(this.model);
    }
    if (about.summarised.length > 0) {
      byId("summarised").hidden = false;
      byId("summarised").textContent =
        `This sequence is long, so that some of it is summarised: ${about.summarised.join("; ")}. Where several steps share a pixel, the number farthest from 0 is shown.`;
    }
    const put = this.model.areProbabilities
      ? "the probability that the network gave to each output"
      : "what the network put out";
    byId("sequence-about").textContent = about.targets
      ? `Time runs from left to right: what came in, what was wanted, ${put}, and how far off it was.`
      : `Time runs from left to right: what came in, and ${put}.`;
    if (this.model.hasNumbers) {
      byId("first-notable").textContent = "Largest error";
      byId("previous-notable").textContent = "Larger error";
      byId("next-notable").textContent = "Smaller error";
      byId("notable").textContent = "n and p next smaller and larger error";
    }
    byId("of-steps").textContent = `of 0 to ${grouped(this.model.allSteps - 1)}`;
    byId("step-number").max = this.model.allSteps - 1;
  }

  #layOut() {
    const { model } = this;
    const { arrays, about } = model;
    const range = (values) => {
      let [least, largest] = [0, 0];
      for (const value of values) {
        if (value < least) least = value;
        if (value > largest) largest = value;
      }
      // Around 0 if there are negative ones.
      if (least < 0) return [-Math.max(largest, -least), Math.max(largest, -least)];
      return [0, largest || 1];
    };
    const add = (parent, caption, picture) => {
      parent.append(element("p", { class: "caption" }, caption));
      const made = picture();
      this.pictures.push(made);
      return made;
    };
    const sequence = byId("sequence");
    const axis = (parent) => this.pictures.push(new Axis(parent, model));
    axis(sequence);
    const names = (given, width, word) => Array.from({ length: width }, (_, row) => given[row] ?? `${word} ${row}`);
    const strip = (parent, caption, name, options) =>
      add(parent, caption, () => {
        const { values, width } = options.array ?? arrays[name];
        return new Strip(parent, {
          label: `${caption}: ${width} rows over ${model.steps} steps`,
          values,
          width,
          ranges: range(values),
          ...options,
        });
      });
    const outputs = names(about.output_names, model.outputSize, about.targets === "classes" ? "class" : "output");
    if (model.has("inputs")) {
      const options = { names: names(about.input_names, model.inputSize, "input") };
      if (model.hasTokens) {
        const tokens = Float32Array.from(arrays.inputs.values, (token) => (token === NO_WORD ? -1 : token));
        Object.assign(options, {
          array: { values: tokens, width: model.inputSize },
          ranges: [-1, range(tokens)[1]],
          colours: COLOURS.sequential,
          tell: (token) => (token < 0 ? "" : this.teller.tokenName(token)),
        });
      }
      strip(sequence, "Inputs", "inputs", options);
    }
    if (about.targets === "bits") strip(sequence, "Targets", "targets", { names: outputs, ranges: [0, 1] });
    // Of one range, so that equal numbers have equal colours.
    const both = model.hasNumbers ? extents(range(arrays.targets.values), range(arrays.outputs.values)) : null;
    if (model.hasNumbers) strip(sequence, "Targets", "targets", { names: outputs, ranges: both });
    if (about.targets === "classes") {
      const values = new Float32Array(model.steps * model.outputSize);
      arrays.classes.values.forEach((wanted, step) => {
        if (model.isWanted(step)) values[step * model.outputSize + wanted] = 1;
      });
      strip(sequence, "Targets", "classes", {
        array: { values, width: model.outputSize },
        names: outputs,
        ranges: [0, 1],
      });
    }
    const what = model.areProbabilities ? "Outputs, as probabilities" : "Outputs";
    const ofOutputs = model.areProbabilities ? [0, 1] : both;
    strip(sequence, what, "outputs", { names: outputs, ...(ofOutputs ? { ranges: ofOutputs } : {}) });
    if (model.hasNumbers) {
      strip(sequence, "Errors: how far the output farthest off is from its target", "errors", {
        array: { values: model.errors, width: 1 },
        names: [`0 to ${number(about.errors?.largest ?? 0)}`],
        ranges: [0, about.errors?.largest || 1],
        colours: COLOURS.errors,
        rowHeight: 24,
      });
    } else if (about.targets) {
      const isWrong = Float32Array.from(model.wrongBits, (count) => (count > 0 ? 1 : 0));
      const values = new Float32Array(2 * model.steps);
      for (let step = 0; step < model.steps; step++) values.set([model.errors[step], isWrong[step]], 2 * step);
      strip(
        sequence,
        `Errors: how far the ${model.outputUnit} farthest off is from its target, and whether the output is wrong`,
        "errors",
        {
          array: { values, width: 2 },
          names: ["error", "wrong"],
          ranges: [0, 1],
          colours: COLOURS.errors,
        },
      );
    }

    byId("panel-memory").hidden = byId("panel-word").hidden = !model.hasMemory;
    if (model.hasMemory) {
      axis(byId("memory"));
      this.words = new Words(byId("memory"), model);
      this.pictures.push(this.words);
      const entries = [
        ["write", "write"],
        ["read", "read, and the line to the step that wrote the word"],
      ];
      if (!model.hasNumbers && !model.hasTokens) {
        entries.push([
          "wanted",
          "what should have been read: the word that the step wrote whose input equals the target",
        ]);
      }
      if (model.has("forward_words")) {
        entries.push([
          "write",
          "thin line: words in the order in which they were written, as temporal links join them",
        ]);
        entries.push(["read", "thick line from the step before: read along a temporal link"]);
      }
      byId("legend").replaceChildren(...entries.map(([kind, text]) => element("span", { class: kind }, text)));
    }

    const heads = byId("heads");
    let hasHeads = false;
    for (const [name, array] of Object.entries(arrays)) {
      const title = ofHeads(name, array);
      if (!title || array.width > MOST_ROWS) continue;
      if (!hasHeads) axis(heads);
      hasHeads = true;
      const [, count, parts = 1] = array.shape;
      const ranges = Array.from({ length: array.width }, (_, row) => extent(array, row));
      const rows = Array.from({ length: array.width }, (_, row) => {
        const part = parts > 1 ? ` ${partNames(name)[row % parts] ?? ""}` : "";
        const head = count > 1 ? ` ${Math.floor(row / parts) + 1}` : "";
        return `${head}${part}  ${ranges[row].map((value) => value.toFixed(2)).join(" to ")}`.trim();
      });
      strip(heads, `${title[0].toUpperCase()}${title.slice(1)}${count > 1 ? ", by head" : ""}`, name, {
        names: rows,
        ranges,
        colours: COLOURS.sequential,
        rowHeight: 16,
      });
    }
    byId("panel-heads").hidden = !hasHeads;

    const dense = byId("dense");
    const pictures = Object.entries(arrays).filter(
      ([name, { shape }]) =>
        /(_weights|^usage)$/.test(name) && shape.length === 3 && !(name.replace("_weights", "_words") in arrays),
    );
    byId("panel-dense").hidden = pictures.length === 0;
    for (const [name, array] of pictures) {
      const [, count, words] = array.shape;
      for (let head = 0; head < count; head++) {
        const rows = Array.from({ length: words }, (_, word) => head * words + word);
        const title = name.replaceAll("_", " ");
        const caption = `${title[0].toUpperCase()}${title.slice(1)}${count > 1 ? `, head ${head + 1}` : ""}`;
        const names = Array.from({ length: words }, (_, word) => `word ${word}`);
        strip(dense, caption, name, { rows, names, rowHeight: Math.max(1, Math.min(8, Math.floor(256 / words))) });
      }
    }

    byId("panel-hidden").hidden = !model.has("hidden_units");
    if (model.has("hidden_units")) {
      axis(byId("hidden"));
      strip(byId("hidden"), "Hidden units", "hidden_units", { names: names([], arrays.hidden_units.width, "unit") });
    }

    byId("panel-ring").hidden = !model.hasRing;
    if (!byId("panel-ring").hidden) {
      this.ring = new Ring(byId("ring"));
      byId("ring").append(element("p", { id: "ring-text" }));
    }
  }

  #listen() {
    const { model } = this;
    const on = (id, act) => byId(id).addEventListener("click", act);
    on("first-notable", () => this.#toNotable(model.firstNotable()));
    on("previous-notable", () => this.#toNotable(model.previousNotable(this.selected)));
    on("next-notable", () => this.#toNotable(model.nextNotable(this.selected)));
    on("back", () => this.select(this.selected - 1, true));
    on("on", () => this.select(this.selected + 1, true));
    on("zoom-in", () => this.zoomBy(2));
    on("zoom-out", () => this.zoomBy(0.5));
    on("zoom-all", () => this.zoomTo(0, model.steps));
    byId("step-number").addEventListener("change", (event) => {
      const asked = Number(event.target.value);
      if (Number.isInteger(asked)) this.select(model.stepOf(asked), true);
    });
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input")) return;
      const act = {
        ArrowLeft: () => this.select(this.selected - 1, true),
        ArrowRight: () => this.select(this.selected + 1, true),
        n: () => this.#toNotable(model.nextNotable(this.selected)),
        p: () => this.#toNotable(model.previousNotable(this.selected)),
        "+": () => this.zoomBy(2),
        "=": () => this.zoomBy(2),
        "-": () => this.zoomBy(0.5),
        0: () => this.zoomTo(0, model.steps),
      }[event.key];
      if (act) {
        event.preventDefault();
        act();
      }
    });
    this.zoom = zoom()
      .scaleExtent([1, Math.max(1, model.steps / 6)])
      .extent(() => [
        [GUTTER, 0],
        [this.view.width, 1],
      ])
      .filter((event) => !event.button && (event.type !== "wheel" || !event.altKey))
      .on("zoom", (event) => this.#zoomed(event.transform, event.sourceEvent));
    for (const picture of this.pictures) {
      const { canvas } = picture;
      select(canvas).call(this.zoom).on("dblclick.zoom", null);
      canvas.addEventListener("click", (event) => this.#clicked(picture, event));
      canvas.addEventListener("pointermove", (event) => this.#pointed(picture, event));
    }
    this.ring?.canvas.addEventListener("click", (event) => this.selectWord(this.ring.wordAt(event.offsetX)));
    const seen = new IntersectionObserver(
      (entries) => {
        for (const { target, isIntersecting } of entries) {
          const picture = this.pictures.find((picture) => picture.canvas === target);
          picture.isSeen = isIntersecting;
        }
        this.draw();
      },
      { rootMargin: "200px" },
    );
    for (const picture of this.pictures) seen.observe(picture.canvas);
    new ResizeObserver(() => this.#resize()).observe(byId("sequence"));
    followTheme("theme", () => {
      this.theme = readTheme();
      this.draw();
    });
  }

  #clicked(picture, event) {
    if (event.offsetX < GUTTER && picture !== this.words) return;
    if (event.offsetX >= GUTTER) this.select(this.view.stepAt(event.offsetX));
    if (picture === this.words) {
      const word = this.words.wordAt(event.offsetY);
      if (word >= 0) this.selectWord(word);
    }
  }

  #pointed(picture, event) {
    if (event.offsetX < GUTTER || event.buttons) return;
    const step = this.view.stepAt(event.offsetX);
    let text = `Step ${grouped(this.model.numberOf(step))}`;
    if (picture instanceof Strip) {
      const { name, value } = picture.valueAt(step, event.offsetY);
      text += `, ${picture.label.split(":")[0].toLowerCase()}, ${name.split("  ")[0]}: ${picture.tell?.(value) ?? number(value)}`;
    } else if (picture === this.words) {
      const word = picture.wordAt(event.offsetY);
      if (word >= 0) {
        const writer = this.model.mainWriter(word, step);
        text += `, word ${grouped(word)}: ${writer >= 0 ? `holds what step ${grouped(this.model.numberOf(writer))} wrote` : this.model.about.continued ? "not written in this trace so far" : "not yet written"}`;
      }
    }
    byId("readout").textContent = text;
  }

  #toNotable(step) {
    if (step >= 0) this.select(step, true);
  }

  /** Selects a step, and moves there if asked. */
  select(step, isFollowed = false) {
    const { model } = this;
    this.selected = Math.max(0, Math.min(model.steps - 1, step));
    const now = this.selected;
    byId("step-number").value = model.numberOf(now);
    byId("h-step").textContent = `Step ${grouped(model.numberOf(now))}`;
    byId("why").replaceChildren(...this.teller.why(now));
    byId("tables").replaceChildren(...this.teller.tables(now));
    byId("live").textContent = this.teller.headline(now);
    byId("first-notable").disabled = model.firstNotable() < 0;
    byId("previous-notable").disabled = model.previousNotable(now) < 0;
    byId("next-notable").disabled = model.nextNotable(now) < 0;
    byId("back").disabled = now === 0;
    byId("on").disabled = now === model.steps - 1;
    const strongest = model.hasMemory ? model.pairs("read", now).toSorted((a, b) => b.weight - a.weight)[0] : undefined;
    if (this.word < 0 && strongest) this.selectWord(strongest.word);
    if (isFollowed) {
      const [from, to] = this.view.span();
      if (now < from || now + 1 > to) this.zoomTo(now + 0.5 - (to - from) / 2, now + 0.5 + (to - from) / 2);
    }
    this.draw();
  }

  /** Shows the life of a word. */
  selectWord(word) {
    if (word < 0) return;
    this.word = word;
    byId("word").replaceChildren(...this.teller.word(word));
    this.draw();
  }

  /** Brings the steps from one to another into view. */
  zoomTo(from, to) {
    const { view, model } = this;
    const width = view.width - GUTTER;
    const k = Math.max(1, Math.min(model.steps / 6, model.steps / Math.max(1, to - from)));
    const x = GUTTER - (GUTTER + (from / model.steps) * width) * k;
    this.#zoomed({ k, x }, null);
  }

  /** Zooms around the selected step if that is in view, else around the middle. */
  zoomBy(factor) {
    const [from, to] = this.view.span();
    const middle = this.selected >= from && this.selected < to ? this.selected + 0.5 : (from + to) / 2;
    this.zoomTo(middle - (middle - from) / factor, middle + (to - middle) / factor);
  }

  #zoomed({ k, x }, source) {
    const { view } = this;
    // No step lies outside of the canvas that could lie in it.
    const [left, right] = [GUTTER * (1 - k), view.width * (1 - k)];
    view.transform = { k, x: Math.max(right, Math.min(left, x)) };
    const transform = zoomIdentity.translate(view.transform.x, 0).scale(k);
    for (const { canvas } of this.pictures) canvas.__zoom = transform;
    view.moving = source !== null;
    clearTimeout(this.rest);
    if (view.moving) {
      this.rest = setTimeout(() => {
        view.moving = false;
        this.draw();
      }, 120);
    }
    this.draw();
  }

  #resize() {
    const width = byId("sequence").clientWidth;
    if (width > 0 && width !== this.view.width) {
      const [from, to] = this.view.span();
      this.view.width = width;
      this.zoomTo(from, to);
    }
  }

  /** Draws all that is seen before the next frame, once however often it is asked. */
  draw() {
    this.frame ??= requestAnimationFrame(() => this.drawNow());
  }

  drawNow() {
    cancelAnimationFrame(this.frame);
    this.frame = undefined;
    const { view, selected, theme } = this;
    for (const picture of this.pictures) if (picture.isSeen) picture.draw(view, selected, theme, this.word);
    const ringOf = `${selected} ${view.width} ${theme.paper}`;
    if (this.ring && this.ringOf !== ringOf) this.#drawRing();
    this.ringOf = ringOf;
  }

  #drawRing() {
    const { view, selected, theme, model } = this;
    // While a key is held the ring follows once it rests: it is told from the beginning of the sequence.
    clearTimeout(this.ringRest);
    const tell = () => {
      const order = model.ring(selected);
      this.ring.draw(view, order, selected, theme);
      const untouched = model.about.memory_size - order.length;
      const oldest = order[0];
      const size = model.about.memory_size;
      const rounded =
        model.about.summarised.length > 0
          ? " This is nearly so: small weights, which count too, are not in this page."
          : "";
      byId("ring-text").textContent =
        (untouched > 0
          ? `${grouped(untouched)} of ${grouped(size)} words were never used; one of them is erased next.`
          : `All ${grouped(size)} words are in use; word ${grouped(oldest.word)}, last used at step ${grouped(oldest.step)}, is erased next.`) +
        rounded;
    };
    if (model.steps > 5000) this.ringRest = setTimeout(tell, 100);
    else tell();
  }
}

function firstWanted(model) {
  for (let step = 0; step < model.steps; step++) if (model.isWanted(step)) return step;
  return 0;
}

/** The least and the largest of two ranges. */
function extents([least, largest], [otherLeast, otherLargest]) {
  const [from, to] = [Math.min(least, otherLeast), Math.max(largest, otherLargest)];
  return from < 0 ? [-Math.max(to, -from), Math.max(to, -from)] : [from, to];
}

/** The least and the largest of a row's values. */
function extent({ values, width }, row) {
  let [least, largest] = [Infinity, -Infinity];
  for (let place = row; place < values.length; place += width) {
    least = Math.min(least, values[place]);
    largest = Math.max(largest, values[place]);
  }
  return [least, largest];
}

async function open() {
  const started = performance.now();
  const about = JSON.parse(byId("about").textContent);
  const model = new Model(about, await read(about, byId("numbers").textContent));
  byId("numbers").remove();
  const page = new Page(model);
  page.drawNow();
  page.opened = performance.now() - started;
  return page;
}

/**
 * For programs that look at the page: `ready` is a promise of the page, whose `model` has the numbers (`arrays`: `values` and
 * `shape` by name; `wrong`; `writersOf(word, step)`; `explain(step)`; `ring(step)`), and whose `select(step)`,
 * `selectWord(word)`, `zoomTo(from, to)` and `drawNow()` do what mouse and keyboard do. Steps count those that are shown;
 * `model.numberOf(step)` and `model.stepOf(number)` know the numbers in the whole sequence.
 */
window.sparsam = { ready: open() };
window.sparsam.ready.then(
  (page) => {
    window.sparsam.page = page;
  },
  (error) => {
    const failure = byId("failure");
    failure.hidden = false;
    failure.textContent = `This page cannot be shown: ${error.message}. Write it anew; a browser of 2023 or later opens it.`;
  },
);
