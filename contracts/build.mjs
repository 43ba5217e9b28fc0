// Compiles src/*.sol with the pinned compiler and writes one artifact per deployed contract.
//
//   node build.mjs                 the published artifacts, to opml/chain/artifacts/
//   node build.mjs --out DIR       the same, elsewhere
//   node build.mjs --tests DIR     every contract under test/, elsewhere (never part of the package)
//
// An artifact is canonical JSON (keys sorted, two spaces, final newline), so that a rebuild is compared byte for byte.
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import solc from "solc";

const here = dirname(fileURLToPath(import.meta.url));
const PUBLISHED = ["Opml", "StepVerifier"];
const SETTINGS = {
  evmVersion: "cancun",
  optimizer: { enabled: true, runs: 200 },
  viaIR: true,
  metadata: { bytecodeHash: "none", appendCBOR: false },
};

function sourcesIn(folder) {
  const names = readdirSync(join(here, folder)).filter((name) => name.endsWith(".sol")).sort();
  return Object.fromEntries(
    names.map((name) => [`${folder}/${name}`, { content: readFileSync(join(here, folder, name), "utf8") }]),
  );
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(Object.keys(value).sort().map((key) => [key, sorted(value[key])]));
}

// Compiles the contracts of the files for which `wanted` is true; the others are only read.
function compile(sources, wanted) {
  const parts = ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"];
  const files = Object.keys(sources).filter(wanted);
  const outputSelection = Object.fromEntries(files.map((file) => [file, { "*": parts }]));
  const input = { language: "Solidity", sources, settings: { ...SETTINGS, outputSelection } };
  const output = JSON.parse(solc.compile(JSON.stringify(input)));
  const problems = output.errors ?? [];
  for (const problem of problems) console.error(problem.formattedMessage);
  if (problems.length > 0) process.exit(1); // warnings are errors
  return output.contracts;
}

function artifact(name, contract) {
  return {
    contractName: name,
    compiler: { version: solc.version(), settings: SETTINGS },
    abi: contract.abi,
    bytecode: `0x${contract.evm.bytecode.object}`,
    deployedBytecodeSize: contract.evm.deployedBytecode.object.length / 2,
  };
}

const args = process.argv.slice(2);
const option = (name) => (args.includes(name) ? resolve(args[args.indexOf(name) + 1]) : undefined);
const testOut = option("--tests");
const out = testOut ?? option("--out") ?? join(here, "..", "opml", "chain", "artifacts");
const contracts = testOut
  ? compile({ ...sourcesIn("src"), ...sourcesIn("test") }, (file) => file.startsWith("test/"))
  : compile(sourcesIn("src"), (file) => PUBLISHED.some((name) => file === `src/${name}.sol`));

mkdirSync(out, { recursive: true });
for (const members of Object.values(contracts)) {
  for (const [name, contract] of Object.entries(members)) {
    if (contract.evm === undefined) continue; // only read
    const built = artifact(name, contract);
    writeFileSync(join(out, `${name}.json`), `${JSON.stringify(sorted(built), null, 2)}\n`);
    console.log(`${name}: ${built.deployedBytecodeSize} bytes`);
  }
}
