#!/usr/bin/env bash
# Static analysis (slither) and proofs for all inputs (halmos) of the contracts. Everything it needs it puts into
# out/audit and audit/node_modules: Python 3.11+, Node.js 20+; forge comes from npm on x86-64 Linux, elsewhere from PATH.
set -euo pipefail
cd "$(dirname "$0")/.."
tools=out/audit

[ -d node_modules/solc ] || npm ci --ignore-scripts --no-audit --no-fund
[ -d audit/node_modules ] || npm ci --ignore-scripts --no-audit --no-fund --prefix audit
if [ ! -e "$tools/.installed" ]; then
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/pip" install --quiet --disable-pip-version-check -r audit/requirements.txt
    touch "$tools/.installed"
fi
export PATH="$PWD/audit/node_modules/@foundry-rs/forge-linux-amd64/bin:$PWD/$tools/bin:$PATH"

# No finding of medium or high impact. What is left below: times, which clocks compare, and names of the constructor.
slither . --foundry-out-directory out/forge --fail-medium --exclude-low --exclude-informational --exclude-optimization

# Every operation of Alu.sol is its definition for all inputs; a panic is a failure, too.
halmos --contract AluProof --forge-build-out out/forge --loop 8 --panic-error-codes '*' --solver-timeout-assertion 60000
