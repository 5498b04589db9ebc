// Builds built/page.html, one file without references to others, from src/. With --check it compares what it would write
// with what is there.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url);
const OUTPUT = here("built/page.html");

/** Folders of the packages that have a part in what is built. */
const packages = new Set();

const bundle = async (entry, options) => {
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

/** The licenses of all packages, which ask to be in every copy, as text that can stand in a comment of HTML. */
const licenses = async () => {
  const texts = await Promise.all(
    [...packages].sort().map(async (folder) => {
      const { name, version } = JSON.parse(await readFile(here(`${folder}package.json`), "utf8"));
      return `${name} ${version}\n\n${(await readFile(here(`${folder}LICENSE`), "utf8")).trim()}`;
    }),
  );
  return `This page holds parts of the following packages.\n\n${texts.join("\n\n")}`.replace(/-(?=-)/g, "- ");
};

const script = await bundle("src/main.js", { format: "iife" });
const style = await bundle("src/page.css", { loader: { ".css": "css" } });
if (/<\/(script|style)/i.test(script + style)) {
  throw new Error("the script or the style holds the end of its own element");
}
// Nothing but this script and this style may run, and nothing may be fetched from anywhere.
const sum = (text) => `'sha256-${createHash("sha256").update(text).digest("base64")}'`;
const policy = [
  "default-src 'none'",
  `script-src ${sum(script)}`,
  `style-src ${sum(style)}`,
  "base-uri 'none'",
  "form-action 'none'",
].join("; ");
const template = await readFile(here("src/page.html"), "utf8");
const notices = await licenses();
const page = template
  .replace("@@LICENSES@@", () => notices)
  .replace("@@POLICY@@", () => policy)
  .replace("@@STYLE@@", () => style)
  .replace("@@SCRIPT@@", () => script);

if (process.argv.includes("--check")) {
  const committed = await readFile(OUTPUT, "utf8").catch(() => "");
  if (committed !== page) {
    console.error("built/page.html is not what src/ builds; run `make page` and commit it");
    process.exit(1);
  }
} else {
  await writeFile(OUTPUT, page);
  console.log(`built/page.html: ${(page.length / 1024).toFixed(1)} KiB`);
}
