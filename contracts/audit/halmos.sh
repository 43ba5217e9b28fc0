#!/usr/bin/env bash
# Every operation of Alu.sol is its definition for all inputs, by symbolic execution; a panic is a failure, too.
FOUNDRY_PROFILE=audit exec "$(dirname "$0")/tool" halmos --contract AluProof --forge-build-out out/audit \
    --loop 8 --panic-error-codes '*' --solver-timeout-assertion 60000
