// Bundles each view into one script and one style sheet beside its Python, with the licences of what is in them.

import { createHash } from "node:crypto";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { build } from "esbuild";

const SHARED = ["build.js", "keys.js", "package-lock.json", "package.json"];
const VIEWS = {
  terminal: {
    entry: "terminal.js",
    sources: ["terminal.css", "terminal.js"],
    bundled: ["@xterm/xterm", "@xterm/addon-fit"],
  },
  dashboard: {
    entry: "dashboard/main.jsx",
    sources: readdirSync("dashboard").sort().map((name) => `dashboard/${name}`),
    bundled: ["preact", "marked", "dompurify"],
  },
};

function digest(...texts) {
  const hash = createHash("sha256");
  for (const text of texts) hash.update(text);
  return hash.digest("hex");
}

for (const [view, { entry, sources, bundled }] of Object.entries(VIEWS)) {
  const target = `../pi_v_jupyter/views/${view}`;
  const source = digest(...[...SHARED, ...sources].map((name) => readFileSync(name)));
  const { outputFiles } = await build({
    entryPoints: { [view]: entry },
    outdir: target,
    bundle: true,
    minify: true,
    format: "esm",
    target: "es2021",
    jsx: "automatic",
    jsxImportSource: "preact",
    legalComments: "none",
    write: false,
  });
  mkdirSync(target, { recursive: true });
  for (const { path, text } of outputFiles) {
    const made = `built from js/ by "make widgets"; licences: LICENSES.txt; source ${source}; text ${digest(text)}`;
    writeFileSync(path, `/* ${made} */\n${text}`);
  }
  const licences = bundled.map((name) => `${name}\n\n${readFileSync(`node_modules/${name}/LICENSE`, "utf8").trim()}\n`);
  writeFileSync(`${target}/LICENSES.txt`, licences.join(`\n${"-".repeat(80)}\n\n`));
}
