// What the page knows of a sequence: its numbers, and what follows from them. No drawing, no document.

import { NO_WORD } from "./numbers.js";

/** Reads and writes with a smaller weight are neither drawn nor told of. An excerpt is made for this one: see `excerpt.rs`. */
export const NOTABLE = 0.02;
/** Tables have no words with smaller weights. */
export const LEAST_IN_TABLES = 0.01;
/** Words of a dense memory that tables have at a step, for each head. */
export const STRONGEST = 8;

/** The first place in a rising array whose number is above `value`. */
export function above(array, value, start = 0, end = array.length) {
  while (start < end) {
    const middle = (start + end) >> 1;
    if (array[middle] > value) end = middle;
    else start = middle + 1;
  }
  return start;
}

/** Words below this have their rank in an array, which is several times as fast as a map. */
const IN_ARRAY = 1 << 24;

/** Words in the order in which they were added. */
class Ranks {
  constructor() {
    this.words = [];
    this.low = new Int32Array(1024).fill(-1);
    this.high = new Map();
  }

  add(word) {
    if (this.has(word)) return;
    if (word >= IN_ARRAY) {
      this.high.set(word, this.words.length);
    } else {
      if (word >= this.low.length) {
        const longer = new Int32Array(Math.max(2 * this.low.length, word + 1)).fill(-1);
        longer.set(this.low);
        this.low = longer;
      }
      this.low[word] = this.words.length;
    }
    this.words.push(word);
  }

  /** The place of a word; undefined if it was not added. */
  get(word) {
    if (word >= IN_ARRAY) return this.high.get(word);
    const rank = this.low[word];
    return rank >= 0 ? rank : undefined;
  }

  has(word) {
    return this.get(word) !== undefined;
  }
}

export class Model {
  constructor(about, arrays) {
    this.about = about;
    this.arrays = arrays;
    this.steps = about.steps;
    this.inputSize = arrays.inputs ? arrays.inputs.width : 0;
    this.outputSize = arrays.outputs.width;
    this.areProbabilities = about.outputs !== "numbers";
    /** Whether inputs are tokens: of a sentence several, filled up with `NO_WORD`. */
    this.hasTokens = about.tokens !== null;
    /** Whether steps are shown one beside the other that do not follow each other, and whether some of those were left out too. */
    this.isExcerpt = about.selection !== null;
    this.isCut = this.isExcerpt && about.selection.shown < about.selection.selected;
    /** The steps of the whole sequence. */
    this.allSteps = this.isExcerpt ? about.selection.steps : this.steps;
    this.outputUnit = this.areProbabilities ? "probability" : "output";
    // Others have words too, once they are summarised; and what was used before the trace, or between its steps, is not known.
    this.hasRing = ["sam", "sdnc"].includes(about.model) && !about.continued && !this.isExcerpt;
    /** What is said of a word that no step wrote. */
    this.noWriter = about.continued ? "no step of this trace notably" : "no step notably";
    this.#score();
    this.#gather();
    this.#findEqualInputs();
  }

  has(name) {
    return name in this.arrays;
  }

  /** The number that a step has in the whole sequence. Everywhere else steps are numbered as they are shown. */
  numberOf(step) {
    return this.isExcerpt ? this.arrays.step_numbers.values[step] : step;
  }

  /** The step of a number in the whole sequence, or the one that is nearest among those shown. */
  stepOf(number) {
    if (!this.isExcerpt) return number;
    const after = above(this.arrays.step_numbers.values, number);
    if (after === 0) return 0;
    if (after === this.steps) return this.steps - 1;
    return number - this.numberOf(after - 1) <= this.numberOf(after) - number ? after - 1 : after;
  }

  /** Whether a step is shown that follows another in the whole sequence, `by` steps later. */
  follows(step, by) {
    const other = step + by;
    return other >= 0 && other < this.steps && this.numberOf(other) === this.numberOf(step) + by;
  }

  /** The numbers of an array at a step. */
  at(name, step) {
    const { values, width } = this.arrays[name];
    return values.subarray(step * width, (step + 1) * width);
  }

  /** Whether something is wanted at a step. */
  isWanted(step) {
    if (this.about.targets === "bits" || this.about.targets === "numbers") return this.arrays.wanted.values[step] > 0;
    if (this.about.targets === "classes") return this.arrays.classes.values[step] !== NO_WORD;
    return false;
  }

  /** The class that has the largest output, as it was before anything was rounded. */
  answer(step) {
    return this.arrays.answers ? this.arrays.answers.values[step] : 0;
  }

  // Errors, and where outputs are wrong.
  #score() {
    const { about, arrays, steps, outputSize } = this;
    const { values: outputs } = arrays.outputs;
    this.errors = new Float32Array(steps);
    this.wrongBits = new Uint32Array(steps);
    this.wanted = 0;
    const wrong = [];
    for (let step = 0; step < steps; step++) {
      if (!this.isWanted(step)) continue;
      this.wanted += about.targets === "classes" ? 1 : outputSize;
      if (about.targets === "numbers") {
        // Taken before anything was rounded.
        this.errors[step] = arrays.errors.values[step];
      } else if (about.targets === "bits") {
        for (let bit = 0; bit < outputSize; bit++) {
          const place = step * outputSize + bit;
          const target = arrays.targets.values[place];
          this.errors[step] = Math.max(this.errors[step], Math.abs(outputs[place] - target));
        }
      } else {
        this.errors[step] = 1 - outputs[step * outputSize + arrays.classes.values[step]];
      }
      // Counted before anything was rounded.
      this.wrongBits[step] = arrays.wrong.values[step];
      if (this.wrongBits[step] > 0) wrong.push(step);
    }
    this.wrong = Uint32Array.from(wrong);
    this.wrongTotal = this.wrongBits.reduce((sum, count) => sum + count, 0);
    // Of the whole sequence, whatever is shown of it.
    if (this.isExcerpt) ({ wanted: this.wanted, wrong: this.wrongTotal } = about.selection);
  }

  /** Whether the targets are numbers, of which none is right or wrong. */
  get hasNumbers() {
    return this.about.targets === "numbers";
  }

  /** Steps at which numbers are wanted, by falling error, and the place of each step in this order. */
  get byError() {
    if (!this.#byError) {
      const steps = Array.from({ length: this.steps }, (_, step) => step).filter((step) => this.isWanted(step));
      const order = Uint32Array.from(steps).sort((a, b) => this.errors[b] - this.errors[a] || a - b);
      // What was rounded may hide which error is the largest.
      const largest = this.stepOf(this.about.errors.step);
      const first = order.indexOf(largest);
      if (first > 0 && this.numberOf(largest) === this.about.errors.step) {
        order.copyWithin(1, 0, first);
        order[0] = largest;
      }
      const placeOf = new Int32Array(this.steps).fill(-1);
      order.forEach((step, place) => (placeOf[step] = place));
      this.#byError = { order, placeOf };
    }
    return this.#byError;
  }

  #byError;

  /** What to look at first: the first wrong output or, of numbers, the largest error; -1 if there is none. */
  firstNotable() {
    if (this.hasNumbers) return this.about.errors ? (this.byError.order[0] ?? -1) : -1;
    return this.wrong.length > 0 ? this.wrong[0] : -1;
  }

  /** The first wrong output after a step or, of numbers, the next smaller error; -1 if there is none. */
  nextNotable(step) {
    if (this.hasNumbers) return this.#besideByError(step, 1);
    const place = above(this.wrong, step);
    return place < this.wrong.length ? this.wrong[place] : -1;
  }

  /** The last wrong output before a step or, of numbers, the next larger error; -1 if there is none. */
  previousNotable(step) {
    if (this.hasNumbers) return this.#besideByError(step, -1);
    const place = above(this.wrong, step - 1);
    return place > 0 ? this.wrong[place - 1] : -1;
  }

  #besideByError(step, by) {
    if (!this.about.errors) return -1;
    const { order, placeOf } = this.byError;
    return (placeOf[step] < 0 ? order[0] : order[placeOf[step] + by]) ?? -1;
  }

  /** Words with weights at a step, `kind` being read, write, content, forward or backward: the strongest first. */
  pairs(kind, step) {
    const weights = this.arrays[`${kind}_weights`];
    if (!weights) return [];
    const words = this.arrays[`${kind}_words`];
    const [, heads, places] = weights.shape;
    const found = [];
    for (let head = 0; head < heads; head++) {
      const start = (step * heads + head) * places;
      const of = [];
      for (let place = start; place < start + places; place++) {
        const weight = weights.values[place];
        const word = words ? words.values[place] : place - start;
        // A dense memory gives a weight to every word.
        if (word !== NO_WORD && (words ? weight > 0 : weight >= LEAST_IN_TABLES)) of.push({ head, word, weight });
      }
      of.sort((a, b) => b.weight - a.weight || a.word - b.word);
      found.push(...(words ? of : of.slice(0, STRONGEST)));
    }
    return found;
  }

  // All notable reads and writes in the order of steps, and in the order of words.
  #gather() {
    this.hasMemory = this.has("read_weights");
    this.heads = this.hasMemory ? this.arrays.read_weights.shape[1] : 0;
    this.writers = this.has("write_weights") ? this.arrays.write_weights.shape[1] : 0;
    this.reads = this.#events("read");
    this.writes = this.#events("write");
    const ranks = new Ranks();
    // The order of first use: in each step what is written, then what is read.
    let write = 0;
    let read = 0;
    for (let step = 0; step < this.steps; step++) {
      for (; write < this.writes.first[step + 1]; write++) ranks.add(this.writes.words[write]);
      for (; read < this.reads.first[step + 1]; read++) ranks.add(this.reads.words[read]);
    }
    this.words = Uint32Array.from(ranks.words);
    this.rank = ranks;
    for (const events of [this.reads, this.writes]) {
      events.ranks = events.words.map((word) => ranks.get(word));
      events.ofWord = byWord(events.ranks, this.words.length);
    }
    this.erased = {
      first: new Uint32Array(this.words.length + 1),
      order: new Uint32Array(0),
      steps: new Uint32Array(0),
    };
    if (this.has("erased_words")) {
      const { values, width } = this.arrays.erased_words;
      const kept = [];
      const wordRanks = [];
      values.forEach((word, place) => {
        if (ranks.has(word)) {
          kept.push(Math.floor(place / width));
          wordRanks.push(ranks.get(word));
        }
      });
      this.erased = { ...byWord(Uint32Array.from(wordRanks), this.words.length), steps: Uint32Array.from(kept) };
    }
  }

  #events(kind) {
    const weights = this.arrays[`${kind}_weights`];
    const first = new Uint32Array(this.steps + 1);
    if (!weights) {
      const none = new Uint32Array(0);
      return { steps: none, heads: none, words: none, weights: new Float32Array(0), first };
    }
    const words = this.arrays[`${kind}_words`];
    const [, heads, places] = weights.shape;
    let count = 0;
    for (let place = 0; place < weights.values.length; place++) if (weights.values[place] >= NOTABLE) count++;
    const events = {
      steps: new Uint32Array(count),
      heads: new Uint32Array(count),
      words: new Uint32Array(count),
      weights: new Float32Array(count),
      first,
    };
    let event = 0;
    let place = 0;
    for (let step = 0; step < this.steps; step++) {
      first[step] = event;
      for (let head = 0; head < heads; head++) {
        for (let number = 0; number < places; number++, place++) {
          const weight = weights.values[place];
          if (weight < NOTABLE) continue;
          events.steps[event] = step;
          events.heads[event] = head;
          events.words[event] = words ? words.values[place] : number;
          events.weights[event] = weight;
          event++;
        }
      }
    }
    first[this.steps] = event;
    return events;
  }

  /** When a word was last erased up to a step; -1 if never. */
  lastErased(word, step) {
    const rank = this.rank.get(word);
    if (rank === undefined) return -1;
    const { first, order, steps } = this.erased;
    for (let place = first[rank + 1] - 1; place >= first[rank]; place--) {
      if (steps[order[place]] <= step) return steps[order[place]];
    }
    return -1;
  }

  /**
   * The steps that wrote what a word holds after `step`, the latest first: `{ step, weight }`, no more than `most`. The NTM
   * and the DNC erase within each write, and which elements they erase is not traced: there the weight is what is left of
   * it if every later write of weight w erases all elements, 1 - w of what was there being kept.
   */
  writersOf(word, step, most = 4) {
    const rank = this.rank.get(word);
    const found = [];
    if (rank === undefined) return found;
    const { ofWord, steps, weights } = this.writes;
    const since = this.lastErased(word, step);
    const erasesAsItWrites = !this.has("erased_words");
    let left = 1;
    let { start, end } = span(ofWord, rank);
    while (start < end && steps[ofWord.order[end - 1]] > step) end--;
    for (let place = end - 1; place >= start && found.length <= most; place--) {
      const event = ofWord.order[place];
      if (steps[event] < since) break;
      const last = found[found.length - 1];
      const weight = left * weights[event];
      if (last && last.step === steps[event]) last.weight = Math.max(last.weight, weight);
      else if (weight >= NOTABLE) found.push({ step: steps[event], weight });
      if (erasesAsItWrites) left *= Math.max(0, 1 - weights[event]);
      if (left < NOTABLE) break;
    }
    return found.slice(0, most);
  }

  /** The step that wrote most of what a word holds after `step`: with the largest weight, the latest of such; -1 if none did. */
  mainWriter(word, step) {
    // Asked again and again for the selected step while pictures are drawn.
    if (this.#main.step !== step) this.#main = { step, of: new Map() };
    const { of } = this.#main;
    if (!of.has(word)) {
      let main = { step: -1, weight: 0 };
      for (const writer of this.writersOf(word, step, Infinity)) if (writer.weight > main.weight) main = writer;
      of.set(word, main.step);
    }
    return of.get(word);
  }

  #main = { step: -1, of: new Map() };

  /** Notable reads or writes of a word: `{ step, head, weight }` in the order of steps. */
  life(word, events) {
    const rank = this.rank.get(word);
    if (rank === undefined) return [];
    const { start, end } = span(events.ofWord, rank);
    return Array.from(events.ofWord.order.subarray(start, end), (event) => ({
      step: events.steps[event],
      head: events.heads[event],
      weight: events.weights[event],
    }));
  }

  // Steps whose input is what a target wants.
  #findEqualInputs() {
    const { about, arrays, steps, inputSize, outputSize } = this;
    const isOfBits = about.targets === "bits" && inputSize >= outputSize;
    const isOfClasses = about.targets === "classes" && inputSize === outputSize && !this.hasTokens;
    /** What stands for an input, or for a target; null for none. */
    this.inputKeys = new Array(steps).fill(null);
    this.targetKey = () => null;
    this.places = new Map();
    if (!arrays.inputs || !(isOfBits || isOfClasses)) return;
    const { values: inputs } = arrays.inputs;
    const bits = (values, start) => {
      let text = "";
      for (let bit = 0; bit < outputSize; bit++) text += values[start + bit] > 0.5 ? "1" : "0";
      return text;
    };
    for (let step = 0; step < steps; step++) {
      const given = inputs.subarray(step * inputSize, (step + 1) * inputSize);
      let key = null;
      if (isOfBits) {
        // Nothing came in, or a flag alone, if no bit is set.
        if (given.subarray(0, outputSize).some((x) => x > 0.5)) key = bits(given, 0);
      } else {
        const most = given.reduce((most, value, channel) => (value > given[most] ? channel : most), 0);
        if (given[most] > 0.5) key = most;
      }
      this.inputKeys[step] = key;
      if (key === null) continue;
      if (this.places.has(key)) this.places.get(key).push(step);
      else this.places.set(key, [step]);
    }
    this.targetKey = (step) => {
      if (step < 0 || step >= steps || !this.isWanted(step)) return null;
      return isOfBits ? bits(arrays.targets.values, step * outputSize) : arrays.classes.values[step];
    };
  }

  /** Whether the bits wanted at a step are all 0, as inputs are where nothing comes in. */
  isZeroTarget(step) {
    return this.about.targets === "bits" && this.isWanted(step) && this.at("targets", step).every((bit) => bit <= 0.5);
  }

  /** The steps before this one whose input equals the target. */
  equalInputs(step) {
    const found = this.places.get(this.targetKey(step)) ?? [];
    return found.slice(0, above(found, step - 1));
  }

  /**
   * The step before this one whose input equals the target; -1 if there is none. Among several it is the one around which
   * most inputs equal the targets around this one, and among such the latest.
   */
  equalInput(step) {
    let [best, longest] = [-1, 0];
    for (const candidate of this.equalInputs(step)) {
      let length = 1;
      for (const way of [-1, 1]) {
        for (let by = way; Math.abs(by) <= 16; by += way) {
          const key = this.targetKey(step + by);
          if (key === null || this.inputKeys[candidate + by] !== key) break;
          if (!this.follows(step, by) || !this.follows(candidate, by)) break;
          length++;
        }
      }
      if (length >= longest) [best, longest] = [candidate, length];
    }
    return best;
  }

  /** From which steps the reads of a step come: `{ step, weight, reads }`, the largest summed weight first. */
  sources(step) {
    const found = new Map();
    for (let event = this.reads.first[step]; event < this.reads.first[step + 1]; event++) {
      const word = this.reads.words[event];
      const read = { head: this.reads.heads[event], word, weight: this.reads.weights[event] };
      const from = this.mainWriter(word, step);
      if (!found.has(from)) found.set(from, { step: from, weight: 0, reads: [] });
      found.get(from).weight += read.weight;
      found.get(from).reads.push(read);
    }
    return [...found.values()].sort((a, b) => b.weight - a.weight || b.step - a.step);
  }

  /** Why a step's output may be wrong, or how it came to be right: see `tell.js` for the words. */
  explain(step) {
    const origin = this.equalInput(step);
    const sources = this.hasMemory ? this.sources(step) : [];
    if (origin < 0 || !this.hasMemory) return { origin, sources, reason: "unknown" };
    const written = [];
    for (let event = this.writes.first[origin]; event < this.writes.first[origin + 1]; event++) {
      const word = this.writes.words[event];
      const known = written.find((write) => write.word === word);
      if (known) known.weight = Math.max(known.weight, this.writes.weights[event]);
      else written.push({ word, weight: this.writes.weights[event] });
    }
    written.sort((a, b) => b.weight - a.weight);
    const common = { origin, sources, written };
    if (written.length === 0) return { ...common, reason: "nothing-written" };
    let read = 0;
    for (const pair of this.pairs("read", step)) {
      if (written.some((write) => write.word === pair.word)) read += pair.weight;
    }
    const lost = written.filter((write) => this.lastErased(write.word, step) > origin);
    if (lost.length === written.length) {
      return { ...common, reason: "erased", erasedAt: this.lastErased(written[0].word, step), read };
    }
    return { ...common, reason: read >= 0.3 ? "read" : "not-read", read };
  }

  /**
   * The order of last use after a step, the least recent first, of the words that were touched by then:
   * `{ word, step }`. Words that were never touched come before all of them. As in the library: what counts is the sum of a
   * word's weights in a step, and words written come before those read.
   */
  ring(step) {
    this.#uses ??= this.#gatherUses();
    const { words, first, places } = this.#uses;
    const last = new Int32Array(words.length).fill(-1);
    for (let use = 0; use < first[step + 1]; use++) last[places[use]] = use;
    const touched = [];
    last.forEach((use, place) => {
      if (use >= 0) touched.push(place);
    });
    touched.sort((a, b) => last[a] - last[b]);
    return touched.map((place) => ({ word: words[place], step: above(first, last[place]) - 1 }));
  }

  #uses;

  #gatherUses() {
    const threshold = this.about.access_threshold ?? NOTABLE;
    const known = new Map();
    const places = [];
    const first = new Uint32Array(this.steps + 1);
    for (let step = 0; step < this.steps; step++) {
      first[step] = places.length;
      const sums = new Map();
      for (const kind of ["write", "read"]) {
        const words = this.at(`${kind}_words`, step);
        const weights = this.at(`${kind}_weights`, step);
        words.forEach((word, place) => {
          if (word === NO_WORD) return;
          const sum = (sums.get(word) ?? 0) + weights[place];
          // Where it was used last.
          sums.delete(word);
          sums.set(word, sum);
        });
      }
      for (const [word, sum] of sums) {
        if (sum <= threshold) continue;
        if (!known.has(word)) known.set(word, known.size);
        places.push(known.get(word));
      }
    }
    first[this.steps] = places.length;
    return { words: Uint32Array.from(known.keys()), first, places: Uint32Array.from(places) };
  }
}

/** Places of a word's events in the order of steps. */
function byWord(ranks, words) {
  const first = new Uint32Array(words + 1);
  for (const rank of ranks) first[rank + 1]++;
  for (let rank = 0; rank < words; rank++) first[rank + 1] += first[rank];
  const next = first.slice();
  const order = new Uint32Array(ranks.length);
  ranks.forEach((rank, event) => {
    order[next[rank]++] = event;
  });
  return { first, order };
}

function span({ first }, rank) {
  return { start: first[rank], end: first[rank + 1] };
}
