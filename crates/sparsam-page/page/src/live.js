// The page that follows a run: asks for what is new, draws it, and has the sequence made anew.

import { Chart } from "./chart.js";
import { element, grouped, number } from "./tell.js";
import { followTheme, readTheme } from "./theme.js";

const byId = (id) => document.getElementById(id);

/** Milliseconds from an answer to the next question. */
const PAUSE = 1000;
/** Milliseconds after which a sequence that could not be had is asked for again. */
const AGAIN = 10_000;

/** What the table has of a line of metrics: what it is called, and how it is written. */
const COLUMNS = [
  ["batches", ({ batch }) => grouped(batch)],
  ["sequences", ({ sequences }) => grouped(sequences)],
  ["loss", ({ loss }) => exact(loss)],
  ["loss in training", ({ training_loss: loss }) => exact(loss)],
  ["by guessing", ({ guessing }) => exact(guessing)],
  ["learning rate", ({ learning_rate: rate }) => exact(rate)],
  ["gradient's norm", ({ gradient_norm: norm }) => exact(norm)],
  ["limit of the norm", ({ gradient_limit: limit }) => exact(limit)],
  ["level", ({ level }) => (level === undefined ? "-" : grouped(level))],
  ["sequences a second", ({ sequences_per_second: rate }) => exact(rate)],
];

/** As the file has it. */
const exact = (value) => (value === undefined ? "-" : `${value}`);

const OUTCOMES = {
  finished: "all its batches are trained",
  learnt: "it has learnt its task",
  "no better": "it had not become better for long enough",
  stopped: "it was stopped",
};

class Page {
  constructor() {
    this.run = null;
    this.metrics = [];
    this.selected = -1;
    this.follows = true;
    this.charts = [];
    this.rows = [];
    this.width = 0;
    this.theme = readTheme();
    this.#listen();
  }

  /** Asks for what is new, again and again. */
  async ask() {
    setTimeout(() => this.ask(), await this.#askOnce());
  }

  /** Milliseconds until the next question. */
  async #askOnce() {
    const headers = this.tag ? { "If-None-Match": this.tag } : {};
    const answer = await fetch("run.json", { headers }).catch(() => null);
    if (!answer) {
      this.tag = null;
      const since = this.answered ? ` What is shown was so at ${this.answered}.` : "";
      tell("state", `The server does not answer: it was probably stopped; start the command again.${since}`);
      return PAUSE;
    }
    if (answer.status !== 304) {
      const text = await answer.text().catch(() => "");
      if (!answer.ok || text === "") {
        tell("state", text);
        return PAUSE;
      }
      this.tag = answer.headers.get("ETag");
      this.show(JSON.parse(text));
    } else if (this.again && Date.now() > this.again) this.#showSequence();
    this.tellState();
    return PAUSE;
  }

  /** Shows what was answered. */
  show(run) {
    this.run = run;
    this.answered = new Date().toLocaleTimeString();
    byId("problem").hidden = !run.problem;
    tell("problem", run.problem ?? "");
    // A run that is away leaves what it was.
    if (!run.metrics) return;
    tell("title", run.title);
    document.title = `${run.title}: sparsam inspect --serve`;
    tell("facts", `run ${run.folder}`);
    // A run that was resumed may have come back to an earlier evaluation, and another may have begun in its place.
    const kept = this.metrics.findIndex((line, place) => JSON.stringify(line) !== JSON.stringify(run.metrics[place]));
    this.metrics = run.metrics;
    this.#layOut(kept < 0 ? Infinity : kept);
    const newest = this.metrics.length - 1;
    this.select(this.follows ? newest : Math.min(this.selected, newest), this.follows);
    this.#showSequence();
  }

  /** How the training stands, in a sentence that grows old by itself. */
  tellState() {
    const { run } = this;
    if (run.state === "unreadable") return tell("state", "The run cannot be read.");
    if (run.state === "absent") {
      const text = this.metrics.length
        ? `The run is no longer in ${run.folder}; what is shown is what it was. A run that begins there is followed.`
        : `There is no run in ${run.folder} yet; it is followed as soon as it begins.`;
      return tell("state", text);
    }
    const last = this.metrics[this.metrics.length - 1];
    const trained = last ? `, ${grouped(last.batch)} of ${grouped(run.batches)} batches evaluated` : "";
    const resumed = run.resumes > 0 ? `, resumed ${run.resumes === 1 ? "once" : `${run.resumes} times`}` : "";
    if (run.state === "ended") {
      return tell("state", `Training has ended: ${OUTCOMES[run.outcome] ?? run.outcome}${trained}${resumed}.`);
    }
    if (run.state === "unknown") return tell("state", `How its training stands is not known${trained}.`);
    const minutes = Math.floor((Date.now() - run.changed) / 60_000);
    const quiet =
      minutes >= 5 ? ` Nothing has been written for ${grouped(minutes)} minutes: it may have been killed.` : "";
    tell("state", `In training${trained}${resumed}.${quiet}`);
  }

  #layOut(kept) {
    const { run, metrics } = this;
    byId("of-evaluations").textContent = `of ${grouped(metrics.length)}`;
    byId("evaluation-number").max = metrics.length;
    byId("evaluation-number").disabled = metrics.length === 0;
    const what = `${run.loss_axis} ${run.level_unit}`;
    if (this.what !== what) {
      this.what = what;
      this.#addCharts();
    }
    for (const { chart, parts } of this.charts) parts.forEach((part) => (part.hidden = !chart.has(metrics)));
    this.#fillTable(kept);
  }

  #addCharts() {
    const { loss_axis: loss, level_unit: level } = this.run;
    const of = (name) => (line) => line[name];
    const charts = [
      {
        caption: `${loss[0].toUpperCase()}${loss.slice(1)}`,
        isLogarithmic: true,
        lines: [
          { name: "evaluation", colour: "read", of: of("loss") },
          { name: "training", colour: "write", of: of("training_loss") },
          { name: "guessing", colour: "soft", dashed: true, of: of("guessing") },
        ],
      },
      { caption: "Learning rate", lines: [{ name: "learning rate", colour: "read", of: of("learning_rate") }] },
      {
        caption: "Norm of the gradient",
        isLogarithmic: true,
        lines: [
          { name: "mean", colour: "write", of: of("gradient_norm") },
          { name: "limit", colour: "read", dashed: true, of: of("gradient_limit") },
        ],
      },
      {
        caption: `Level, ${level} at most`,
        isWhole: true,
        lines: [{ name: "level", colour: "read", of: of("level") }],
      },
      { caption: "Sequences a second", lines: [{ name: "rate", colour: "read", of: of("sequences_per_second") }] },
    ];
    byId("curves").replaceChildren();
    this.charts = charts.map(({ caption, lines, ...options }) => {
      const names = lines.map(({ name, colour, dashed }) =>
        element("span", { class: `line ${colour}${dashed ? " dashed" : ""}` }, name),
      );
      const parts = [element("p", { class: "caption" }, caption)];
      if (lines.length > 1) parts.push(element("p", { class: "legend" }, ...names));
      byId("curves").append(...parts);
      const label = `${caption} over the sequences trained on: ${lines.map(({ name }) => name).join(", ")}; the table of evaluations says the same`;
      const chart = new Chart(byId("curves"), { label, lines, ...options });
      chart.canvas.addEventListener("click", (event) => this.select(chart.nearest(event.offsetX, this.width)));
      return { chart, parts: [...parts, chart.canvas] };
    });
  }

  // Rows up to the first that has changed stay.
  #fillTable(kept) {
    if (!this.body) {
      this.body = element("tbody");
      const heads = COLUMNS.map(([name]) => element("th", { scope: "col" }, name));
      byId("table").replaceChildren(element("table", {}, element("thead", {}, element("tr", {}, heads)), this.body));
    }
    while (this.rows.length > Math.min(kept, this.metrics.length)) this.rows.pop().remove();
    for (const line of this.metrics.slice(this.rows.length)) {
      const row = element("tr", {}, ...COLUMNS.map(([, of]) => element("td", {}, of(line))));
      this.body.prepend(row);
      this.rows.push(row);
    }
  }

  /** Selects an evaluation, and follows the newest one if that is asked. */
  select(place, follows = false) {
    this.follows = follows;
    byId("newest").setAttribute("aria-pressed", `${follows}`);
    const { metrics } = this;
    if (metrics.length === 0) {
      this.selected = -1;
      tell("evaluation", "There has been no evaluation yet.");
      return;
    }
    this.rows[this.selected]?.removeAttribute("aria-current");
    this.selected = Math.max(0, Math.min(metrics.length - 1, place));
    this.rows[this.selected].setAttribute("aria-current", "true");
    byId("evaluation-number").value = this.selected + 1;
    byId("back").disabled = this.selected === 0;
    byId("on").disabled = this.selected === metrics.length - 1;
    tell("evaluation", this.#sentence());
    tell("live", byId("evaluation").textContent);
    this.draw();
  }

  #sentence() {
    const line = this.metrics[this.selected];
    const guessing = line.guessing === undefined ? "" : `, by guessing ${number(line.guessing)}`;
    const parts = [
      `After ${grouped(line.batch)} batches, ${grouped(line.sequences)} sequences: ${this.run.loss_axis} ${number(line.loss)} (in training ${number(line.training_loss)}${guessing})`,
      line.level === undefined ? null : `up to ${grouped(line.level)} ${this.run.level_unit}`,
      line.learning_rate === undefined ? null : `learning rate ${Number(line.learning_rate.toPrecision(4))}`,
      line.gradient_limit === undefined ? null : `the gradient's norm limited to ${number(line.gradient_limit)}`,
      `${number(line.sequences_per_second)} sequences a second`,
    ];
    return `${parts.filter((part) => part !== null).join("; ")}.`;
  }

  /** Shows the sequence through the network that was saved last, where the one before stood. */
  async #showSequence() {
    const { sequence } = this.run;
    byId("no-sequence").hidden = sequence !== null || this.shown !== undefined;
    // One that is on its way is waited for: the server would make it to its end all the same.
    if (this.loading || sequence === null || sequence === this.shown) return;
    if (!byId("follow").checked && this.shown) return;
    const frame = byId("sequence");
    // What the browser shows where a page could not be had is of another origin, and has no document here.
    const before = frame.contentDocument && frame.contentWindow.sparsam?.page;
    const wasMoved = before && before.selected !== before.opensAt;
    const stood = before && {
      selected: before.model.numberOf(before.selected),
      span: before.view.span(),
      steps: before.model.steps,
      all: before.model.allSteps,
    };
    [this.shown, this.loading, this.again] = [sequence, true, undefined];
    frame.hidden = false;
    frame.src = "sequence.html";
    frame.onload = async () => {
      this.loading = false;
      // What the server said instead of a page stands in the frame.
      const page = frame.contentDocument && (await frame.contentWindow.sparsam?.ready);
      if (!page) {
        [this.shown, this.again] = [undefined, Date.now() + AGAIN];
        return;
      }
      this.#passTheme();
      if (stood?.all === page.model.allSteps) {
        if (stood.steps === page.model.steps) page.zoomTo(...stood.span);
        if (wasMoved) page.select(page.model.stepOf(stood.selected));
      }
      this.#showSequence();
    };
  }

  /** The page in the frame has a switch of its own. */
  #passTheme() {
    const { theme } = document.documentElement.dataset;
    const button = byId("sequence").contentDocument?.getElementById("theme");
    if (theme && button && button.getAttribute("aria-pressed") !== `${theme === "dark"}`) button.click();
  }

  #listen() {
    const on = (id, act) => byId(id).addEventListener("click", act);
    const newest = () => this.select(this.metrics.length - 1, true);
    on("back", () => this.select(this.selected - 1));
    on("on", () => this.select(this.selected + 1));
    on("newest", newest);
    byId("evaluation-number").addEventListener("change", (event) => {
      const place = Number(event.target.value) - 1;
      if (Number.isInteger(place)) this.select(place);
    });
    byId("follow").addEventListener("change", () => this.run?.metrics && this.#showSequence());
    document.addEventListener("keydown", (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input[type=number]")) return;
      const act = {
        ArrowLeft: () => this.selected > 0 && this.select(this.selected - 1),
        ArrowRight: () => this.selected < this.metrics.length - 1 && this.select(this.selected + 1),
        n: newest,
      }[event.key];
      if (!act) return;
      event.preventDefault();
      act();
    });
    followTheme("theme", () => {
      this.theme = readTheme();
      this.draw();
      this.#passTheme();
    });
    new ResizeObserver(() => {
      this.width = byId("curves").clientWidth;
      this.draw();
    }).observe(byId("curves"));
  }

  /** Draws before the next frame, once however often it is asked. */
  draw() {
    this.frame ??= requestAnimationFrame(() => {
      this.frame = undefined;
      if (this.width === 0) return;
      for (const { chart } of this.charts) {
        if (!chart.canvas.hidden) chart.draw(this.metrics, this.selected, this.width, this.theme);
      }
    });
  }
}

/** Puts a text where it is not yet: what is announced is announced once. */
function tell(id, text) {
  if (byId(id).textContent !== text) byId(id).textContent = text;
}

/** For programs that look at the page: `page.metrics` has the lines of metrics that are shown, `page.run` what was answered last. */
const page = new Page();
window.sparsam = { page };
page.ask();
