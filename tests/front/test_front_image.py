"""Header, roots and file of an image."""

import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from Crypto.Hash import keccak
from front_models import helper, make_model, numbers, run_graph, run_onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.compiler import compile_graph, compile_onnx, compile_program
from opml.errors import ImageError, ModelError
from opml.guest import load as load_guest
from opml.header import ModelHeader
from opml.image import Image, build_image, read_image, write_image
from opml.inspection import describe
from opml.plan import make_plan
from opml.program import Kind
from opml.roots import guest_root, sparse_root
from opml.terms import CLOCK, WINDOW
from opml.validator import open_image
from vm.constants import MODEL_LEVEL, PAGE_BYTES
from vm.guest.record import GUEST_BASE, TABLE_BASE
from vm.memory import Memory
from vm.merkle import ZERO

MODELS = Path(__file__).parent.parent.parent / "examples" / "models"
GUEST = bytes(range(256)) * 20


@pytest.fixture(scope="module", params=["mlp", "cnn"])
def model(request: pytest.FixtureRequest) -> Path:
    return MODELS / f"{request.param}.onnx"


def memory_of(image: Image) -> Memory:
    """The initial memory, written byte by byte: an independent way to its root."""
    memory = Memory()
    memory.write(GUEST_BASE, image.guest)
    memory.write(TABLE_BASE, image.program.table)
    for name, value in image.program.constants.items():
        memory.write(image.program.tensors[name].address, value.tobytes())
    return memory


# Roots and header.


def test_roots_are_those_of_memory(model: Path) -> None:
    image = compile_onnx(model, guest=GUEST)
    memory = memory_of(image)
    assert image.header.model_root == memory.node(MODEL_LEVEL, 0)
    assert image.header.guest_root == memory.node(15, 0) == guest_root(GUEST)


@settings(max_examples=60, deadline=None)
@given(st.dictionaries(st.integers(0, 255), st.binary(min_size=1, max_size=32), max_size=6))
def test_a_sparse_root_is_that_of_memory(leaves: dict[int, bytes]) -> None:
    memory = Memory()
    for index, data in leaves.items():
        memory.write(32 * index, data)
    nodes = {(0, index): data.ljust(32, b"\0") for index, data in leaves.items()}
    for level in (8, 20, MODEL_LEVEL):
        assert sparse_root(nodes, level) == memory.node(level, 0)
    assert sparse_root({}, 12) == ZERO[12]
    assert sparse_root({(3, 0): b"\1" * 32}, 3) == b"\1" * 32


def test_one_phase_is_one_unit_of_the_same_image(model: Path) -> None:
    two, one = (compile_onnx(model, guest=GUEST, one_phase=flag).header for flag in (False, True))
    assert (two.tiles, two.stride, one.tiles, one.stride) == (two.tiles, 1, 1, two.tiles)
    assert (two.one_phase, one.one_phase) == (False, True)
    assert one.max_steps > two.max_steps
    assert (one.model_root, one.output_address) == (two.model_root, two.output_address)
    assert one.model_id != two.model_id


def header(**changes: object) -> ModelHeader:
    fields = {
        "model_root": b"\1" * 32,
        "guest_root": b"\2" * 32,
        "entry": 0,
        "tiles": 5,
        "stride": 1,
        "max_steps": 1000,
        "input_address": 64,
        "input_bytes": 33,
        "output_address": 1 << 20,
        "output_bytes": 8,
        "window": 60,
        "clock": 30,
        "input_level": 1,
        "output_level": 0,
    }
    return ModelHeader(**(fields | changes))  # type: ignore[arg-type]


def test_the_id_is_the_hash_of_fourteen_words() -> None:
    words = header().abi_words
    numbers_ = [0, 5, 1, 1000, 64, 33, 1 << 20, 8, 60, 30, 1, 0]
    assert words == (b"\1" * 32, b"\2" * 32, *(value.to_bytes(32, "big") for value in numbers_))
    assert header().model_id == keccak.new(digest_bits=256, data=b"".join(words)).digest()


@pytest.mark.parametrize(
    "changes",
    [
        {"model_root": b"\1" * 31},
        {"guest_root": "0x00"},
        {"tiles": 0},
        {"tiles": 1 << 64},
        {"window": 1 << 32},
        {"window": 0},
        {"clock": 0},
        {"stride": -1},
        {"max_steps": 0},
        {"max_steps": 1.0},
        {"input_level": 256},
        {"input_level": 35},
        {"input_bytes": 0},
        {"input_bytes": 65},
        {"input_address": 32},
        {"output_address": 1 << 39},
        {"output_address": 1},
    ],
    ids=str,
)
def test_a_header_that_makes_no_sense(changes: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=next(iter(changes)).split("_")[0]):
        header(**changes)


def test_every_field_is_part_of_the_id() -> None:
    other = {
        "model_root": b"\3" * 32, "guest_root": b"\3" * 32, "entry": 4, "tiles": 6, "stride": 2, "max_steps": 7,
        "input_address": 128, "input_bytes": 34, "output_address": 1 << 21, "output_bytes": 9, "window": 61,
        "clock": 31, "input_level": 0, "output_level": 1,
    }  # fmt: skip
    other["input_bytes"] = 34
    ids = {header().model_id}
    for name, value in other.items():
        extra = {"input_bytes": 3} if name == "input_level" else {}
        ids.add(header(**{name: value}, **extra).model_id)
    assert len(ids) == 15


# The file.


def test_a_file_says_what_was_written(model: Path, tmp_path: Path) -> None:
    image = compile_onnx(model, guest=GUEST)
    write_image(image, tmp_path / "a.opml")
    opened = open_image(tmp_path / "a.opml", guest=GUEST)
    assert describe(opened) == describe(image)
    write_image(opened, tmp_path / "b.opml")
    assert (tmp_path / "a.opml").read_bytes() == (tmp_path / "b.opml").read_bytes()


def test_compiling_twice_gives_the_same_bytes(model: Path, tmp_path: Path) -> None:
    for name in "ab":
        write_image(compile_onnx(model.read_bytes(), guest=GUEST), tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_constants_are_mapped_and_not_copied(tmp_path: Path) -> None:
    write_image(compile_onnx(MODELS / "mlp.onnx", guest=GUEST), tmp_path / "a.opml")
    program = open_image(tmp_path / "a.opml", guest=GUEST).program
    for name, value in program.constants.items():
        base = value
        while isinstance(base.base, np.ndarray):
            base = base.base
        assert isinstance(base, np.memmap)
        assert not value.flags.writeable
        assert value.ctypes.data % min(PAGE_BYTES, 32 << program.tensors[name].level) == 0


def test_sections_are_memory(tmp_path: Path) -> None:
    image = compile_onnx(MODELS / "cnn.onnx", guest=GUEST)
    write_image(image, tmp_path / "a.opml")
    memory = memory_of(image)
    for section, data in read_image(tmp_path / "a.opml").sections:
        assert section.offset % PAGE_BYTES == section.address % PAGE_BYTES == 0
        assert memory.read(section.address, section.size) == data.tobytes()


def test_constants_far_apart_lie_close_in_the_file(tmp_path: Path) -> None:
    """Large weights leave gaps in memory, not in the file."""
    nodes = [helper.make_node("Add", ["x", "a"], ["y"]), helper.make_node("Add", ["y", "b"], ["z"])]
    constants = {"a": numbers(33000), "b": numbers(33000, seed=1)}
    data = make_model(nodes, {"x": numbers(33000)}, ["z"], constants).SerializeToString()
    image = compile_onnx(data, guest=GUEST)
    write_image(image, tmp_path / "a.opml")
    assert image.program.tensors["b"].address - image.program.tensors["a"].address == 1 << 18
    assert [s["name"] for s in describe(image)["sections"]] == ["guest", "table", "constants", "constants"]
    assert (tmp_path / "a.opml").stat().st_size < 2 * 132000 + 8 * PAGE_BYTES
    assert open_image(tmp_path / "a.opml", guest=GUEST).model_id == image.model_id


def test_a_model_without_constants(tmp_path: Path) -> None:
    data = make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": numbers(3)}, ["y"]).SerializeToString()
    write_image(compile_onnx(data, guest=GUEST), tmp_path / "a.opml")
    assert open_image(tmp_path / "a.opml", guest=GUEST).program.constants == {}


def test_infinite_attributes_survive(tmp_path: Path) -> None:
    nodes = [helper.make_node("LeakyRelu", ["x"], ["y"], alpha=float("-inf"))]
    image = compile_onnx(make_model(nodes, {"x": numbers(3)}, ["y"]).SerializeToString(), guest=GUEST)
    write_image(image, tmp_path / "a.opml")
    (node,) = open_image(tmp_path / "a.opml", guest=GUEST).program.nodes
    assert node.attrs["alpha"] == float("-inf")


def test_a_file_is_replaced_in_one_step(tmp_path: Path) -> None:
    """A reader that opens the file over and over while it is written always gets a whole image."""
    target = tmp_path / "a.opml"
    images = [compile_onnx(MODELS / f"{name}.onnx", guest=GUEST) for name in ("mlp", "cnn")]
    write_image(images[0], target)

    def write() -> None:
        for index in range(20):
            write_image(images[index % 2], target)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        seen.add(open_image(target, guest=GUEST).model_id)
    writer.join()
    assert seen <= {image.model_id for image in images}
    assert [path.name for path in tmp_path.iterdir()] == ["a.opml"]


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    image = compile_onnx(MODELS / "mlp.onnx", guest=GUEST)
    for place in (tmp_path / "no" / "a.opml", tmp_path):
        with pytest.raises(ImageError, match="cannot be written"):
            write_image(image, place)
    assert list(tmp_path.iterdir()) == []


# With the published guest.


def test_the_published_guest_is_the_default(tmp_path: Path) -> None:
    image = compile_onnx(MODELS / "mlp.onnx", one_phase=True)
    assert (image.header.window, image.header.clock) == (WINDOW, CLOCK)
    assert image.guest == load_guest()
    write_image(image, tmp_path / "a.opml")
    assert open_image(tmp_path / "a.opml").header == image.header
    write_image(build_image(image.program, GUEST, window=1, clock=1), tmp_path / "a.opml")
    with pytest.raises(ImageError, match="guest"):
        open_image(tmp_path / "a.opml")


def test_windows_that_make_no_sense() -> None:
    for window, clock in ((0, 1), (1, 0), (1 << 32, 1)):
        with pytest.raises(ValueError, match=r"window|clock"):
            compile_onnx(MODELS / "mlp.onnx", guest=GUEST, window=window, clock=clock)


def test_a_broken_model_gives_no_image() -> None:
    with pytest.raises(ModelError):
        compile_onnx(b"no model", guest=GUEST)


# What inspect shows, and what the digit models compute.


def test_the_description(model: Path) -> None:
    image = compile_onnx(model, guest=GUEST)
    body = describe(image)
    assert body["model_id"] == "0x" + image.model_id.hex()
    assert sum(node["tiles"] for node in body["nodes"]) == body["tiles"]
    assert [t["address"] for t in body["tensors"]] == sorted(t["address"] for t in body["tensors"])
    assert {t["kind"] for t in body["tensors"]} == {kind.value for kind in Kind}
    assert body["inputs"] == [{"name": "image", "dtype": "uint8", "shape": [1, 1, 8, 8]}]
    assert body["arena_bytes"] == make_plan(image.program).size


def test_the_digit_models_compute_what_onnxruntime_computes(model: Path) -> None:
    import onnx

    graph = compile_graph(model)
    digits = np.load(MODELS / "digits.npz")
    images = next(digits[key] for key in digits.files if digits[key].ndim >= 3).astype(np.uint8)
    for image in images[:3]:
        feeds = {"image": image.reshape(1, 1, 8, 8)}
        (expected,) = run_onnxruntime(onnx.load(model), feeds)
        actual = run_graph(graph, feeds)["logits"]
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-4)
        assert actual.argmax() == expected.argmax()


def test_another_constant_is_another_model() -> None:
    program = compile_program(MODELS / "mlp.onnx")
    image = build_image(program, GUEST, window=1, clock=1)
    name, value = next(iter(program.constants.items()))
    changed = value.copy()
    changed.view(np.uint8).reshape(-1)[-1] ^= 1
    other = replace(program, graph=replace(program.graph, constants=program.constants | {name: changed}))
    assert build_image(other, GUEST, window=1, clock=1).model_id != image.model_id


def test_a_graph_that_no_manifest_can_hold(tmp_path: Path) -> None:
    node = helper.make_node("Unsqueeze", ["x", "axes"], ["y"])
    data = make_model([node], {"x": numbers(3)}, ["y"], {"axes": np.arange(100)}).SerializeToString()
    with pytest.raises((ModelError, ImageError)):
        write_image(compile_onnx(data, guest=GUEST), tmp_path / "a.opml")
    assert list(tmp_path.iterdir()) == []
