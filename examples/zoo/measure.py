"""One model of the zoo, measured; each in a process of its own.

python examples/zoo/measure.py NAME          all figures, as JSON
python examples/zoo/measure.py NAME --bits   only the hashes of the outputs on one and two threads
"""

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from catalogue import ZOO, Array, Entry
from packages import CACHE

from opml.chain.deploy import DEFAULT_K
from opml.compiler import compile_onnx
from opml.decoding import Decoding
from opml.demo import Arena, random_lie
from opml.dispute.game import Role
from opml.errors import OpmlError
from opml.model import Model

RUNS, ENOUGH_SECONDS = 11, 10.0
# numba's CPU without any feature, so without FMA, and kernels of its own.
GENERIC = {"NUMBA_CPU_NAME": "generic", "NUMBA_CPU_FEATURES": "", "XDG_CACHE_HOME": str(CACHE / "kernels-generic")}


def measure(entry: Entry, seed: int = 0) -> dict[str, Any]:
    """All figures of one model; `error` says where it stopped."""
    found: dict[str, Any] = {
        "name": entry.name,
        "kind": entry.kind,
        "package": entry.package.pin,
        "licence": entry.package.licence,
        "file": entry.member,
        "sha256": entry.sha256,
        "input": {name: list(array.shape) for name, array in entry.inputs().items()},
    }
    try:
        began = time.perf_counter()
        model = compiled(entry)
        found["compile_s"] = time.perf_counter() - began
        found |= _size(model)
        inputs = {name: entry.inputs()[name] for name in model.inputs}
        found |= _compare(entry, model, inputs)
        found |= _bits(entry, model, inputs)
        found |= _dispute(model, inputs, seed)
    except OpmlError as error:
        found["error"] = str(error)
    return found


def compiled(entry: Entry) -> Model:
    """The model at the entry's shapes; ONNX Runtime is given the file as it is."""
    values = {name: np.array(value) for name, value in entry.constants.items()}
    decoding = None if entry.context is None else Decoding(entry.context)
    return Model(compile_onnx(entry.data(), dims=entry.shapes, values=values, decoding=decoding))


def _size(model: Model) -> dict[str, Any]:
    program = model.image.program
    with tempfile.TemporaryDirectory() as folder:
        model.save(file := Path(folder) / "model.opml")
        size = file.stat().st_size
    return {
        "model_id": "0x" + model.model_id.hex(),
        "nodes": len(program.nodes),
        "tiles": program.tiles,
        "image_bytes": size,
        "input_bytes": program.input_region.nbytes,
    }


def _compare(entry: Entry, model: Model, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Answers, differences and times beside ONNX Runtime's, measured in turn.

    opml has all processors. ONNX Runtime is measured with all and with one, and the faster counts: where processors
    are shared, its waiting threads can cost more than they bring.
    """
    ours, theirs = partial(model.run, inputs), [_reference(entry, threads) for threads in (0, 1)]
    mine, reference = ours(), theirs[0]()
    spent: dict[Callable[[], Any], list[float]] = {run: [] for run in (ours, *theirs)}
    until = time.perf_counter() + ENOUGH_SECONDS
    for number in range(RUNS):
        if number and time.perf_counter() > until:
            break
        for run, seconds in spent.items():
            began = time.perf_counter()
            run()
            seconds.append(time.perf_counter() - began)
    answers = entry.answer(mine), entry.answer(reference)
    return {
        "answer": answers[0],
        "same_answer": answers[0] == answers[1],
        "difference": max(_difference(mine[name], reference[name]) for name in reference),
        "run_s": statistics.median(spent[ours]),
        "onnxruntime_s": min(statistics.median(spent[run]) for run in theirs),
    }


def _reference(entry: Entry, threads: int) -> Callable[[], Mapping[str, Array]]:
    """ONNX Runtime on the entry's question; 0 threads stand for one per processor."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(entry.data(), options)
    if entry.theirs:
        return partial(entry.theirs(session), entry.inputs())
    names, given = [output.name for output in session.get_outputs()], entry.inputs()
    return lambda: dict(zip(names, session.run(None, given), strict=True))


def _difference(mine: Array, reference: Array) -> float:
    """The largest difference of two elements, relative to the largest element of the tensor."""
    wide, other = mine.astype(np.float64), reference.astype(np.float64)
    return float(abs(wide - other).max(initial=0) / max(abs(other).max(initial=0), np.finfo(np.float32).tiny))


def digests(model: Model, inputs: Mapping[str, Array]) -> list[str]:
    """A hash over all output bytes for one thread and for two."""
    runs = (model.run(inputs, threads=threads) for threads in (1, 2))
    return [hashlib.sha256(b"".join(array.tobytes() for array in run.values())).hexdigest() for run in runs]


def _bits(entry: Entry, model: Model, inputs: Mapping[str, Array]) -> dict[str, Any]:
    """Whether the bits are the same on one thread and two, here and by kernels for a CPU without any feature."""
    command = [sys.executable, __file__, entry.name, "--bits"]
    child = subprocess.run(command, env=os.environ | GENERIC, capture_output=True, text=True, check=True)
    here, generic = digests(model, inputs), json.loads(child.stdout)
    return {"same_bits_threads": here[0] == here[1], "same_bits_generic": here == generic, "output_sha256": here[0]}


def _dispute(model: Model, inputs: dict[str, Array], seed: int) -> dict[str, Any]:
    """A prover with one wrong bit in a random tile is challenged, and the game played to the verdict."""
    scene = Arena(DEFAULT_K).dispute(model, inputs, Role.PROVER, seed, random_lie)
    node = model.image.program.node_of_tile(scene.tile)
    return {
        "verdict": "caught" if scene.winner is Role.CHALLENGER else "not caught",
        "tile": scene.tile,
        "tile_op": node.op,
        "tile_instructions": scene.steps,
        "gas": scene.gas,
        "transactions": len(scene.claimed),
        "dispute_s": scene.seconds,
    }


def main() -> None:
    entry = next(entry for entry in ZOO if entry.name == sys.argv[1])
    if "--bits" in sys.argv:
        model = compiled(entry)
        print(json.dumps(digests(model, {name: entry.inputs()[name] for name in model.inputs})))
    else:
        print(json.dumps(measure(entry)))


if __name__ == "__main__":
    main()
