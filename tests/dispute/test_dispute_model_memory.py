"""The committed memory of a compiled model: with the header's roots, and as the machine finds it."""

import numpy as np
import pytest
from onnx import TensorProto, helper

from opml.commitment import Place
from opml.compiler import compile_onnx
from opml.dispute.selfcheck import self_check
from opml.dispute.trace import ModelTrace
from opml.engine import Engine
from opml.errors import InputError
from opml.image import Image
from opml.model_memory import constant_regions, input_bytes, model_memory, output_root, read_input
from vm.constants import MODEL_LEVEL
from vm.merkle import ZERO, decode_path, fold, subtree_root

A = np.arange(3, dtype=np.float32) - 1
B = np.linspace(-2, 2, 21, dtype=np.float32).reshape(7, 3)
W = np.full((7, 3), 1.5, np.float32)


def onnx_model() -> bytes:
    """y = relu(a + b), z = y * w: two inputs of odd sizes, two outputs, an intermediate tensor."""
    nodes = [
        helper.make_node("Add", ["a", "b"], ["s"]),
        helper.make_node("Relu", ["s"], ["y"]),
        helper.make_node("Mul", ["y", "w"], ["z"]),
    ]
    f32 = TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("a", f32, [3]), helper.make_tensor_value_info("b", f32, [7, 3])],
        [helper.make_tensor_value_info("y", f32, [7, 3]), helper.make_tensor_value_info("z", f32, [7, 3])],
        [helper.make_tensor("w", f32, W.shape, W.reshape(-1))],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def images() -> dict[bool, Image]:
    return {one_phase: compile_onnx(onnx_model(), one_phase=one_phase) for one_phase in (False, True)}


def test_roots_are_the_headers_and_paths_prove_input_and_output(images: dict[bool, Image]) -> None:
    image = images[False]
    header, program = image.header, image.program
    posted = input_bytes(program, {"a": A, "b": B})
    engine = Engine(program)
    outputs = engine.run({"a": A, "b": B})
    constants = constant_regions(image)
    memory = model_memory(image, engine.run_full({"a": A, "b": B}), posted, constants)
    assert memory.model_root == header.model_root
    assert memory.input_root == subtree_root(posted, header.input_level)
    assert memory.output_root == output_root(program, outputs)
    inputs, place = Place(header.input_address, header.input_level), Place(header.output_address, header.output_level)
    siblings = decode_path(memory.input_path(), inputs.level, MODEL_LEVEL)
    assert fold(ZERO[inputs.level], inputs.level, inputs.index, siblings, MODEL_LEVEL) == header.model_root
    assert fold(memory.input_root, inputs.level, inputs.index, siblings, MODEL_LEVEL) == memory.root(0)
    siblings = decode_path(memory.output_path(), place.level, MODEL_LEVEL)
    assert fold(memory.output_root, place.level, place.index, siblings, MODEL_LEVEL) == memory.root(memory.tiles)


@pytest.mark.parametrize("one_phase", [False, True])
def test_the_machine_arrives_at_every_root_of_the_native_run(images: dict[bool, Image], one_phase: bool) -> None:
    image = images[one_phase]
    posted = input_bytes(image.program, {"a": A, "b": B})
    tensors = Engine(image.program).run_full({"a": A, "b": B})
    memory = model_memory(image, tensors, posted, constant_regions(image))
    assert self_check(image.header, memory, count=memory.tiles) == list(range(memory.tiles))
    trace = ModelTrace(image.header, memory)
    end = trace.machine(0)
    assert end.steps <= image.header.max_steps
    assert end.state(end.steps).memory.node(MODEL_LEVEL, 0) == trace.tile_root(1)


def test_what_a_prover_posts_between_two_inputs_is_in_memory_and_changes_no_result(images: dict[bool, Image]) -> None:
    image = images[False]
    posted = bytearray(input_bytes(image.program, {"a": A, "b": B}))
    gap = posted.index(bytes(8), 12)
    posted[gap : gap + 8] = b"whatever"
    assert all(np.array_equal(v, {"a": A, "b": B}[k]) for k, v in read_input(image.program, bytes(posted)).items())
    tensors = Engine(image.program).run_full(read_input(image.program, bytes(posted)))
    memory = model_memory(image, tensors, bytes(posted), constant_regions(image))
    assert memory.input_root == subtree_root(bytes(posted), image.header.input_level)
    self_check(image.header, memory, count=memory.tiles)


def test_missing_and_misshapen_tensors_are_named(images: dict[bool, Image]) -> None:
    image = images[False]
    posted = input_bytes(image.program, {"a": A, "b": B})
    tensors = Engine(image.program).run_full({"a": A, "b": B})
    constants = constant_regions(image)
    with pytest.raises(InputError, match="tensor 'b' is missing"):
        input_bytes(image.program, {"a": A})
    with pytest.raises(InputError, match="tensor 'a' has 8 bytes; the program has 12"):
        input_bytes(image.program, {"a": A[:2], "b": B})
    with pytest.raises(InputError, match="the posted input has"):
        model_memory(image, tensors, posted + b"\0", constants)
    with pytest.raises(InputError, match="is missing"):
        model_memory(image, {}, posted, constants)
    with pytest.raises(InputError, match="tensor 'y'"):
        output_root(image.program, {"y": B[:1], "z": B})
