// The page that follows a run, as people meet it: served by the command while another trains.

import assert from "node:assert/strict";
import { readFile, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, test } from "node:test";

import { launch, newTab, workplace } from "./browser.mjs";

let browser;
let place;
let server;
let address;

const SMALL = ["--bits", "4", "--hidden-size", "16", "--memory-size", "64", "--word-size", "8", "--max-length", "5"];
const OFTEN = ["--until", "0", "--evaluate-every", "100", "--evaluation-sequences", "8", "--threads", "1", "--quiet"];

before(async () => {
  place = await workplace();
  server = await place.start("inspect", "run", "--serve", "--level", "5", "--json", "--threads", "1");
  ({ address } = JSON.parse(server.first));
  browser = await launch();
});

after(async () => {
  server?.process.kill();
  await browser?.close();
  await place?.remove();
});

const lines = async () => {
  const text = await readFile(join(place.folder, "run/metrics.jsonl"), "utf8");
  return text
    .split("\n")
    .filter((line) => line)
    .map((line) => JSON.parse(line));
};

/** Waits until the text of an element matches. */
const tells = (page, id, pattern) =>
  page
    .waitForFunction(
      ([id, pattern]) => new RegExp(pattern).test(document.getElementById(id).textContent),
      [id, pattern],
    )
    .catch(async (error) => {
      throw new Error(
        `${id} tells ${JSON.stringify(await page.textContent(`#${id}`))}, not ${pattern}: ${error.message}`,
      );
    });

const metrics = (page) => page.evaluate(() => window.sparsam.page.metrics);

/** The page in the frame, once it is of a network of so many batches. */
const sequenceOf = async (page, batches) => {
  await page.waitForFunction((batches) => {
    const { contentWindow, contentDocument } = document.getElementById("sequence");
    const facts = contentDocument?.getElementById("facts")?.textContent ?? "";
    return contentWindow.sparsam?.page && facts.includes(`batches trained ${batches} `);
  }, batches);
  return page.frames().find((frame) => frame.url() === `${address}sequence.html`);
};

test("a run is followed: before it begins, in training, ended, resumed, and gone", async () => {
  const { page, requests, complaints, close } = await newTab(browser);
  await page.goto(address);
  await tells(page, "state", "^There is no run in run yet");

  // However fast the machine is, this training does not end before it is told to.
  const copy = (...args) => ["train", "copy", "--run", "run", ...args, ...SMALL, ...OFTEN];
  const training = place.begin(...copy("--batches", "1000000000"));
  await tells(page, "state", "^In training, [\\d,]+ of 1,000,000,000 batches evaluated\\.");
  const early = await metrics(page);
  assert.ok(early.length > 0, "evaluations are shown as they come");
  training.process.kill("SIGINT");
  await training.ended;
  await tells(page, "state", "^Training has ended: it was stopped, [\\d,]+ of 1,000,000,000 batches evaluated\\.");
  const interrupted = await lines();
  assert.deepEqual(await metrics(page), interrupted);
  assert.deepEqual(early, interrupted.slice(0, early.length));
  await rm(join(place.folder, "run"), { recursive: true });
  await tells(page, "state", "^The run is no longer in run");

  await place.sparsam(...copy("--batches", "2000"));
  await tells(page, "state", "^Training has ended: all its batches are trained, 2,000 of 2,000");
  const written = await lines();
  assert.equal(written.length, 20);
  assert.deepEqual(await metrics(page), written);
  assert.equal(await page.textContent("h1"), "SAM on copy");

  // The table has every number as the file has it, the newest first.
  const rows = await page
    .locator("#table tbody tr")
    .evaluateAll((rows) => rows.map((row) => [...row.cells].map((cell) => cell.textContent)));
  const expected = written.map((line) => [
    line.batch.toLocaleString("en-US"),
    line.sequences.toLocaleString("en-US"),
    `${line.loss}`,
    `${line.training_loss}`,
    `${line.guessing}`,
    `${line.learning_rate}`,
    `${line.gradient_norm}`,
    `${line.gradient_limit}`,
    "-",
    `${line.sequences_per_second}`,
  ]);
  assert.deepEqual(rows, expected.reverse());
  // There is no curriculum, so that four curves are left, with something drawn in each.
  const drawn = await page.locator("#curves canvas:visible").evaluateAll((canvases) =>
    canvases.map((canvas) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      return data.some((value) => value > 0) && canvas.getAttribute("aria-label").split(" over ")[0];
    }),
  );
  assert.deepEqual(drawn, ["Loss, bits per sequence", "Learning rate", "Norm of the gradient", "Sequences a second"]);

  // Keys go from evaluation to evaluation.
  await page.keyboard.press("ArrowLeft");
  assert.match(await page.textContent("#live"), /^After 1,900 batches, 15,200 sequences: loss, bits per sequence /);
  assert.equal(await page.getAttribute("#newest", "aria-pressed"), "false");
  await page.keyboard.press("n");
  assert.match(await page.textContent("#evaluation"), /^After 2,000 batches/);
  await page.fill("#evaluation-number", "1");
  await page.keyboard.press("Enter");
  assert.match(await page.textContent("#evaluation"), /^After 100 batches/);
  assert.ok(await page.isDisabled("#back"));
  await page.click("#newest");

  // The sequence is that of the newest network, and the step stays selected when it is made anew.
  const frame = await sequenceOf(page, "2,000");
  assert.equal(await frame.textContent("h1"), "SAM on copy");
  await frame.evaluate(() => window.sparsam.page.select(3));
  await place.sparsam("train", "--resume", "run", "--batches", "2100", "--threads", "1", "--quiet");
  await tells(page, "state", "2,100 of 2,100 batches evaluated, resumed once\\.$");
  assert.deepEqual(await metrics(page), await lines());
  const renewed = await sequenceOf(page, "2,100");
  await renewed.waitForFunction(() => window.sparsam.page.selected === 3);

  // Another tab, dark, has the same.
  const other = await newTab(browser, { colorScheme: "dark" });
  await other.page.goto(address);
  await tells(other.page, "state", "^Training has ended");
  assert.deepEqual(await metrics(other.page), await metrics(page));
  assert.equal(await other.page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(17, 21, 26)");
  const dark = await sequenceOf(other.page, "2,100");
  await other.page.click("#theme");
  assert.equal(await other.page.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(253, 253, 251)");
  assert.equal(await dark.evaluate(() => getComputedStyle(document.body).backgroundColor), "rgb(253, 253, 251)");
  assert.deepEqual(other.complaints, []);
  await other.close();

  await rm(join(place.folder, "run"), { recursive: true });
  await tells(page, "state", "^The run is no longer in run; what is shown is what it was");
  assert.equal((await metrics(page)).length, 21);
  // One that begins in its place is followed.
  await place.sparsam(...copy("--batches", "200", "--seed", "2"));
  await tells(page, "state", "200 of 200 batches evaluated\\.$");
  assert.deepEqual(await metrics(page), await lines());
  await sequenceOf(page, "200");

  assert.deepEqual(complaints, []);
  const asked = new Set(requests.filter((request) => request !== "data:,"));
  assert.deepEqual(asked, new Set([address, `${address}run.json`, `${address}sequence.html`]));
  await close();
});

test("axe finds nothing that keeps anybody out of it", async () => {
  const axe = await readFile(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");
  for (const colorScheme of ["light", "dark"]) {
    const { page, close } = await newTab(browser, { colorScheme });
    await page.goto(address);
    await sequenceOf(page, "200");
    await page.evaluate(axe);
    const found = await page.evaluate(() => window.axe.run(document, { iframes: false }));
    assert.deepEqual(
      found.violations.map(({ id, nodes }) => [id, nodes[0].html]),
      [],
    );
    assert.ok(found.passes.length > 20);
    await close();
  }
});

test("a page of another host cannot ask, and an ended server is told of", async () => {
  const { page, close } = await newTab(browser);
  await page.goto(address);
  await tells(page, "state", "^Training has ended");
  // A name that leads to this machine, as one of somebody else's may.
  const { port } = new URL(address);
  const answer = await page
    .context()
    .request.get(`http://127.0.0.1:${port}/run.json`, { headers: { Host: `evil:${port}` } });
  assert.equal(answer.status(), 403);
  server.process.kill("SIGINT");
  assert.equal(await server.ended, 0);
  await tells(page, "state", "^The server does not answer.*What is shown was so at ");
  assert.equal((await metrics(page)).length, 2);
  await close();
});
