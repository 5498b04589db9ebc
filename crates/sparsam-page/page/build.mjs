// Builds the files of built/, each without references to others, from src/. With --check it compares what it would write with
// what is there.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url);

/** Of each file its script and its style, and what it may do beside running these. */
const PAGES = {
  page: { script: "src/main.js", style: "src/page.css", may: [] },
  live: {
    script: "src/live.js",
    style: "src/live.css",
    may: ["connect-src 'self'", "frame-src 'self'", "img-src data:"],
  },
};

const bundle = async (entry, packages, options) => {
  const result = await build({
    entryPoints: [fileURLToPath(here(entry))],
    absWorkingDir: fileURLToPath(here(".")),
    bundle: true,
    metafile: true,
    minify: true,
    write: false,
    target: "es2022",
    legalComments: "none",
    charset: "ascii",
    ...options,
  });
  for (const input of Object.keys(result.metafile.inputs)) {
    const [folder] = input.match(/^.*node_modules\/(@[^/]+\/)?[^/]+\//) ?? [];
    if (folder) packages.add(folder);
  }
  return result.outputFiles[0].text.trim();
};

/** The licenses of these packages, which ask to be in every copy, as text that can stand in a comment of HTML. */
const licenses = async (packages) => {
  const texts = await Promise.all(
    [...packages].sort().map(async (folder) => {
      const { name, version } = JSON.parse(await readFile(here(`${folder}package.json`), "utf8"));
      return `${name} ${version}\n\n${(await readFile(here(`${folder}LICENSE`), "utf8")).trim()}`;
    }),
  );
  return `This page holds parts of the following packages.\n\n${texts.join("\n\n")}`.replace(/-(?=-)/g, "- ");
};

const make = async (name, { script: scriptFile, style: styleFile, may }) => {
  /** Folders of the packages that have a part in what is built. */
  const packages = new Set();
  const script = await bundle(scriptFile, packages, { format: "iife" });
  const style = await bundle(styleFile, packages, { loader: { ".css": "css" } });
  if (/<\/(script|style)/i.test(script + style)) {
    throw new Error("the script or the style holds the end of its own element");
  }
  // Nothing but this script and this style may run, and nothing may be fetched but what the page may.
  const sum = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
  const policy = [
    "default-src 'none'",
    `script-src ${sum(script)}`,
    `style-src ${sum(style)}`,
    ...may,
    "base-uri 'none'",
    "form-action 'none'",
  ].join("; ");
  const template = await readFile(here(`src/${name}.html`), "utf8");
  const notices = await licenses(packages);
  return template
    .replace("@@LICENSES@@", () => notices)
    .replace("@@POLICY@@", () => policy)
    .replace("@@STYLE@@", () => style)
    .replace("@@SCRIPT@@", () => script);
};

for (const [name, options] of Object.entries(PAGES)) {
  const page = await make(name, options);
  const [file, output] = [`built/${name}.html`, here(`built/${name}.html`)];
  if (process.argv.includes("--check")) {
    const committed = await readFile(output, "utf8").catch(() => "");
    if (committed !== page) {
      console.error(`${file} is not what src/ builds; run \`make page\` and commit it`);
      process.exit(1);
    }
  } else {
    await writeFile(output, page);
    console.log(`${file}: ${(page.length / 1024).toFixed(1)} KiB`);
  }
}
