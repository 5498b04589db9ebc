// Builds built/page.html, one file without references to others, from src/. With --check it compares what it would write
// with what is there.
import { createHash } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { build } from "esbuild";

const here = (path) => new URL(path, import.meta.url);
const OUTPUT = here("built/page.html");

const bundle = async (entry, options) => {
  const result = await build({
    entryPoints: [here(entry).pathname],
    bundle: true,
    minify: true,
    write: false,
    target: "es2022",
    legalComments: "none",
    charset: "ascii",
    ...options,
  });
  return result.outputFiles[0].text.trim();
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
const page = template
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
