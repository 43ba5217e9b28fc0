"""What a receipt adds to a run: every output is kept where else memory is used again, hashed once, and logged.

Shown apart, as ratios to the inference: the run that keeps its outputs, the hash pass over them, and the whole command
with entries, proofs, and a log and a receipt that are on disk when it returns (the two waits for the disk included).
"""

import runpy
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from report import MODELS, Spread, arguments, seconds, show

from opml.compiler import compile_onnx
from opml.evidence.record import node_entries
from opml.graph import Array
from opml.model import Model


def models(sizes: list[int]) -> dict[str, onnx.ModelProto]:
    make_vgg: Callable[[int], onnx.ModelProto] = runpy.run_path(str(MODELS / "vgg.py"))["make_vgg"]
    return {"cnn": onnx.load(MODELS / "cnn.onnx")} | {f"vgg {size}x{size}": make_vgg(size) for size in sizes}


def once(model: Model, inputs: dict[str, Array], threads: int | None, log: Path, file: Path) -> dict[str, float]:
    inference = model.infer(inputs, keep_tensors=True, threads=threads)
    return {
        "run": seconds(lambda: model.infer(inputs, threads=threads)),
        "keep": seconds(lambda: model.infer(inputs, keep_tensors=True, threads=threads)),
        "hash": seconds(lambda: node_entries(inference)),
        "receipt": seconds(lambda: inference.receipt(log=log).save(file)),
    }


def measure(name: str, proto: onnx.ModelProto, runs: int, threads: int | None) -> dict[str, Any]:
    model = Model(compile_onnx(proto.SerializeToString()))
    random = np.random.default_rng(0)
    inputs = {port: random.integers(0, 17, kind.shape).astype(kind.dtype.numpy) for port, kind in model.inputs.items()}
    times: dict[str, list[float]] = {key: [] for key in ("run", "keep", "hash", "receipt")}
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder, "runs.log")
        for number in range(-1, runs):
            took = once(model, inputs, threads, log, Path(folder, f"{number}.json"))
            # The first round compiles the kernels.
            for key in times if number >= 0 else ():
                times[key].append(took[key])
        size = Path(folder, "0.json").stat().st_size
    return {
        "model": name,
        "nodes": len(model.image.program.nodes),
        "output_bytes": sum(node.out_type.nbytes for node in model.image.program.nodes),
        "receipt_bytes": size,
        "run_s": Spread.of(times["run"]),
        "hash_s": Spread.of(times["hash"]),
        "receipt_s": Spread.of(times["receipt"]),
        "keep_ratio": _ratio(times["keep"], times["run"]),
        "hash_ratio": _ratio(times["hash"], times["run"]),
        "ratio": _ratio([a + b for a, b in zip(times["keep"], times["receipt"], strict=True)], times["run"]),
    }


def _ratio(above: list[float], below: list[float]) -> Spread:
    return Spread.of([a / b for a, b in zip(above, below, strict=True)])


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=[128, 224], help="image sizes of the VGG-like net")
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--threads", type=int, help="default: all processors")
    options = parser.parse_args()
    results = [measure(name, proto, options.runs, options.threads) for name, proto in models(options.sizes).items()]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda r: r["model"],
        "nodes, outputs": lambda r: f"{r['nodes']}, {r['output_bytes'] / 1e6:.3g} MB",
        "run": lambda r: r["run_s"].text("ms", 1e3),
        "outputs kept / run": lambda r: r["keep_ratio"].text("x"),
        "hash pass / run": lambda r: r["hash_ratio"].text("x"),
        "run with receipt / run": lambda r: r["ratio"].text("x"),
        "receipt alone": lambda r: r["receipt_s"].text("ms", 1e3),
    }
    show("A run with a receipt", results, columns, options.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
