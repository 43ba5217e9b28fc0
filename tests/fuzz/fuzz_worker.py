"""A process that reads hostile models: `python fuzz_worker.py KIND FIRST COUNT` prints a line of JSON per model.

Its address space is limited, so that what allocates without bound fails here; a model that takes too long ends it with
the stack that it was found in. A model may be read, or refused by an `OpmlError`; anything else is a finding.

`--run` runs what was read. `--soon` lowers the limits of what a model may unroll and unfold to: that they hold is seen
as well, and sooner.
"""

import faulthandler
import json
import resource
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import opml.lowering
from opml.compiler import compile_graph
from opml.engine import Engine
from opml.errors import OpmlError
from opml.lowering import builder
from opml.plan import make_plan
from opml.program import Program, build_program

# Of the clock, on however busy a machine; how long a model may take is counted in seconds of the processor.
SECONDS = 120
# Beyond what the process takes before its first model.
ROOM = 3 << 29
RUN_STEPS, RUN_BYTES = 1 << 30, 1 << 24


def address_space() -> int:
    """Bytes of this process's address space."""
    return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()


def peak() -> int:
    """The most memory that this process has ever held, in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10


def run(program: Program, seed: int) -> None:
    """A run on arbitrary bits, of what is small."""
    if program.max_steps > RUN_STEPS or make_plan(program).size > RUN_BYTES:
        return
    rng = np.random.default_rng(seed)
    feeds = {}
    for port in program.inputs:
        data = rng.integers(0, 256, port.type.nbytes, np.uint8)
        feeds[port.name] = data.view(port.type.dtype.numpy).reshape(port.type.shape)
    Engine(program, threads=1).run(feeds)


def outcome(model: bytes, seed: int, pins: dict[str, Any], execute: bool) -> str:
    try:
        program = build_program(compile_graph(model, pins))
        if execute and not getattr(program, "repeated", False):
            run(program, seed)
    except OpmlError as error:
        return f"{error.code}: {error.message[:200]}"
    except BaseException as error:
        import traceback

        return f"FOUND {type(error).__name__}: {error}\n" + "".join(traceback.format_tb(error.__traceback__)[-6:])
    return "read"


def main() -> None:
    from fuzz_cases import KINDS

    kind, first, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    execute = "--run" in sys.argv
    if "--soon" in sys.argv:
        builder.MAX_OPERATORS >>= 5
        opml.lowering.FREE_BYTES >>= 3
    warnings.simplefilter("ignore")
    # What is loaded on first use is loaded now.
    cases = KINDS[kind](first, count)
    base = address_space() + ROOM
    resource.setrlimit(resource.RLIMIT_AS, (base, resource.RLIM_INFINITY))
    for name, model in cases:
        print(json.dumps({"begin": name}), flush=True)
        data = model() if callable(model) else model
        before, start = peak(), time.process_time()
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        result = outcome(data, first, {}, execute)
        faulthandler.cancel_dump_traceback_later()
        seconds, grown = time.process_time() - start, peak() - before
        print(json.dumps({"name": name, "result": result, "seconds": seconds, "grown": grown}), flush=True)


if __name__ == "__main__":
    main()
