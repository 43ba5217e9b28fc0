// Compiles src/*.sol with the pinned compiler.
//
//   node build.mjs                 the published artifacts, to opml/chain/artifacts/, and the ABIs, to src/abi/
//   node build.mjs --out DIR       the artifacts, elsewhere
//   node build.mjs --abi DIR       the ABIs, elsewhere
//   node build.mjs --report DIR    what the compiler knows of each: documentation, storage layout, sizes
//   node build.mjs --tests DIR     the contracts of the Python tests, test/*.sol but not *.t.sol, which are forge's
//
// An artifact is canonical JSON (keys sorted, two spaces, final newline), so that a rebuild is compared byte for byte.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const PUBLISHED = ["InferenceMarket", "Opml", "StepVerifier"];
const SETTINGS = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  metadata: { bytecodeHash: "none", appendCBOR: false },
};
const INTERFACE_PARTS = ["abi", "devdoc", "userdoc"];
const CONTRACT_PARTS = [...INTERFACE_PARTS, "storageLayout", "evm.bytecode.object", "evm.deployedBytecode.object"];

function sourcesIn(folder) {
  const names = readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol") && !name.endsWith(".t.sol"));
  return Object.fromEntries(
    names.sort().map((name) => [`${folder}/${name}`, { content: readFileSync(join(here, folder, name), "utf8") }]),
  );
}

// The structs that Slots.sol packs as Solidity would: this says how.
const LAYOUT = {
  "Layout.sol": {
    content: `// SPDX-License-Identifier: MIT
pragma solidity 0.8.30;
import {IOpml} from "./src/IOpml.sol";
contract Layout {
    IOpml.ClaimState internal claim;
    IOpml.Game internal game;
}`,
  },
};

const isInterface = (file) => /^src\/I[A-Z]\w*\.sol$/.test(file);
const isPublished = (file) => PUBLISHED.some((name) => file === `src/${name}.sol`);

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

// The contracts of these files, by name; `parts` says of each file what is wanted, and of none that it is only read.
function compile(sources, parts) {
  const files = Object.keys(sources).filter((file) => parts(file).length > 0);
  const outputSelection = Object.fromEntries(files.map((file) => [file, { "*": parts(file) }]));
  const input = { language: "Solidity", sources, settings: { ...SETTINGS, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const problems = output.errors ?? [];
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) process.exit(1); // warnings are errors
  return Object.fromEntries(files.flatMap((file) => Object.entries(output.contracts[file] ?? {})));
}

const size = (contract) => contract.evm.deployedBytecode.object.length / 2;

function artifact(name, contract) {
  return {
    contractName: name,
    compiler: { version: solc.version(), settings: SETTINGS },
    abi: contract.abi,
    bytecode: `0x${contract.evm.bytecode.object}`,
    deployedBytecodeSize: size(contract),
  };
}

function report({ abi, devdoc, userdoc, storageLayout, ...contract }) {
  return { abi, devdoc, userdoc, storageLayout, deployedBytecodeSize: contract.evm ? size(contract) : null };
}

// One file for each contract.
function write(folder, contracts, content) {
  mkdirSync(folder, { recursive: true });
  for (const [name, contract] of Object.entries(contracts)) {
    writeFileSync(join(folder, `${name}.json`), `${JSON.stringify(sorted(content(name, contract)), null, 2)}\n`);
  }
}

const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? resolve(args[args.indexOf(name) + 1]) : undefined);

if (option("--tests")) {
  const isTest = (file) => (file.startsWith("test/") ? CONTRACT_PARTS : []);
  write(option("--tests"), compile({ ...sourcesIn("src"), ...sourcesIn("test") }, isTest), artifact);
} else {
  const all = args.length === 0;
  const out = option("--out") ?? (all && join(here, "..", "opml", "chain", "artifacts"));
  const abi = option("--abi") ?? (all && join(here, "src", "abi"));
  const wanted = out || option("--report") ? CONTRACT_PARTS : INTERFACE_PARTS; // code takes time
  const { Layout, ...contracts } = compile({ ...sourcesIn("src"), ...LAYOUT }, (file) => {
    if (file in LAYOUT) return ["storageLayout"];
    return isPublished(file) ? wanted : isInterface(file) ? INTERFACE_PARTS : [];
  });
  const published = Object.fromEntries(Object.entries(contracts).filter(([, contract]) => contract.evm));
  if (out) write(out, published, artifact);
  if (abi) write(abi, contracts, (_, contract) => contract.abi);
  if (option("--report")) write(option("--report"), { Layout, ...contracts }, (_, contract) => report(contract));
  for (const [name, contract] of Object.entries(published)) console.log(`${name}: ${size(contract)} bytes`);
}
