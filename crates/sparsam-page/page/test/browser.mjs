// A browser, and runs and pages for it to open.

import { execFile } from "node:child_process";
import { mkdir, mkdtemp, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

/** Where a Chromium is: that of SPARSAM_CHROMIUM, else that of the npm package, unpacked once, with the libraries it needs. */
async function findChromium() {
  if (process.env.SPARSAM_CHROMIUM) return { executablePath: process.env.SPARSAM_CHROMIUM };
  if (process.platform !== "linux" || process.arch !== "x64") {
    throw new Error("there is no Chromium for this system among the npm packages; name one in SPARSAM_CHROMIUM");
  }
  const require = createRequire(import.meta.url);
  const main = require.resolve("@sparticuz/chromium");
  // The package unpacks into the folder for temporary files, under a name without a version.
  const folder = join(here, "../node_modules/.cache/chromium");
  await mkdir(folder, { recursive: true });
  const before = process.env.TMPDIR;
  process.env.TMPDIR = folder;
  try {
    const { default: packed, inflate } = await import(pathToFileURL(main));
    const executablePath = await packed.executablePath();
    const libraries = await inflate(join(dirname(main), "../bin/al2023.tar.br"));
    return {
      executablePath,
      env: { ...process.env, TMPDIR: before ?? tmpdir(), LD_LIBRARY_PATH: join(libraries, "lib") },
    };
  } finally {
    if (before === undefined) delete process.env.TMPDIR;
    else process.env.TMPDIR = before;
  }
}

export async function launch() {
  const args = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
  ];
  try {
    return await chromium.launch({ ...(await findChromium()), args });
  } catch (error) {
    const reason = error.message.split("\n")[0];
    throw new Error(`the browser is missing or does not start (${reason}); name a Chromium in SPARSAM_CHROMIUM`);
  }
}

/** A folder for runs, and the command in it. */
export async function workplace() {
  const command = process.env.SPARSAM;
  if (!command) throw new Error("SPARSAM does not name the command sparsam; run `make page-test`");
  const folder = await mkdtemp(join(tmpdir(), "sparsam-page-"));
  return {
    folder,
    sparsam: async (...args) => (await run(command, args, { cwd: folder, maxBuffer: 1 << 28 })).stdout,
    /** The seconds of a processor's time that the command takes: others may use the machine too. */
    seconds: async (...args) => {
      const timed = ["-c", 'TIMEFORMAT="%U %S"; time "$0" "$@"', command, ...args];
      const { stderr } = await run("bash", timed, { cwd: folder });
      const [user, system] = stderr.trim().split("\n").pop().split(" ");
      return Number(user) + Number(system);
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

/** Opens a page, or one whose frame of the address `ready` is a page; what it asks for and complains of is kept. */
export async function open(browser, path, { ready, ...options } = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const [requests, complaints] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  const started = Date.now();
  await page.goto(pathToFileURL(path).href);
  const frame = ready ? page.frames().find((frame) => frame.url() === ready) : page;
  await frame.evaluate(() => window.sparsam.ready.then(() => true));
  return { page, requests, complaints, milliseconds: Date.now() - started, close: () => context.close() };
}
