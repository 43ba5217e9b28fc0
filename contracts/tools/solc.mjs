#!/usr/bin/env node
// The pinned solc-js in the guise of the native compiler, as far as forge asks for it.
import { readFileSync } from "node:fs";
import solc from "solc";

if (process.argv.includes("--version")) {
  const version = solc.version().replace(".Emscripten.clang", ".Linux.g++");
  console.log(`solc, the solidity compiler commandline interface\nVersion: ${version}`);
} else {
  // forge passes --standard-json, and perhaps paths, which do not matter: the input carries all sources
  process.stdout.write(solc.compile(readFileSync(0, "utf8")));
}
