// Bundles each view into one script and one style sheet beside its Python, with the licences of what is in them.

import { createHash } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const SOURCES = ["build.js", "package-lock.json", "package.json", "terminal.css", "terminal.js"];
const BUNDLED = ["@xterm/xterm", "@xterm/addon-fit"];
const TARGET = "../pi_v_jupyter/views/terminal";

function digest(...texts) {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(text);
  return hash.digest("hex");
}

const source = digest(...SOURCES.map((name) => readFileSync(name)));
const { outputFiles } = await build({
  entryPoints: ["terminal.js"],
  outdir: TARGET,
  bundle: true,
  minify: true,
  format: "esm",
  target: "es2021",
  legalComments: "none",
  write: false,
});
for (const { path, text } of outputFiles) {
  const made = `built from js/ by "make widgets"; licences: LICENSES.txt; source ${source}; text ${digest(text)}`;
  writeFileSync(path, `/* ${made} */\n${text}`);
}
const licences = BUNDLED.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`);
writeFileSync(`${TARGET}/LICENSES.txt`, licences.join(`\n${"-".repeat(80)}\n\n`));
