// Sentences and tables. Text of data becomes text nodes and nothing else.

import { LEAST_IN_TABLES, NOTABLE, STRONGEST } from "./model.js";
import { NO_WORD } from "./numbers.js";

/** An element with attributes and children; a text becomes a text node. */
export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) made.addEventListener(key.slice(2), value);
    else if (value !== undefined) made.setAttribute(key, value);
  }
  made.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return made;
}

export const number = (value) =>
  value === 0 ? "0" : Math.abs(value) < 0.0095 || Math.abs(value) >= 1e5 ? value.toPrecision(2) : value.toFixed(2);
export const grouped = (value) => value.toLocaleString("en-US");
const several = (count, one) => `${grouped(count)} ${one}${count === 1 ? "" : "s"}`;
const joined = (parts) =>
  parts.length < 2 ? parts.join("") : `${parts.slice(0, -1).join(", ")} and ${parts[parts.length - 1]}`;

/** Numbers in a row, no more than a line has room for. */
const someNumbers = (values) => [...values.subarray(0, 8)].map(number).join(" ") + (values.length > 8 ? " …" : "");

/** Which steps of a sequence are shown, where not all are. */
export function selection({ isCut, about: { selection } }) {
  const { steps, selected, shown } = selection;
  const sides = "side by side; their numbers are those in the whole sequence";
  const rest =
    "At all others nothing was written, and no word was erased that holds a notable write; what was read there is left out.";
  if (isCut)
    return `Something is written or wanted at ${grouped(selected)} of ${grouped(steps)} steps. Shown are the last ${grouped(shown)} of these, ${sides}. What was written before is not known here. ${rest}`;
  return `Of ${several(steps, "step")} those are shown at which something is written or wanted, ${grouped(shown)} of them, ${sides}. ${rest}`;
}

/** What is told of a whole sequence. */
export function verdict(model) {
  const { about, wrong, wrongTotal, wanted, errors } = model;
  const unit = about.targets === "bits" ? "bit" : "class";
  const units = about.targets === "bits" ? "bits" : "classes";
  if (!about.targets || wanted === 0) return "Nothing is known of what the outputs should be.";
  if (about.errors) {
    const { largest, step, mean_squared: squared } = about.errors;
    return `Of ${several(wanted, "number")} wanted the largest error is ${number(largest)}, at step ${grouped(step)}; the mean squared error is ${number(squared)}.`;
  }
  if (wrongTotal === 0) {
    const most = errors.reduce((most, error) => Math.max(most, error), 0);
    const all = `All ${several(wanted, unit)} wanted are right`.replace("classs", "classes");
    return model.isCut ? `${all}.` : `${all}; the largest error of a probability is ${number(most)}.`;
  }
  const of = `${grouped(wrongTotal)} of ${grouped(wanted)} ${units} are wrong`;
  if (wrong.length === 0) return `${of}, none of them at a step that is shown.`;
  if (model.isCut)
    return `${of}, ${several(wrong.length, "step")} of those shown among them; the first is step ${grouped(model.numberOf(wrong[0]))}.`;
  return `${of}, at ${several(wrong.length, "step")}; the first is step ${grouped(model.numberOf(wrong[0]))}.`;
}

export class Teller {
  constructor(model, { selectStep, selectWord }) {
    Object.assign(this, { model, selectStep, selectWord });
  }

  stepButton(step) {
    return element(
      "button",
      { type: "button", class: "link", onclick: () => this.selectStep(step) },
      `step ${grouped(this.model.numberOf(step))}`,
    );
  }

  wordButton(word) {
    return element(
      "button",
      { type: "button", class: "link", onclick: () => this.selectWord(word) },
      `word ${grouped(word)}`,
    );
  }

  inputName(channel) {
    return this.model.about.input_names[channel] ?? `input ${channel}`;
  }

  tokenName(token) {
    return this.model.about.tokens[token] ?? `token ${token}`;
  }

  outputName(channel) {
    const names = this.model.about.output_names;
    return names[channel] ?? (this.model.about.targets === "classes" ? `class ${channel}` : `output ${channel}`);
  }

  /** What came in at a step, in a few words. */
  input(step) {
    const { model } = this;
    if (!model.has("inputs")) return "not in this trace";
    const values = model.at("inputs", step);
    if (model.hasTokens) {
      const words = [...values].filter((token) => token !== NO_WORD);
      return words.length > 0 ? `“${words.map((token) => this.tokenName(token)).join(" ")}”` : "nothing";
    }
    const set = [...values.keys()].filter((channel) => values[channel] !== 0);
    if (set.length === 0) return "nothing (all zero)";
    const isPlain = (channel) => /^bit \d+$/.test(model.about.input_names[channel] ?? "bit 0");
    const plain = [...values.keys()].filter(isPlain).map((channel) => values[channel]);
    const named = set.filter((channel) => !isPlain(channel));
    const parts = named.map((channel) =>
      values[channel] === 1 ? this.inputName(channel) : `${this.inputName(channel)} ${number(values[channel])}`,
    );
    if (plain.some((value) => value !== 0)) {
      const areBits = plain.every((value) => value === 0 || value === 1);
      parts.unshift(
        areBits ? plain.join("") : plain.slice(0, 16).map(number).join(" ") + (plain.length > 16 ? " …" : ""),
      );
    }
    // A word of a text may be a full stop.
    if (set.length === 1 && plain.length === 0) return `“${parts[0]}”`;
    return parts.join(", ");
  }

  /** What was wanted at a step; none if nothing was. */
  target(step) {
    const { model } = this;
    if (!model.isWanted(step)) return null;
    if (model.about.targets === "classes") return this.outputName(model.arrays.classes.values[step]);
    if (model.hasNumbers) return someNumbers(model.at("targets", step));
    return [...model.at("targets", step)].map((bit) => (bit > 0.5 ? "1" : "0")).join("");
  }

  /** What the network answered at a step. */
  output(step) {
    const { model } = this;
    const values = model.at("outputs", step);
    if (model.about.targets === "bits") return [...values].map((value) => (value > 0.5 ? "1" : "0")).join("");
    if (model.about.targets === "classes") {
      const best = model.answer(step);
      return `${this.outputName(best)} (${number(values[best])})`;
    }
    return someNumbers(values);
  }

  /** One sentence for the live region. */
  headline(step) {
    const { model } = this;
    const target = this.target(step);
    const answer = target === null ? "" : ` Wanted ${target}, put out ${this.output(step)}: ${this.judgement(step)}.`;
    const [from] = model.hasMemory ? model.sources(step) : [];
    const read = from && from.step >= 0 ? ` Reads most of what step ${model.numberOf(from.step)} wrote.` : "";
    return `Step ${model.numberOf(step)}. Input: ${this.input(step)}.${answer}${read}`;
  }

  judgement(step) {
    const { model } = this;
    if (model.hasNumbers) return `off by ${number(model.errors[step])}${model.outputSize > 1 ? " at most" : ""}`;
    const wrong = model.wrongBits[step];
    if (wrong === 0) return "right";
    return model.about.targets === "classes" ? "wrong" : `${several(wrong, "bit")} wrong`;
  }

  /** The explanation of a step. */
  why(step) {
    const { model } = this;
    const parts = [];
    const line = (...children) => parts.push(element("p", {}, ...children));
    line("Input: ", this.input(step), ".");
    const target = this.target(step);
    if (target === null) {
      line(model.about.targets ? "No output is wanted here." : "Output: " + this.output(step) + ".");
    } else {
      const wrong = model.wrongBits[step] > 0;
      line(
        `Wanted ${target}, put out ${this.output(step)}: `,
        element("span", { class: model.hasNumbers ? undefined : wrong ? "wrong" : "right" }, this.judgement(step)),
        wrong ? ` (${this.wrongOnes(step)}).` : ".",
      );
    }
    if (!model.hasMemory) {
      line("This network has no memory: what it knows of earlier steps is in its hidden units.");
      return parts;
    }
    const { origin, sources, written, reason, read, erasedAt } = model.explain(step);
    const of = sources
      .filter(({ weight }) => weight >= 0.1)
      .slice(0, 4)
      .map(({ step: from, weight, reads }) => {
        const words = [...new Set(reads.map(({ word }) => word))];
        const heads = [...new Set(reads.map(({ head }) => head + 1))].sort((a, b) => a - b);
        const who = `head${heads.length > 1 ? "s" : ""} ${joined(heads)}`;
        const inputs = from >= 0 && from !== step ? [", whose input was ", this.input(from)] : [];
        const writer =
          from === step
            ? ["what this very step wrote"]
            : from >= 0
              ? ["what ", this.stepButton(from), " wrote"]
              : [
                  model.about.continued
                    ? "words that were written before this trace, or never"
                    : "words that no step wrote with a notable weight",
                ];
        return element(
          "li",
          {},
          "reads ",
          writer,
          inputs,
          ` (weight ${number(weight)}${heads.length > 1 ? " in all" : ""}, ${who}, `,
          words.slice(0, 3).flatMap((word, place) => [place ? ", " : "", this.wordButton(word)]),
          words.length > 3 ? ", …)" : ")",
        );
      });
    if (of.length > 0) parts.push(element("ul", {}, ...of));
    else line(`No word is read with a notable weight (${NOTABLE} or more).`);
    // Where to read a number from is not told by inputs that equal it, and an answer is a word of many sentences.
    if (target === null || model.hasNumbers || model.hasTokens) return parts;
    if (origin < 0) {
      const why = model.isZeroTarget(step)
        ? "The target is all zero, which cannot be told from no input"
        : `No earlier input${model.isExcerpt ? " that is shown" : model.about.continued ? " of this trace" : ""} equals this target`;
      line(`${why}, so that no step can be named as the one to read from.`);
      return parts;
    }
    const wrong = model.wrongBits[step] > 0;
    const from = ["The target equals the input of ", this.stepButton(origin)];
    const words = written
      ? written.slice(0, 3).flatMap(({ word }, place) => [place ? ", " : "", this.wordButton(word)])
      : [];
    switch (reason) {
      case "nothing-written":
        line(
          ...from,
          ", which wrote nothing notable: ",
          wrong ? "there was nothing to read." : "the controller remembered it without the memory.",
        );
        break;
      case "erased":
        line(
          ...from,
          ", which wrote ",
          words,
          "; that was erased at ",
          this.stepButton(erasedAt),
          wrong ? ": what should have been read was lost." : ".",
        );
        break;
      case "read":
        line(
          ...from,
          ", which wrote ",
          words,
          `; this was read here, with weight ${number(read)}${model.heads > 1 ? " over all heads" : ""}. `,
          wrong
            ? "So the right word was found: what it holds, or what the output layer makes of it, is not good enough."
            : "The right word was found.",
        );
        break;
      default: {
        const [most] = sources;
        const instead =
          most && most.step >= 0
            ? [" What was read instead was mostly written at ", this.stepButton(most.step), "."]
            : [];
        line(
          ...from,
          ", which wrote ",
          words,
          `; ${wrong ? "most likely this, or what was written soon after, should have been read here, but it has" : "this has"} weight ${number(read)} here.`,
          instead,
          wrong ? "" : " The output is right all the same: the network may keep its words in another way.",
        );
      }
    }
    return parts;
  }

  /** Which bits, or which class instead of which. */
  wrongOnes(step) {
    const { model } = this;
    const values = model.at("outputs", step);
    if (model.about.targets === "classes") {
      const wanted = model.arrays.classes.values[step];
      return `${this.outputName(wanted)} had the ${model.outputUnit} ${number(values[wanted])}`;
    }
    const targets = model.at("targets", step);
    const bits = [...values.keys()].filter((bit) => values[bit] > 0.5 !== targets[bit] > 0.5);
    const named = bits.slice(0, 12).map((bit) => `${this.outputName(bit)}: ${number(values[bit])}`);
    return named.join(", ") + (bits.length > 12 ? ", …" : "");
  }

  #table(caption, heads, rows) {
    return element(
      "table",
      {},
      element("caption", {}, caption),
      element(
        "thead",
        {},
        element(
          "tr",
          {},
          heads.map((head) => element("th", { scope: "col" }, head)),
        ),
      ),
      element(
        "tbody",
        {},
        rows.map((row) =>
          element(
            "tr",
            {},
            row.map((cell) => element("td", {}, cell)),
          ),
        ),
      ),
    );
  }

  #writers(word, step) {
    const writers = this.model.writersOf(word, step);
    if (writers.length === 0) return [this.model.noWriter];
    return writers.flatMap(({ step: from, weight }, place) => [
      place ? ", " : "",
      this.stepButton(from),
      ` (${number(weight)})`,
    ]);
  }

  /** The tables of a step: reads, writes, gates. */
  tables(step) {
    const { model } = this;
    if (!model.hasMemory) return [];
    const made = [];
    const linked = ["backward", "content", "forward"].every((mode) => model.has(`${mode}_weights`));
    const modes = (head, word) =>
      ["backward", "content", "forward"]
        .map((mode) => {
          const pair = model.pairs(mode, step).find((pair) => pair.head === head && pair.word === word);
          return pair ? `${mode} ${number(pair.weight)}` : null;
        })
        .filter((text) => text)
        .join(", ");
    const pairs = (kind) => {
      const all = model.pairs(kind, step);
      const shown = all.filter(({ weight }) => weight >= LEAST_IN_TABLES);
      const rest = all.length - shown.length;
      if (!model.has(`${kind}_words`)) return [shown, `; of each head the ${STRONGEST} largest weights at most`];
      const note = rest > 0 ? `; ${several(rest, "smaller weight")} below ${LEAST_IN_TABLES}` : "";
      return [shown, note];
    };
    const [read, readRest] = pairs("read");
    const [write, writeRest] = pairs("write");
    const reads = read.map(({ head, word, weight }) => [
      `${head + 1}`,
      this.wordButton(word),
      number(weight),
      this.#writers(word, step),
      ...(linked ? [modes(head, word)] : []),
    ]);
    const readHeads = ["head", "word", "weight", "written by", ...(linked ? ["found by"] : [])];
    made.push(this.#table(`Words read${readRest}`, readHeads, reads));
    const erased = model.has("erased_words") ? [...model.at("erased_words", step)] : [];
    const writes = write.map(({ head, word, weight }) => [
      `${head + 1}`,
      this.wordButton(word),
      number(weight),
      erased.includes(word) ? "erased first" : step > 0 ? this.#writers(word, step - 1) : model.noWriter,
    ]);
    made.push(this.#table(`Words written${writeRest}`, ["head", "word", "weight", "held what was written by"], writes));
    const lone = [];
    for (const [name, array] of Object.entries(model.arrays)) {
      const title = ofHeads(name, array);
      if (!title) continue;
      const values = [...model.at(name, step)];
      const [, heads, parts] = array.shape;
      for (let head = 0; head < heads; head++) {
        const of = parts ? values.slice(head * parts, (head + 1) * parts) : [values[head]];
        const names = parts ? partNames(name) : [""];
        lone.push([
          title,
          `${head + 1}`,
          of.map((value, part) => `${names[part] ?? ""} ${number(value)}`.trim()).join(", "),
        ]);
      }
    }
    if (lone.length > 0) made.push(this.#table("Gates and strengths", ["what", "head", "value"], lone));
    return made;
  }

  /** The life of a word. */
  word(word, most = 40) {
    const { model } = this;
    if (word < 0) return [element("p", {}, "No word is chosen.")];
    const writes = model.life(word, model.writes);
    const reads = model.life(word, model.reads);
    const of = model.isExcerpt ? " of those shown" : "";
    const list = (what, events) => {
      const steps = [];
      for (const { step, weight } of events) {
        const last = steps[steps.length - 1];
        if (last && last.step === step) last.weight = Math.max(last.weight, weight);
        else steps.push({ step, weight });
      }
      const shown = steps
        .slice(0, most)
        .flatMap(({ step, weight }, place) => [place ? ", " : "", this.stepButton(step), ` (${number(weight)})`]);
      const rest = steps.length > most ? ` and ${grouped(steps.length - most)} more` : "";
      return element(
        "p",
        {},
        `${what} at ${several(steps.length, "step")}${of}${steps.length ? ": " : "."}`,
        shown,
        rest,
      );
    };
    const { erased, rank } = model;
    const place = rank.get(word);
    const erasures = place === undefined ? 0 : erased.first[place + 1] - erased.first[place];
    return [
      element("h3", {}, `Word ${grouped(word)}`),
      list("Written", writes),
      list("Read", reads),
      element("p", {}, `Erased at ${several(erasures, "step")}${of}; weights below ${NOTABLE} are left out.`),
    ];
  }
}

const PARTS = {
  read_modes: ["backward", "content", "forward"],
  read_shifts: ["-1", "0", "+1"],
  write_shifts: ["-1", "0", "+1"],
};

export function partNames(name) {
  return PARTS[name] ?? [];
}

/** What a number of heads is called; none of other arrays. */
export function ofHeads(name, { shape }) {
  if (name.includes("_words") || name.includes("_weights") || name === "usage") return null;
  if (!/(_gates|_strengths|_sharpenings|_modes|_shifts)$/.test(name)) return null;
  if (shape.length > 2 && !PARTS[name]) return null;
  return name.replaceAll("_", " ").replace(/s$/, "");
}
