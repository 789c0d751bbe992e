#!/usr/bin/env node
// A Solidity compiler for py-solc-x where no native one can be had: npm's `solc` behind the native command line.
//
// py-solc-x calls `solc-vX.Y.Z --version` many times and then once
// `solc-vX.Y.Z --standard-json --allow-paths a,b < input.json`. The first is answered from a cache beside this file's
// node_modules, without loading the 30 MB module; the second goes to `solc.compile`, whose import callback reads only
// below the allowed paths, as the native compiler does.
import {createRequire} from "node:module";
import {existsSync, readFileSync, realpathSync, writeFileSync} from "node:fs";
import path from "node:path";
import {fileURLToPath} from "node:url";

const here = path.dirname(realpathSync(fileURLToPath(import.meta.url)));
const root = process.env.WAYPOST_ROOT ?? path.dirname(here);
const require = createRequire(path.join(root, "package.json"));
const manifest = path.join(root, "node_modules", "solc", "package.json");
const cache = path.join(root, "node_modules", ".solc-version");

function version() {
  const wanted = JSON.parse(readFileSync(manifest, "utf8")).version;
  if (existsSync(cache)) {
    const known = readFileSync(cache, "utf8");
    if (known.startsWith(`${wanted}+`)) return known;
  }
  const found = require("solc").version().replace(".Emscripten.clang", ".Linux.g++");
  writeFileSync(cache, found);
  return found;
}

function fail(message) {
  process.stderr.write(`${message}\n`);
  process.exit(1);
}

const args = process.argv.slice(2);
if (args.includes("--version")) {
  process.stdout.write(`solc, the solidity compiler commandline interface\nVersion: ${version()}\n`);
  process.exit(0);
}
if (!args.includes("--standard-json")) fail("this launcher knows --version and --standard-json only");

const at = args.indexOf("--allow-paths");
const allowed = (at < 0 ? "" : args[at + 1] ?? "").split(",").filter(Boolean).map((p) => path.resolve(p));
allowed.push(root, process.cwd());

function readImport(name) {
  const file = path.resolve(name);
  if (!existsSync(file)) return {error: `File not found: ${name}`};
  const real = realpathSync(file);
  if (!allowed.some((dir) => real === dir || real.startsWith(dir + path.sep))) {
    return {error: `File outside of allowed directories: ${name}`};
  }
  return {contents: readFileSync(real, "utf8")};
}

const chunks = [];
for await (const chunk of process.stdin) chunks.push(chunk);
const output = require("solc").compile(Buffer.concat(chunks).toString("utf8"), {import: readImport});
process.stdout.write(output + "\n");
