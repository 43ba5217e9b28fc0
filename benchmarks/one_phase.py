"""The whole inference in the machine, as one-phase opML has it: instructions per multiply-accumulate, and seconds.

The goals: at most 130 instructions per multiply-accumulate on the MLP, everything included, and less than 0.2 s (the
original opML: about 839, and 2 s). The machine starts on the committed memory, as in a dispute; time is that of its
run alone, without hashing. A product with a zero costs less than others, and pixels and ReLU give many zeros; the last
row is a matrix product without any.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from report import MODELS, Spread, arguments, seconds, show

from opml.commitment import ModelMemory
from opml.compiler import compile_onnx
from opml.graph import Array
from opml.model import Model
from vm.constants import HALTED, REG_A0
from vm.memory import Memory
from vm.run import run
from vm.state import State, entry_state

LIMIT = 130
LIMIT_SECONDS = 0.2


def multiply_accumulates(model: Model) -> int:
    """Of the contractions of a program: one per tap of every output element, padding taps included."""
    total = 0
    for node in model.image.program.nodes:
        if node.op == "matmul":
            rows = node.types[0]
            assert rows is not None
            total += node.out_type.elements * rows.shape[-2 if node.attrs.get("trans_a") else -1]
        elif node.op == "conv":
            weight = node.types[1]
            assert weight is not None
            total += node.out_type.elements * weight.elements // weight.shape[0]
    return total


def start(model: Model, memory: ModelMemory, first: int, count: int) -> State:
    return entry_state(Memory(memory.cut(first)), model.header.entry, first, count)


def execute(state: State, limit: int) -> int:
    steps = run(state, limit)
    if (state.status, state.registers[REG_A0]) != (HALTED, 0):
        raise SystemExit(f"the machine ended with status {state.status} after {steps} steps")
    return steps


def dense_product() -> tuple[onnx.ModelProto, dict[str, Array]]:
    """[4, 512] x [512, 32] of normal numbers."""
    random = np.random.default_rng(0)
    a, b = (random.standard_normal(shape).astype(np.float32) for shape in ((4, 512), (512, 32)))
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["c"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, a.shape)],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, (4, 32))],
        [numpy_helper.from_array(b, "b")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), {"a": a}


def digits(name: str) -> tuple[onnx.ModelProto, dict[str, Array]]:
    with np.load(MODELS / "digits.npz") as file:
        return onnx.load(MODELS / f"{name}.onnx"), {"image": file["images"][3]}


def measure(name: str, proto: onnx.ModelProto, inputs: dict[str, Array], runs: int) -> dict[str, Any]:
    model = Model(compile_onnx(proto.SerializeToString(), one_phase=True))
    program = model.image.program
    inference = model.infer(inputs)
    memory = inference.memory
    state = start(model, memory, 0, program.tiles)
    steps = execute(state, model.header.max_steps)
    for port in program.outputs:
        tensor = program.tensors[port.tensor]
        assert state.memory.read(tensor.address, tensor.type.nbytes) == inference.outputs[port.name].tobytes()

    machine, native = [], []
    for _ in range(runs):
        state = start(model, memory, 0, program.tiles)
        machine.append(seconds(lambda state=state: execute(state, model.header.max_steps)))
        native.append(seconds(lambda: model.run(inputs)))
    tiles = [execute(start(model, memory, tile, 1), program.max_tile_steps) for tile in range(program.tiles)]
    macs = multiply_accumulates(model)
    return {
        "model": name,
        "multiply_accumulates": macs,
        "tiles": program.tiles,
        "instructions": steps,
        "per_multiply_accumulate": steps / macs,
        "machine_s": Spread.of(machine),
        "instructions_per_s": steps / min(machine),
        "native_s": Spread.of(native),
        "largest_tile": max(tiles),
        "max_steps": model.header.max_steps,
        "max_tile_steps": program.max_tile_steps,
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("models", nargs="*", default=["mlp", "cnn"], help="names of example models")
    parser.add_argument("--runs", type=int, default=20)
    options = parser.parse_args()
    cases = {name: digits(name) for name in options.models} | {"4x512x32": dense_product()}
    results = [measure(name, *case, options.runs) for name, case in cases.items()]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "model": lambda r: r["model"],
        "MACs": lambda r: f"{r['multiply_accumulates']:,}",
        "instructions": lambda r: f"{r['instructions']:,}",
        "per MAC": lambda r: f"{r['per_multiply_accumulate']:.1f}",
        "machine": lambda r: r["machine_s"].text("ms", 1e3),
        "instructions/s": lambda r: f"{r['instructions_per_s'] / 1e6:.0f} M",
        "native": lambda r: r["native_s"].text("ms", 1e3),
        "largest tile": lambda r: f"{r['largest_tile']:,} of {r['max_tile_steps']:,}",
    }
    show("one phase", results, columns, options.json)
    goals = [r for r in results if r["model"] == "mlp"]
    return int(any(r["per_multiply_accumulate"] > LIMIT or r["machine_s"].median > LIMIT_SECONDS for r in goals))


if __name__ == "__main__":
    sys.exit(main())
