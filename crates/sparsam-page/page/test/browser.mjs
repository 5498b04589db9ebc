// A browser, and runs and pages for it to open.

import { execFile, spawn } from "node:child_process";
import { constants, existsSync } from "node:fs";
import { access, mkdir, mkdtemp, rename, rm } from "node:fs/promises";
import { createRequire } from "node:module";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { createInterface } from "node:readline";
import { fileURLToPath, pathToFileURL } from "node:url";
import { promisify } from "node:util";
import { chromium } from "playwright-core";

const here = dirname(fileURLToPath(import.meta.url));
const run = promisify(execFile);

/** A Chromium as distributions install it; none if there is none on PATH. */
async function installedChromium() {
  const folders = (process.env.PATH ?? "").split(delimiter).filter((folder) => folder);
  for (const name of ["chromium", "chromium-browser", "google-chrome"]) {
    for (const path of folders.map((folder) => join(folder, name))) {
      const isThere = await access(path, constants.X_OK).then(
        () => true,
        () => false,
      );
      if (isThere) return path;
    }
  }
  return null;
}

/** The Chromium of the npm package, unpacked once, with the libraries that it needs. */
async function packedChromium() {
  const main = createRequire(import.meta.url).resolve("@sparticuz/chromium");
  const folder = join(here, "../node_modules/.cache/chromium-unpacked");
  const [executablePath, libraries] = [join(folder, "chromium"), join(folder, "al2023/lib")];
  const before = process.env.TMPDIR;
  if (!existsSync(folder)) {
    await mkdir(dirname(folder), { recursive: true });
    const unfinished = await mkdtemp(`${folder}-`);
    // The package unpacks into the folder for temporary files, and takes what is there for whole: what was interrupted must
    // not be found by the next try.
    process.env.TMPDIR = unfinished;
    try {
      const { default: packed, inflate } = await import(pathToFileURL(main));
      await packed.executablePath();
      await inflate(join(dirname(main), "../bin/al2023.tar.br"));
      // Another process may have been faster.
      await rename(unfinished, folder).catch((error) => {
        if (!existsSync(executablePath)) throw error;
      });
    } finally {
      if (before === undefined) delete process.env.TMPDIR;
      else process.env.TMPDIR = before;
      await rm(unfinished, { recursive: true, force: true });
    }
  }
  return { executablePath, env: { ...process.env, TMPDIR: before ?? tmpdir(), LD_LIBRARY_PATH: libraries } };
}

/** Where a Chromium is: that of SPARSAM_CHROMIUM, else that of the npm package, else one on PATH. */
async function findChromium() {
  if (process.env.SPARSAM_CHROMIUM) return { executablePath: process.env.SPARSAM_CHROMIUM };
  if (process.platform === "linux" && process.arch === "x64") return packedChromium();
  const executablePath = await installedChromium();
  if (executablePath) return { executablePath };
  throw new Error("the npm packages have no Chromium for this system, and PATH has none");
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

/** A command that goes on, and its end. */
function begin(command, args, folder, output) {
  const process = spawn(command, args, { cwd: folder, stdio: ["ignore", output, "inherit"] });
  return { process, ended: new Promise((resolve) => process.on("exit", resolve)) };
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
      // In some languages a comma stands for the point.
      const { stderr } = await run("bash", timed, { cwd: folder, env: { ...process.env, LC_ALL: "C" } });
      const [user, system] = stderr.trim().split("\n").pop().split(" ");
      return Number(user) + Number(system);
    },
    begin: (...args) => begin(command, args, folder, "ignore"),
    /** Starts a command that goes on and waits for what it says first. */
    start: async (...args) => {
      const started = begin(command, args, folder, "pipe");
      const lines = createInterface({ input: started.process.stdout });
      const first = await Promise.race([new Promise((resolve) => lines.once("line", resolve)), started.ended]);
      return { ...started, first };
    },
    remove: () => rm(folder, { recursive: true }),
  };
}

/** A new tab, of which what it asks for and complains of is kept. */
export async function newTab(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1280, height: 900 }, ...options });
  const page = await context.newPage();
  const [requests, complaints] = [[], []];
  page.on("request", (request) => requests.push(request.url()));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) complaints.push(message.text());
  });
  page.on("pageerror", (error) => complaints.push(String(error)));
  return { page, requests, complaints, close: () => context.close() };
}

/** Opens a page, or one whose frame of the address `ready` is a page. */
export async function open(browser, path, { ready, ...options } = {}) {
  const { page, requests, complaints, close } = await newTab(browser, options);
  const started = Date.now();
  await page.goto(pathToFileURL(path).href);
  const frame = ready ? page.frames().find((frame) => frame.url() === ready) : page;
  await frame.evaluate(() => window.sparsam.ready.then(() => true));
  return { page, requests, complaints, milliseconds: Date.now() - started, close };
}

// Run by itself this sets the browser up, and says why if there is none.
if (process.argv[1] === fileURLToPath(import.meta.url)) {
  try {
    await (await launch()).close();
  } catch (error) {
    console.error(error.message);
    process.exitCode = 1;
  }
}
