"""The ways to compute a model: definition, native kernels, the machine, and ONNX Runtime."""

from collections.abc import Mapping

import numpy as np
import onnx
import onnxruntime
from parity_builder import Array

from opml.compiler import compile_onnx
from opml.dispute.selfcheck import self_check
from opml.engine import Engine, shown
from opml.image import Image
from opml.model import Model
from opml.model_memory import constant_regions
from vm.constants import HALTED, MODEL_LEVEL, REG_A0
from vm.memory import Memory
from vm.run import run
from vm.state import State, entry_state

# Of a tensor's largest magnitude; of SMALL where that is less, since what was cancelled cannot come back.
TOLERANCE = 1e-4
SMALL = 1e-1

onnxruntime.set_default_logger_severity(4)


def compile_model(model: onnx.ModelProto) -> Image:
    return compile_onnx(model.SerializeToString())


def check_bits(image: Image, feeds: Mapping[str, Array], seed: int) -> dict[str, Array]:
    """Every tensor by definition, by the native kernels and by the machine, from the same bytes; returns the outputs.

    The machine runs the whole program at once, as in one phase, and a few single tiles, as in a dispute.
    """
    program = image.program
    native = Engine(program)
    defined = Engine(program, definition_only=True).run_full(feeds)
    for name, data in native.run_full(feeds).items():
        assert data.tobytes() == defined[name].tobytes(), f"native: {name}"

    state = run_machine(image, feeds)
    assert (state.status, state.registers[REG_A0]) == (HALTED, 0)
    for name, tensor in program.tensors.items():
        assert state.memory.read(tensor.address, defined[name].size) == defined[name].tobytes(), f"machine: {name}"
    memory = Model(image).infer(feeds).memory
    assert state.memory.node(MODEL_LEVEL, 0) == memory.root(program.tiles)
    self_check(image.header, memory, seed=seed)

    outputs = native.run(feeds)
    for port in program.outputs:
        expected = shown(program, port, defined[port.tensor])
        assert outputs[port.name].tobytes() == expected.tobytes(), f"arena: {port.name}"
    return outputs


def run_machine(image: Image, feeds: Mapping[str, Array]) -> State:
    """The machine's state after the whole program, from the model and the inputs alone."""
    program = image.program
    memory = Memory()
    for region in constant_regions(image):
        memory.write(region.address, region.data.tobytes())
    for port in program.inputs:
        memory.write(program.tensors[port.tensor].address, np.ascontiguousarray(feeds[port.name]).tobytes())
    state = entry_state(memory, image.header.entry, 0, program.tiles)
    run(state, program.max_steps)
    return state


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def difference(found: Array, reference: Array) -> float:
    """Largest difference of two float tensors, relative to the largest magnitude of the reference."""
    if not found.size:
        return 0.0
    error = np.abs(found.astype(np.float64) - reference.astype(np.float64)).max()
    return float(error / max(np.abs(reference).max(), SMALL))


def check_close(outputs: Mapping[str, Array], reference: Mapping[str, Array], exact: set[str]) -> None:
    """opml's outputs are ONNX Runtime's: equal where they are `exact` or integers, else within TOLERANCE."""
    for name, expected in reference.items():
        found = outputs[name]
        assert (found.dtype, found.shape) == (expected.dtype, expected.shape), name
        if name in exact or expected.dtype != np.float32:
            assert np.array_equal(found, expected), f"{name}: {found} is not {expected}"
        else:
            error = difference(found, expected)
            assert error <= TOLERANCE, f"{name}: {found} is not {expected} (by {error:.2g})"
