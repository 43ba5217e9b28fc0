"""Hostile models: each is read or refused by an `OpmlError`, soon, and within bounded memory.

They are read by processes of their own (`fuzz_worker.py`), which may crash, hang or run out of memory in place of this
one. A finding is repeated by `python tests/fuzz/fuzz_worker.py KIND SEED 1`.
"""

import json
import os
import subprocess
import sys
from itertools import count
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
# Of the processor, however busy the machine is.
SECONDS, BYTES = 15, 1 << 30


def examine(kind: str, first: int, number: int, *flags: str) -> list[dict[str, Any]]:
    """The outcomes of some models; an AssertionError where one is a finding."""
    command = [sys.executable, str(HERE / "fuzz_worker.py"), kind, str(first), str(number), *flags]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1]), str(HERE)])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=600, check=False)
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert done.returncode == 0, f"{lines[-1] if lines else 'nothing'}: {done.returncode}\n{done.stderr[-3000:]}"
    outcomes = [line for line in lines if "result" in line]
    found = [o for o in outcomes if o["result"].startswith("FOUND") or o["seconds"] > SECONDS or o["grown"] > BYTES]
    assert not found, "\n".join(f"{o['name']}: {o['seconds']:.1f} s, {o['grown']} bytes, {o['result']}" for o in found)
    return outcomes


def test_models_written_by_hand() -> None:
    outcomes = examine("bombs", 0, 1000, "--soon")
    assert len(outcomes) > 120
    assert sum(outcome["result"] != "read" for outcome in outcomes) > 100


def test_wild_numbers_in_small_models() -> None:
    results = [outcome["result"] for outcome in examine("wild", 0, 150)]
    assert results.count("read") > 10
    assert len(results) - results.count("read") > 50


def test_damaged_files() -> None:
    results = [outcome["result"] for outcome in examine("damaged", 0, 100)]
    assert len(results) - results.count("read") > 20


@pytest.mark.slow
def test_models_written_by_hand_up_to_the_limits() -> None:
    examine("bombs", 0, 1000)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["wild", "damaged"])
def test_without_end(kind: str) -> None:
    """Goes on until it is stopped, or until $FUZZ_ROUNDS rounds are done (5 by default)."""
    rounds = int(os.environ.get("FUZZ_ROUNDS", "5"))
    for index in count():
        if rounds and index >= rounds:
            break
        examine(kind, 1000 * (index + 1), 300, "--run")
