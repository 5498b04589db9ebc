// The page as people meet it: made by the command, opened from the disk by a browser.

import assert from "node:assert/strict";
import { mkdir, readFile, stat, writeFile } from "node:fs/promises";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { after, before, test } from "node:test";
import { gunzipSync } from "node:zlib";

import { launch, open, workplace } from "./browser.mjs";

let browser;
let place;
let pages;

const SIZES = { f32: 4, u32: 4, u16: 2, u8: 1 };

/** The numbers of a page, read without the page's code. */
async function numbers(path) {
  const html = await readFile(path, "utf8");
  const part = (id) => html.split(`id="${id}">`)[1].split("</script>")[0];
  const about = JSON.parse(part("about"));
  const bytes = gunzipSync(Buffer.from(part("numbers"), "base64"));
  const arrays = {};
  for (const { name, type, shape, offset, least, step } of about.arrays) {
    const length = shape.reduce((product, size) => product * size, 1);
    const read = (place) => {
      const at = offset + place * SIZES[type];
      if (type === "f32") return bytes.readFloatLE(at);
      if (type === "u8") return Math.fround(least + step * bytes.readUInt8(at));
      const word = type === "u16" ? bytes.readUInt16LE(at) : bytes.readUInt32LE(at);
      return type === "u16" && word === 0xffff ? 0xffffffff : word;
    };
    arrays[name] = Array.from({ length }, (_, place) => read(place));
  }
  return { about, arrays };
}

/** Twenty vectors to copy, and the zeros during which they should come. */
const inputs = () => {
  const steps = [[0, 0, 0, 0, 1, 0]];
  for (let number = 1; number <= 12; number++)
    steps.push([...Array(4).keys()].map((bit) => (number >> bit) & 1).concat([0, 0]));
  steps.push([0, 0, 0, 0, 0, 1]);
  for (let number = 1; number <= 12; number++) steps.push([0, 0, 0, 0, 0, 0]);
  return steps;
};

const SMALL = ["--bits", "4", "--hidden-size", "32", "--word-size", "8", "--threads", "1", "--quiet"];

before(async () => {
  place = await workplace();
  pages = {};
  // Trained long enough to read what was written, and not long enough to be always right.
  const runs = { sdnc: [400, 64], sam: [60, 64], dam: [10, 24], ntm: [10, 24], dnc: [10, 24], lstm: [10] };
  for (const [model, [batches, words]] of Object.entries(runs)) {
    const memory = words ? ["--memory-size", `${words}`] : [];
    const small = words ? SMALL : SMALL.filter((_, number) => number < 4 || number > 5);
    await place.sparsam(
      "train",
      "copy",
      "--model",
      model,
      "--run",
      model,
      "--batches",
      `${batches}`,
      ...memory,
      ...small,
    );
    const printed = await place.sparsam("inspect", model, "--level", "12", "--out", `${model}.html`);
    assert.equal(printed.trim().split("\n").pop(), `${model}.html`);
    pages[model] = join(place.folder, `${model}.html`);
  }
  browser = await launch();
});

after(async () => {
  await browser?.close();
  await place?.remove();
});

/** Opens a page, looks at it, and checks that it neither complained nor asked for anything. */
async function visit(path, look, options) {
  const { page, requests, complaints, milliseconds, close } = await open(browser, path, options);
  try {
    await look(page, milliseconds);
    assert.deepEqual(complaints, []);
    assert.deepEqual(requests, [pathToFileURL(path).href]);
  } finally {
    await close();
  }
}

test("pages of all models open, and show what the model has", async () => {
  for (const [model, path] of Object.entries(pages)) {
    await visit(path, async (page) => {
      const shown = await page.locator("section:visible").evaluateAll((sections) => sections.map(({ id }) => id));
      assert.equal(shown.includes("panel-memory"), model !== "lstm", model);
      assert.equal(shown.includes("panel-dense"), ["dam", "ntm", "dnc"].includes(model), model);
      assert.equal(shown.includes("panel-ring"), ["sam", "sdnc"].includes(model), model);
      assert.match(await page.textContent("#sequence-about"), /the probability that the network gave to each output/);
      assert.ok(shown.includes("panel-sequence") && shown.includes("panel-hidden"), model);
      assert.match(await page.textContent("h1"), new RegExp(`^${model} on copy$`, "i"));
      for (const canvas of await page.locator("canvas[role=img]:not([aria-hidden])").all()) {
        assert.ok((await canvas.getAttribute("aria-label")).length > 10);
      }
      // Every panel says what it shows, in a sentence.
      for (const about of await page.locator("section:visible .about").allTextContents())
        assert.match(about, /^[A-Z].{30,}\.$/);
    });
  }
});

test("a summarised page of a dense memory shows its words, and no ring", async () => {
  const small = [...SMALL, "--memory-size", "3000", "--batches", "1"];
  await place.sparsam("train", "copy", "--model", "dam", "--run", "wide", ...small);
  const printed = await place.sparsam("inspect", "wide", "--level", "400", "--out", "wide.html");
  assert.match(printed, /summarised: .*there is no picture of the weights over all words/);
  await visit(join(place.folder, "wide.html"), async (page) => {
    const shown = await page.locator("section:visible").evaluateAll((sections) => sections.map(({ id }) => id));
    assert.ok(shown.includes("panel-memory") && !shown.includes("panel-ring") && !shown.includes("panel-dense"));
  });
});

test("outputs that are numbers are not called probabilities", async () => {
  const html = await readFile(pages.lstm, "utf8");
  const path = join(place.folder, "numbers.html");
  await writeFile(
    path,
    html.replace('"outputs":"bits"', '"outputs":"numbers"').replace('"targets":"bits"', '"targets":null'),
  );
  await visit(path, async (page) => {
    assert.doesNotMatch(await page.textContent("#panel-sequence"), /probabilit/);
  });
});

test("numbers have errors in the place of wrong outputs, the largest first", async () => {
  // What came in a step before, and nothing at first; of every tenth sequence the test holds out.
  const sequence = (number) => {
    const inputs = Array.from({ length: 9 }, (_, step) => [Math.sin(number + step), Math.cos(2 * number + 3 * step)]);
    return { inputs, targets: inputs.map((_, step) => (step === 0 ? null : inputs[step - 1])) };
  };
  const lines = Array.from({ length: 40 }, (_, number) => `${JSON.stringify(sequence(number))}\n`);
  await writeFile(join(place.folder, "numbers.jsonl"), lines.join(""));
  const small = [...SMALL.slice(2), "--memory-size", "64"];
  await place.sparsam(
    "train",
    "--data",
    "numbers.jsonl",
    "--targets",
    "numbers",
    "--run",
    "real",
    "--batches",
    "5",
    ...small,
  );
  const told = JSON.parse(await place.sparsam("inspect", "real", "--number", "1", "--out", "real.html", "--json"));
  const { about, arrays } = await numbers(join(place.folder, "real.html"));
  assert.equal(told.wrong, null);
  // Slowly, from the numbers alone.
  const errors = arrays.wanted.map((wanted, step) =>
    wanted
      ? Math.max(...[0, 1].map((row) => Math.abs(arrays.outputs[2 * step + row] - arrays.targets[2 * step + row])))
      : 0,
  );
  const order = errors.map((_, step) => step).filter((step) => arrays.wanted[step]);
  order.sort((a, b) => errors[b] - errors[a]);
  assert.equal(about.errors.step, order[0]);
  assert.ok(Math.abs(about.errors.largest - errors[order[0]]) < 1e-6 && told.largest_error === about.errors.largest);
  await visit(join(place.folder, "real.html"), async (page) => {
    const selected = () => page.evaluate(() => window.sparsam.page.selected);
    assert.equal(await selected(), order[0], "the page opens at the largest error");
    const sentence = `Of 16 numbers wanted the largest error is ${errors[order[0]].toFixed(2)}, at step ${order[0]}; the mean squared error is `;
    assert.ok((await page.textContent("#verdict")).startsWith(sentence), await page.textContent("#verdict"));
    assert.match(
      await page.textContent("#why"),
      /Wanted -?[\d.]+ -?[\d.]+, put out -?[\d.]+ -?[\d.]+: off by [\d.]+ at most/,
    );
    assert.equal(await page.textContent("#first-notable"), "Largest error");
    assert.doesNotMatch(await page.innerText("body"), /wrong output|probabilit|should have been read/);
    for (const step of order.slice(1)) {
      await page.keyboard.press("n");
      assert.equal(await selected(), step);
    }
    assert.ok(await page.isDisabled("#next-notable"));
    await page.keyboard.press("p");
    assert.equal(await selected(), order[order.length - 2]);
    // From a step at which nothing is wanted, back to the largest.
    await page.evaluate(() => window.sparsam.page.select(0));
    assert.match(await page.textContent("#why"), /No output is wanted here/);
    await page.keyboard.press("n");
    assert.equal(await selected(), order[0]);
    // The brightest error is the largest, and equal numbers of targets and outputs have equal colours.
    const [bright, dark] = [await colour(page, "Errors", order[0], 0.5), await colour(page, "Errors", 0, 0.5)];
    assert.ok(bright[0] + bright[1] > 400 && dark[0] + dark[1] < 20, `${bright}, ${dark}`);
    const ranges = await page.evaluate(() =>
      window.sparsam.page.pictures
        .filter(({ label }) => /^(Targets|Outputs)/.test(label ?? ""))
        .map(({ ranges }) => ranges[0]),
    );
    assert.equal(ranges.length, 2);
    assert.deepEqual(ranges[0], ranges[1]);
  });
});

test("a page of a trace that goes on from a state does not tell what it cannot know", async () => {
  const html = await readFile(pages.sam, "utf8");
  const path = join(place.folder, "continued.html");
  await writeFile(path, html.replace('"continued":false', '"continued":true'));
  await visit(path, async (page) => {
    assert.ok(await page.locator("#panel-ring").isHidden());
    await page.evaluate(() => window.sparsam.page.select(0));
    assert.match(await page.textContent("#tables"), /no step of this trace notably/);
  });
});

test("the page's numbers are those of the file, to the bit", async () => {
  for (const model of ["sdnc", "sam", "ntm"]) {
    const { about, arrays } = await numbers(pages[model]);
    assert.deepEqual(about.summarised, []);
    await visit(pages[model], async (page) => {
      const found = await page.evaluate(() =>
        Object.fromEntries(
          Object.entries(window.sparsam.page.model.arrays).map(([name, { values }]) => [name, [...values]]),
        ),
      );
      assert.deepEqual(found, arrays);
    });
  }
});

test("outputs are those of predict, also for a file of one's own", async () => {
  const sequence = { inputs: inputs() };
  await writeFile(join(place.folder, "mine.jsonl"), `${JSON.stringify(sequence)}\n`);
  await place.sparsam("inspect", "sdnc", "mine.jsonl", "--out", "mine.html");
  const { outputs } = JSON.parse(await place.sparsam("predict", "sdnc", "mine.jsonl"));
  const { arrays } = await numbers(join(place.folder, "mine.html"));
  outputs
    .flatMap(({ probabilities }) => probabilities)
    .forEach((probability, number) => {
      assert.ok(Math.abs(probability - arrays.outputs[number]) < 1e-5);
    });
  await visit(join(place.folder, "mine.html"), async (page) => {
    assert.match(await page.textContent("#verdict"), /Nothing is known/);
  });
  // With targets it is known what is wrong.
  const targets = sequence.inputs.map((_, step) => (step < 14 ? null : sequence.inputs[step - 13].slice(0, 4)));
  await writeFile(join(place.folder, "mine.jsonl"), `${JSON.stringify({ ...sequence, targets })}\n`);
  await place.sparsam("inspect", "sdnc", "mine.jsonl", "--out", "mine.html");
  const wrong = outputs.flatMap(({ bits }, step) =>
    (targets[step] ?? bits).map((bit, number) => +(bit !== bits[number])),
  );
  await visit(join(place.folder, "mine.html"), async (page) => {
    assert.equal(
      await page.evaluate(() => window.sparsam.page.model.wrongTotal),
      wrong.reduce((sum, one) => sum + one),
    );
  });
});

test("who wrote a word is found as by going through all steps", async () => {
  for (const model of ["sam", "sdnc"]) {
    const { about, arrays } = await numbers(pages[model]);
    const shape = Object.fromEntries(about.arrays.map(({ name, shape }) => [name, shape]));
    const at = (name, step) => {
      const width = shape[name].slice(1).reduce((product, size) => product * size, 1);
      return arrays[name].slice(step * width, (step + 1) * width);
    };
    const writer = (word, step) => {
      for (let before = step; before >= 0; before--) {
        const words = at("write_words", before);
        const weights = at("write_weights", before);
        if (words.some((written, number) => written === word && weights[number] >= 0.02)) return before;
        if (at("erased_words", before).includes(word)) return -1;
      }
      return -1;
    };
    const expected = [];
    for (let step = 0; step < about.steps; step++)
      for (const word of at("read_words", step)) expected.push([step, word, writer(word, step)]);
    await visit(pages[model], async (page) => {
      const found = await page.evaluate(
        (asked) => asked.map(([step, word]) => window.sparsam.page.model.writersOf(word, step, 1)[0]?.step ?? -1),
        expected,
      );
      assert.deepEqual(
        found,
        expected.map(([, , by]) => by),
      );
      assert.ok(
        found.some((step) => step >= 0),
        "something is read that was written",
      );
      // The ring's oldest word is the one that is erased next, unless one was never used.
      const oldest = await page.evaluate(() => {
        const { model } = window.sparsam.page;
        return [...Array(model.steps - 1).keys()].map((step) => model.ring(step).map(({ word }) => word));
      });
      oldest.forEach((order, step) => {
        for (const word of at("erased_words", step + 1)) {
          const rank = order.indexOf(word);
          assert.ok(
            rank < at("erased_words", 0).length,
            `${model}: word ${word} of step ${step + 1} is ${rank} in the ring`,
          );
        }
      });
    });
  }
});

test("what an NTM or a DNC wrote counts less once others wrote over it", async () => {
  for (const model of ["ntm", "dnc"]) {
    const { about, arrays } = await numbers(pages[model]);
    const [, heads, words] = about.arrays.find(({ name }) => name === "write_weights").shape;
    const { steps } = about;
    const expected = [];
    for (let word = 0; word < words; word++) {
      let left = 1;
      const written = new Array(steps).fill(0);
      for (let step = steps - 1; step >= 0; step--) {
        for (let head = heads - 1; head >= 0; head--) {
          const weight = arrays.write_weights[(step * heads + head) * words + word];
          if (weight < 0.02) continue;
          written[step] = Math.max(written[step], left * weight);
          left *= 1 - weight;
        }
      }
      const most = Math.max(...written);
      expected.push(most >= 0.02 ? written.lastIndexOf(most) : -1);
    }
    await visit(pages[model], async (page) => {
      const found = await page.evaluate(
        ([words, step]) => Array.from({ length: words }, (_, word) => window.sparsam.page.model.mainWriter(word, step)),
        [words, steps - 1],
      );
      assert.deepEqual(found, expected, model);
    });
  }
});

/** The colour of a canvas where its n-th picture shows a step, `down` being from 0 at the top to 1. */
const colour = (page, label, step, down) =>
  page.evaluate(
    ([label, step, down]) => {
      const { page } = window.sparsam;
      const { canvas, height } = page.pictures.find(({ canvas }) =>
        canvas.getAttribute("aria-label").startsWith(label),
      );
      page.pictures.forEach((picture) => (picture.isSeen = true));
      page.drawNow();
      const ratio = window.devicePixelRatio;
      const [x, y] = [page.view.scale()(step + 0.5) * ratio, down * height * ratio];
      const pixel = new OffscreenCanvas(1, 1).getContext("2d");
      pixel.drawImage(canvas, Math.floor(x), Math.floor(y), 1, 1, 0, 0, 1, 1);
      return [...pixel.getImageData(0, 0, 1, 1).data.slice(0, 3)];
    },
    [label, step, down],
  );

test("steps that do not follow each other have their numbers, and tokens their names", async () => {
  const tokens = ["--vocabulary", "64", "--values", "8", "--write-threshold", "0.9", "--memory-size", "24"];
  await place.sparsam("train", "mqar", "--run", "tokens", "--batches", "20", ...tokens, ...SMALL.slice(2));
  const inspect = (name, ...args) =>
    place.sparsam("inspect", "tokens", "--level", "40", "--out", name, ...args).then(() => join(place.folder, name));
  const [whole, written] = [await inspect("whole.html"), await inspect("written.html", "--written")];
  const [all, some] = [await numbers(whole), await numbers(written)];
  const shown = some.arrays.step_numbers;
  assert.ok(shown.length > 50 && shown.length < 300 && shown.length === some.about.selection.selected);
  const name = (token) => (token < 56 ? `key ${token}` : `value ${token - 56}`);
  /** Of each step shown, all that is said of it. */
  const told = (path) => {
    let found;
    return visit(path, async (page) => {
      found = await page.evaluate(
        (shown) =>
          shown.map((number) => {
            const { page } = window.sparsam;
            page.select(page.model.stepOf(number));
            const text = (id) => document.getElementById(id).textContent;
            return [text("h-step"), text("why"), text("tables"), text("live")];
          }),
        shown,
      );
    }).then(() => found);
  };
  const ofSome = await told(written);
  // Sentences and tables are those of the page of all steps.
  assert.deepEqual(ofSome, await told(whole));
  shown.forEach((number, step) => {
    const [title, why] = ofSome[step];
    assert.equal(title, `Step ${number}`);
    assert.ok(why.startsWith(`Input: “${name(all.arrays.inputs[number])}”.`), why);
  });
  assert.ok(ofSome.some(([, why], step) => /what step \d+ wrote/.test(why) && shown[step] !== step));
  await visit(written, async (page) => {
    assert.match(
      await page.textContent("#selection"),
      new RegExp(`^Of 320 steps those are shown .* ${shown.length} of them`),
    );
    assert.ok(await page.locator("#panel-ring").isHidden());
    assert.equal(await page.textContent("#of-steps"), "of 0 to 319");
    const wrong = all.arrays.wrong.reduce((sum, one) => sum + one);
    assert.match(await page.textContent("#verdict"), new RegExp(`^${wrong} of 40 classes are wrong`));
    // A number that is not shown leads to the nearest.
    const missing = [...Array(320).keys()].find((number) => number > shown[0] && !shown.includes(number));
    await page.fill("#step-number", `${missing}`);
    await page.keyboard.press("Enter");
    const nearest = Number(await page.inputValue("#step-number"));
    assert.ok(shown.includes(nearest));
    assert.ok(shown.every((number) => Math.abs(number - missing) >= Math.abs(nearest - missing)));
    // What the mouse points at, near enough to read the words.
    const canvas = page.locator("#sequence canvas >> nth=1");
    for (const near of [false, true]) {
      const x = await page.evaluate((near) => {
        const { page } = window.sparsam;
        if (near) page.zoomTo(10, 20);
        page.drawNow();
        return page.view.scale()(12.5);
      }, near);
      await canvas.hover({ position: { x, y: 5 } });
      const readout = await page.textContent("#readout");
      assert.equal(readout, `Step ${shown[12]}, inputs, token: ${name(some.arrays.inputs[12])}`);
    }
    // Words are written where there was a colour.
    const ink = await page.evaluate(() => {
      const { page } = window.sparsam;
      const { canvas } = page.pictures.find(({ label }) => label?.startsWith("Inputs"));
      const { data } = canvas.getContext("2d").getImageData(160, 0, canvas.width - 160, canvas.height);
      return new Set(Array.from({ length: data.length / 4 }, (_, pixel) => data[4 * pixel + 3])).size;
    });
    assert.ok(ink > 10, `${ink} shades`);
  });
  const cut = join(place.folder, "cut.html");
  const { selected } = some.about.selection;
  await writeFile(cut, (await readFile(written, "utf8")).replace(`"selected":${selected}`, '"selected":310'));
  await visit(cut, async (page) => {
    assert.match(
      await page.textContent("#selection"),
      new RegExp(`at 310 of 320 steps. Shown are the last ${selected}`),
    );
  });
});

test("pictures show the numbers", async () => {
  const { arrays } = await numbers(pages.sdnc);
  await visit(pages.sdnc, async (page) => {
    const [dark, bright] = [
      [68, 1, 84],
      [253, 231, 37],
    ];
    for (const step of [0, 3, 7, 13]) {
      for (let row = 0; row < 6; row++) {
        const expected = arrays.inputs[step * 6 + row] === 1 ? bright : dark;
        const found = await colour(page, "Inputs", step, (row + 0.5) / 6);
        found.forEach((part, number) =>
          assert.ok(Math.abs(part - expected[number]) < 4, `step ${step}, input ${row}: ${found}`),
        );
      }
    }
    // A write is where its word has its row.
    const write = await page.evaluate(() => {
      const { page } = window.sparsam;
      const { model, words } = page;
      page.pictures.forEach((picture) => (picture.isSeen = true));
      page.drawNow();
      const event = model.writes.weights.indexOf(Math.max(...model.writes.weights));
      // Near enough for squares of 14 pixels.
      page.zoomTo(model.writes.steps[event] - 2, model.writes.steps[event] + 4);
      page.drawNow();
      // A corner of its square, where the dot of a read does not reach.
      const [size, scale] = [Math.min(words.rowHeight, 14), page.view.scale()];
      const row = words.rowOf.get(model.writes.ranks[event]) + 0.5;
      return {
        step: model.writes.steps[event] + (0.42 * size) / (scale(1) - scale(0)),
        down: (row * words.rowHeight - 0.42 * size) / words.height,
      };
    });
    const [red, , blue] = await colour(page, "Reads and writes", write.step, write.down);
    assert.ok(red > blue + 40, `a write is orange, and not ${red}, ${blue}`);
  });
});

test("a wrong output is explained, and steps lead on to each other", async () => {
  await place.sparsam("inspect", "sdnc", "--level", "14", "--failing", "--out", "failing.html");
  await visit(join(place.folder, "failing.html"), async (page) => {
    const state = () =>
      page.evaluate(() => ({ selected: window.sparsam.page.selected, wrong: [...window.sparsam.page.model.wrong] }));
    const { selected, wrong } = await state();
    assert.equal(selected, wrong[0], "the page opens at the first wrong output");
    assert.match(await page.textContent("#verdict"), /of 56 bits are wrong.*the first is step \d+/);
    // A target of zeros has no input that could be told from none.
    const explained = await page.evaluate(() => {
      const { page } = window.sparsam;
      const step = page.model.wrong.find((step) => page.model.at("targets", step).some((bit) => bit > 0));
      page.select(step);
      return step;
    });
    const why = await page.textContent("#why");
    assert.match(why, /Wanted [01]{4}, put out [01]{4}: \d bits? wrong/);
    assert.match(why, /The target equals the input of step \d+, which wrote/);
    const origin = await page.evaluate(() => {
      const { model, selected } = window.sparsam.page;
      return {
        step: model.equalInput(selected),
        input: [...model.at("inputs", model.equalInput(selected))].slice(0, 4),
        target: [...model.at("targets", selected)],
      };
    });
    assert.deepEqual(origin.input, origin.target);
    await page.click(`#why button:text-is("step ${origin.step}") >> nth=0`);
    assert.equal((await state()).selected, origin.step);
    await page.click("#first-notable");
    assert.equal((await state()).selected, selected);
    await page.evaluate((step) => window.sparsam.page.select(step), explained);
    await page.click("#tables button:has-text('word') >> nth=0");
    assert.match(await page.textContent("#word"), /Word \d+Written at \d+ steps?/);
  });
});

test("a target of zeros is not said to equal no input", async () => {
  const sequence = { inputs: inputs() };
  const targets = sequence.inputs.map((_, step) => (step === 20 ? [0, 0, 0, 0] : step === 21 ? [1, 1, 1, 1] : null));
  await writeFile(join(place.folder, "zeros.jsonl"), `${JSON.stringify({ ...sequence, targets })}\n`);
  await place.sparsam("inspect", "sdnc", "zeros.jsonl", "--out", "zeros.html");
  await visit(join(place.folder, "zeros.html"), async (page) => {
    await page.evaluate(() => window.sparsam.page.select(20));
    assert.match(await page.textContent("#why"), /The target is all zero, which cannot be told from no input/);
    await page.evaluate(() => window.sparsam.page.select(21));
    assert.match(await page.textContent("#why"), /No earlier input equals this target/);
  });
});

test("the keyboard does what the mouse does", async () => {
  await visit(join(place.folder, "failing.html"), async (page) => {
    const get = (what) =>
      page.evaluate((what) => (what === "span" ? window.sparsam.page.view.span() : window.sparsam.page[what]), what);
    const { wrong } = await page.evaluate(() => ({ wrong: [...window.sparsam.page.model.wrong] }));
    await page.keyboard.press("ArrowRight");
    assert.equal(await get("selected"), wrong[0] + 1);
    assert.match(await page.textContent("#live"), new RegExp(`^Step ${wrong[0] + 1}\\. Input: `));
    await page.keyboard.press("ArrowLeft");
    await page.keyboard.press("n");
    assert.equal(await get("selected"), wrong[1] ?? wrong[0]);
    await page.keyboard.press("p");
    assert.equal(await get("selected"), wrong[0]);
    const [from, to] = await get("span");
    await page.keyboard.press("+");
    const [nearer, nearerTo] = await get("span");
    assert.ok(nearerTo - nearer < 0.6 * (to - from));
    await page.keyboard.press("0");
    assert.deepEqual(await get("span"), [from, to]);
    await page.fill("#step-number", "3");
    await page.keyboard.press("Enter");
    assert.equal(await get("selected"), 3);
    // Every control can be reached by the tabulator, and has a name.
    await page.focus("#theme");
    const reached = new Set();
    for (let press = 0; press < 14; press++) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement.id));
    }
    for (const id of ["first-notable", "back", "step-number", "on", "zoom-in", "zoom-out", "zoom-all"])
      assert.ok(reached.has(id), id);
  });
});

test("axe finds nothing that keeps anybody out", async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  for (const colorScheme of ["light", "dark"]) {
    await visit(
      pages.sdnc,
      async (page) => {
        await page.evaluate(axe);
        const found = await page.evaluate(() => window.axe.run());
        assert.deepEqual(
          found.violations.map(({ id, nodes }) => [id, nodes[0].html]),
          [],
        );
        assert.ok(found.passes.length > 20);
      },
      { colorScheme },
    );
  }
});

test("light and dark follow the system, and the switch", async () => {
  const background = (page) => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  await visit(
    pages.sam,
    async (page) => {
      assert.equal(await background(page), "rgb(17, 21, 26)");
      await page.focus("#theme");
      await page.keyboard.press("Enter");
      assert.equal(await background(page), "rgb(253, 253, 251)");
    },
    { colorScheme: "dark" },
  );
  await visit(
    pages.sam,
    async (page) => {
      assert.equal(await background(page), "rgb(253, 253, 251)");
      await page.click("#theme");
      assert.equal(await background(page), "rgb(17, 21, 26)");
    },
    { colorScheme: "light" },
  );
});

test("names are shown as text, and nothing else runs or leaves", async () => {
  // A folder `<` with one in it, which together end a script's element.
  const name = "</script><img src=x onerror=hacked=1><script>hacked=1<!--";
  await mkdir(join(place.folder, "<"));
  await place.sparsam(
    "train",
    "copy",
    "--model",
    "lstm",
    "--run",
    name,
    "--batches",
    "2",
    "--hidden-size",
    "8",
    "--threads",
    "1",
    "--quiet",
  );
  await place.sparsam("inspect", name, "--out", "named.html");
  const path = join(place.folder, "named.html");
  await visit(path, async (page) => {
    assert.ok((await page.textContent("#facts")).includes(name));
    assert.equal(await page.locator("img").count(), 0);
    assert.equal(await page.evaluate(() => typeof window.hacked), "undefined");
  });
  // The policy holds even against what gets into the document: these complain, and do nothing.
  let asked = 0;
  const server = createServer((_, response) => {
    asked++;
    response.end();
  });
  await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
  const address = `http://127.0.0.1:${server.address().port}/`;
  const { page, complaints, close } = await open(browser, path);
  const outcome = await page.evaluate(async (address) => {
    const script = document.createElement("script");
    script.textContent = "window.hacked = 1";
    document.body.append(script);
    const image = document.createElement("img");
    image.src = address;
    document.body.append(image);
    const fetched = await fetch(address).then(
      () => "fetched",
      () => "refused",
    );
    return { hacked: typeof window.hacked, fetched };
  }, address);
  assert.deepEqual(outcome, { hacked: "undefined", fetched: "refused" });
  assert.ok(complaints.some((complaint) => complaint.includes("Content Security Policy")));
  assert.equal(asked, 0);
  await close();
  server.close();
});

test("a page in a frame, as notebooks have it, opens as well", async () => {
  const page = await readFile(pages.sam, "utf8");
  const escaped = page.replaceAll("&", "&amp;").replaceAll('"', "&quot;").replaceAll("<", "&lt;");
  await writeFile(
    join(place.folder, "notebook.html"),
    `<!doctype html><iframe width="1000" height="800" sandbox="allow-scripts" srcdoc="${escaped}"></iframe>`,
  );
  const {
    page: notebook,
    complaints,
    close,
  } = await open(browser, join(place.folder, "notebook.html"), { ready: "about:srcdoc" });
  const frame = notebook.frames().find((frame) => frame.url() === "about:srcdoc");
  assert.equal(await frame.textContent("h1"), "SAM on copy");
  assert.deepEqual(complaints, []);
  await close();
});

test("a hundred thousand steps are made, opened and moved through at once", async () => {
  const path = join(place.folder, "long.html");
  const made = await place.seconds("inspect", "sdnc", "--level", "49999", "--out", "long.html", "--threads", "1");
  const { size } = await stat(path);
  // Others may use the machine at the time.
  let opened = Infinity;
  for (let number = 0; number < 3 && opened >= 3000; number++) {
    await visit(path, (_, milliseconds) => {
      opened = Math.min(opened, milliseconds);
    });
  }
  await visit(path, async (page) => {
    assert.equal(await page.evaluate(() => window.sparsam.page.model.steps), 100_000);
    assert.match(await page.textContent("#summarised"), /rounded to one of 256 values/);
    // Frames while the wheel turns over the memory, as many as the browser shows.
    const rate = async () => {
      const box = await page.locator("#memory canvas >> nth=1").boundingBox();
      await page.mouse.move(box.x + 500, Math.min(850, box.y + 40));
      await page.evaluate(() => {
        window.frames_ = [];
        window.until_ = performance.now() + 1500;
        const tick = (now) => {
          window.frames_.push(now);
          if (now < window.until_) requestAnimationFrame(tick);
        };
        requestAnimationFrame(tick);
      });
      for (let turn = 0; turn < 40; turn++) {
        await page.mouse.wheel(0, turn < 20 ? -60 : 60);
        await page.waitForTimeout(20);
      }
      await page.waitForTimeout(700);
      const frames = await page.evaluate(() => window.frames_);
      return ((frames.length - 1) * 1000) / (frames[frames.length - 1] - frames[0]);
    };
    await page.locator("#memory").scrollIntoViewIfNeeded();
    const rates = [];
    while (rates.length < 3 && !(Math.max(...rates) > 30)) rates.push(await rate());
    console.log(
      `made in ${made.toFixed(1)} s, ${(size / 1e6).toFixed(1)} MB, opened in ${opened} ms, ${Math.max(...rates).toFixed(0)} frames a second`,
    );
    assert.ok(size < 20e6, `${size} bytes`);
    // A busy or slow machine is no failure: unless the times are what is asked for, they may be ten times what was measured.
    const limits = process.env.SPARSAM_LONG_TESTS
      ? { frames: 30, opened: 3000, made: 10 }
      : { frames: 6, opened: 20_000, made: 40 };
    assert.ok(Math.max(...rates) > limits.frames, `${rates} frames a second`);
    assert.ok(opened < limits.opened, `opened in ${opened} ms`);
    assert.ok(made < limits.made, `made in ${made} s`);
    // Somewhere in the middle, near enough to see single words.
    await page.evaluate(() => window.sparsam.page.select(60_000, true));
    await page.evaluate(() => window.sparsam.page.zoomTo(59_900, 60_100));
    await page.waitForTimeout(300);
    assert.match(await page.textContent("#ring-text"), /\d/);
  });
});

test(
  "a hundred thousand steps through a million words are made and opened at once",
  { skip: process.env.SPARSAM_LONG_TESTS ? false : "SPARSAM_LONG_TESTS is not set" },
  async () => {
    // The network of `sparsam train copy`, whose memory has 1,000,000 words; how long it is trained makes no difference.
    await place.sparsam("train", "copy", "--run", "large", "--batches", "20", "--threads", "1", "--quiet");
    const path = join(place.folder, "large.html");
    const made = await place.seconds("inspect", "large", "--level", "49999", "--out", "large.html", "--threads", "1");
    const { size } = await stat(path);
    let opened = Infinity;
    for (let number = 0; number < 3 && opened >= 3000; number++) {
      await visit(path, (_, milliseconds) => {
        opened = Math.min(opened, milliseconds);
      });
    }
    console.log(`made in ${made.toFixed(1)} s, ${(size / 1e6).toFixed(1)} MB, opened in ${opened} ms`);
    assert.ok(made <= 10, `made in ${made} s`);
    assert.ok(size < 20e6, `${size} bytes`);
    assert.ok(opened <= 3000, `opened in ${opened} ms`);
  },
);
