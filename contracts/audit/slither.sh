#!/usr/bin/env bash
# Static analysis: no finding of medium or high impact, by any detector. What is not one, the sources say line by line, with the reason.
FOUNDRY_PROFILE=audit exec "$(dirname "$0")/tool" slither . --foundry-out-directory out/audit \
    --fail-medium --exclude-low --exclude-informational --exclude-optimization
