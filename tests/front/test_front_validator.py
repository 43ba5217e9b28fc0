"""A loaded image is believed in nothing: every hostile one is refused, with a word that says why."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from front_models import helper, make_model, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto

from opml.compiler import compile_program
from opml.errors import ImageError
from opml.image import MAGIC, Image, build_image, make_header, write_image
from opml.validator import open_image
from vm.constants import PAGE_BYTES
from vm.guest.record import RECORD_BYTES

GUEST = bytes(range(256)) * 40
Json = dict[str, Any]


def build() -> Image:
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["h"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Clip", ["h", "low"], ["c"]),
        helper.make_node("Flatten", ["c"], ["f"]),
        helper.make_node("MatMul", ["f", "m"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"]),
        helper.make_node("Relu", ["g"], ["z"]),
    ]
    constants = {
        "w": numbers(3, 2, 3, 3),
        "b": numbers(3),
        "low": np.float32(-1),
        "m": numbers(27, 300),
    }
    model = make_model(nodes, {"x": numbers(1, 2, 5, 5)}, ["y", "z"], constants)
    return build_image(compile_program(model.SerializeToString()), GUEST, window=600, clock=300)


@pytest.fixture(scope="module")
def image() -> Image:
    return build()


@pytest.fixture
def path(image: Image, tmp_path: Path) -> Path:
    write_image(image, tmp_path / "model.opml")
    return tmp_path / "model.opml"


class File:
    """An image file taken apart, so that one piece can be changed and the rest stays as it was."""

    def __init__(self, data: bytes) -> None:
        length = int.from_bytes(data[12:16], "little")
        self.length = length
        self.manifest: Json = json.loads(data[16 : 16 + length])
        start = -(-(16 + length) // PAGE_BYTES) * PAGE_BYTES
        self.body = bytearray(data[start:])
        self.start = start

    def section(self, index: int) -> slice:
        entry = self.manifest["sections"][index]
        return slice(entry["offset"] - self.start, entry["offset"] - self.start + entry["size"])

    def bytes(self) -> bytes:
        text = json.dumps(self.manifest, separators=(",", ":")).encode()
        assert len(text) <= self.length, "the change must fit"
        text = text.ljust(self.length)
        head = MAGIC + (1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
        return head.ljust(self.start, b"\0") + self.body


def refused(path: Path, data: bytes, *words: str, guest: bytes = GUEST) -> None:
    path.write_bytes(data)
    with pytest.raises(ImageError) as caught:
        open_image(path, guest=guest)
    for word in words:
        assert word in caught.value.message


def test_the_honest_image(image: Image, path: Path) -> None:
    assert path.read_bytes() == File(path.read_bytes()).bytes()
    opened = open_image(path, guest=GUEST)
    assert opened.header == image.header
    assert opened.program.table == image.program.table
    assert opened.program.tensors == image.program.tensors
    for name, value in image.program.constants.items():
        np.testing.assert_array_equal(opened.program.constants[name], value)
        assert not opened.program.constants[name].flags.writeable
    assert open_image(path, guest=GUEST, rehash=False).header == image.header


# What the file is made of.


@pytest.mark.parametrize("size", [0, 1, 15, 16, 100, 4095])
def test_a_truncated_head(path: Path, size: int) -> None:
    refused(path, path.read_bytes()[:size])


def test_truncated_and_padded_sections(path: Path) -> None:
    data = path.read_bytes()
    refused(path, data[:-1], "truncated")
    refused(path, data[:-PAGE_BYTES], "truncated")
    refused(path, data + b"\0", "after its last section")
    refused(path, data + bytes(PAGE_BYTES), "after its last section")


def test_another_magic_or_version(path: Path) -> None:
    data = path.read_bytes()
    refused(path, b"\x7fELF" + data[4:], "no opml image")
    refused(path, data[:8] + b"\2" + data[9:], "version 2")


def test_a_manifest_length_beyond_the_file(path: Path) -> None:
    data = path.read_bytes()
    refused(path, data[:12] + b"\xff\xff\xff\xff" + data[16:], "truncated within its manifest")


def test_a_missing_file(tmp_path: Path) -> None:
    for place in (tmp_path / "none.opml", tmp_path):
        with pytest.raises(ImageError, match="cannot be read"):
            open_image(place, guest=GUEST)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"[" * 5000,
        b'{"a":' * 900,
        b'{"name": "' + b"\\u0000" * 500 + b'"}',
        b'{"name": NaN}',
        b"\xff\xfe",
        b'{"nodes": ' + b"9" * 4500 + b"}",
    ],
)
def test_json_bombs(path: Path, text: bytes) -> None:
    file = File(path.read_bytes())
    head = MAGIC + (1).to_bytes(4, "little") + len(text).to_bytes(4, "little") + text
    refused(path, head.ljust(-(-len(head) // PAGE_BYTES) * PAGE_BYTES, b"\0") + file.body, "manifest")


def test_bytes_that_nothing_speaks_of(path: Path) -> None:
    """Behind the manifest, the guest and the table, and between constants."""
    original = path.read_bytes()
    for index, word in ((0, "guest"), (1, "after the node table"), (-1, "no tensor")):
        file = File(original)
        file.body[file.section(index).stop - 1] = 1
        refused(path, file.bytes(), word)


# What the manifest says.

CHANGES: dict[str, tuple[Callable[[Json], object], str]] = {
    "a field too many": (lambda m: m.update(x=1), "x"),
    "a field too few": (lambda m: m.pop("outputs"), "outputs"),
    "a number as text": (lambda m: m["header"].update(window="600"), "window"),
    "a float as number": (lambda m: m["nodes"][0]["attrs"].update(group=1.0), "nodes.0"),
    "a number too large": (lambda m: m["header"].update(tiles=1 << 64), "tiles"),
    "a negative number": (lambda m: m["header"].update(clock=-1), "clock"),
    "no window": (lambda m: m["header"].update(window=0), "window"),
    "no stride": (lambda m: m["header"].update(stride=0), "stride"),
    "a root that is none": (lambda m: m["header"].update(model_root="0x12"), "model_root"),
    # Header against layout.
    "another model root": (lambda m: m["header"].update(model_root="0x" + "11" * 32), "model_root"),
    "another guest root": (lambda m: m["header"].update(guest_root="0x" + "11" * 32), "guest_root"),
    "another entry": (lambda m: m["header"].update(entry=4), "entry"),
    "fewer tiles": (lambda m: m["header"].update(tiles=m["header"]["tiles"] - 1), "tiles"),
    "another stride": (lambda m: m["header"].update(stride=2), "tiles"),
    "another step bound": (lambda m: m["header"].update(max_steps=m["header"]["max_steps"] + 1), "max_steps"),
    "an input region over the guest": (lambda m: m["header"].update(input_address=0), "input_address"),
    "an input region over the table": (lambda m: m["header"].update(input_address=1 << 24), "input_address"),
    "an input region in the scratch half": (lambda m: m["header"].update(input_address=1 << 39), "input region"),
    "an input region askew": (lambda m: m["header"].update(input_address=33), "input region"),
    "a longer input": (lambda m: m["header"].update(input_bytes=m["header"]["input_bytes"] + 1), "input_bytes"),
    "an input larger than its region": (lambda m: m["header"].update(input_bytes=1 << 20), "input region"),
    "a larger input region": (lambda m: m["header"].update(input_level=12), "input_level"),
    "an output region elsewhere": (lambda m: m["header"].update(output_address=1 << 30), "output_address"),
    "a level beyond the tree": (lambda m: m["header"].update(output_level=200), "output region"),
    "another window": (lambda m: m["header"].update(window=601), "calls itself"),
    "another clock": (lambda m: m["header"].update(clock=301), "calls itself"),
    "another model id": (lambda m: m.update(model_id="0x" + "22" * 32), "calls itself"),
    # The graph.
    "reading a later tensor": (lambda m: m["nodes"].reverse(), "before it"),
    "reading an unknown tensor": (lambda m: m["nodes"][0].update(inputs=["q", "w", "b"]), "before it"),
    "reading its own output": (lambda m: m["nodes"][1].update(inputs=["c"]), "before it"),
    "a tensor written twice": (lambda m: m["nodes"][1].update(output="h"), "'h' is computed twice"),
    "an input written": (lambda m: m["nodes"][0].update(output="x"), "twice"),
    "a constant written": (lambda m: m["nodes"][0].update(output="b"), "twice"),
    "no such primitive": (lambda m: m["nodes"][0].update(op="exec"), "exec"),
    "an attribute too many": (lambda m: m["nodes"][0]["attrs"].update(x=1), "'x'"),
    "an attribute too few": (lambda m: m["nodes"][1]["attrs"].pop("min"), "node table"),
    "an attribute of another kind": (lambda m: m["nodes"][0]["attrs"].update(group="a"), "group"),
    "an attribute out of range": (lambda m: m["nodes"][0]["attrs"].update(strides=[0, 0]), "strides"),
    "an attribute far out of range": (lambda m: m["nodes"][0]["attrs"].update(strides=[1 << 62, 2]), "stride"),
    "a negative padding": (lambda m: m["nodes"][0]["attrs"].update(pads=[-9, 0, 0, 0]), "pads"),
    "too many groups": (lambda m: m["nodes"][0]["attrs"].update(group=7), "groups"),
    "a wider packed matrix": (lambda m: m["nodes"][3]["attrs"].update(n=400), "packed"),
    "an axis out of range": (lambda m: m["nodes"][4]["attrs"].update(axis=9), "axis"),
    "a view of more": (lambda m: m["nodes"][2]["attrs"].update(shape=[1, 1 << 30]), "view"),
    "an input of another size": (lambda m: m["inputs"][0].update(shape=[1, 2, 9, 9]), ""),
    "an input without elements": (lambda m: m["inputs"][0].update(shape=[1, 2, 0, 5]), ""),
    "an input larger than memory": (lambda m: m["inputs"][0].update(shape=[1, 2, 1 << 39, 1 << 39]), ""),
    "a huge batch": (lambda m: m["inputs"][0].update(shape=[1 << 30, 2, 5, 5]), ""),
    "an input of another dtype": (lambda m: m["inputs"][0].update(dtype="uint8"), "uint8"),
    "an unknown dtype": (lambda m: m["inputs"][0].update(dtype="float8"), "dtype"),
    "a dtype without arithmetic": (lambda m: m["inputs"][0].update(dtype="float16"), "float16"),
    "a dtype of another size": (lambda m: m["inputs"][0].update(dtype="uint64"), "uint64"),
    "an input named twice": (lambda m: m["inputs"].append(m["inputs"][0]), "twice"),
    "no inputs": (lambda m: m.update(inputs=[]), ""),
    "an input in a constant's place": (lambda m: m["inputs"][0].update(name="b"), ""),
    "a smaller constant": (lambda m: m["constants"][1].update(shape=[2]), ""),
    "a constant larger than memory": (lambda m: m["constants"][0].update(shape=[1 << 39, 1 << 39]), "shape"),
    "a constant that nobody reads": (
        lambda m: m["constants"].append({"name": "q", "dtype": "uint8", "shape": [1]}),
        "nobody reads",
    ),
    "a constant named twice": (lambda m: m["constants"].append(m["constants"][0]), "twice"),
    "an output that does not exist": (lambda m: m.update(outputs=["q"]), "'q'"),
    "an output that is an input": (lambda m: m.update(outputs=["x"]), "'x'"),
    "an output named twice": (lambda m: m.update(outputs=["y", "y"]), "'y'"),
    "outputs in another order": (lambda m: m["outputs"].reverse(), ""),
    "no outputs": (lambda m: m.update(outputs=[]), ""),
    "no nodes": (lambda m: m.update(nodes=[]), ""),
    # The sections.
    "no sections": (lambda m: m.update(sections=[]), "after its last section"),
    "the guest elsewhere": (lambda m: m["sections"][0].update(address=1 << 20), "'guest'"),
    "a constant over the guest": (lambda m: m["sections"][2].update(address=0), "0x0"),
    "sections that overlap": (lambda m: m["sections"][1].update(offset=m["sections"][0]["offset"]), "follow"),
    "a section outside": (lambda m: m["sections"][2].update(size=1 << 30), "truncated"),
    "a section of part of a page": (lambda m: m["sections"][2].update(size=100), "follow"),
    "an empty section": (lambda m: m["sections"][0].update(size=0), "follow"),
    "a section too few": (lambda m: m["sections"].pop(), "after its last section"),
    "sections under other names": (lambda m: m["sections"][1].update(name="guest"), "'table'"),
}


@pytest.mark.parametrize("label", CHANGES)
def test_a_hostile_manifest(path: Path, label: str) -> None:
    change, word = CHANGES[label]
    file = File(path.read_bytes())
    change(file.manifest)
    refused(path, file.bytes(), word)


def test_changes_that_carry_their_id_with_them(image: Image, path: Path) -> None:
    """An attacker computes a matching id: what the header says is still held against the layout."""
    changes = {"tiles": 3, "entry": 8, "max_steps": 5, "input_level": 9, "model_root": b"\1" * 32}
    for field, value in changes.items():
        header = replace(image.header, **{field: value})
        file = File(path.read_bytes())
        file.manifest["header"] = header.to_json()
        file.manifest["model_id"] = "0x" + header.model_id.hex()
        refused(path, file.bytes(), field)
        write_image(image, path)


def test_another_window_with_its_id_is_another_model(image: Image, path: Path) -> None:
    header = make_header(image.program, GUEST, window=60, clock=30)
    file = File(path.read_bytes())
    file.manifest["header"], file.manifest["model_id"] = header.to_json(), "0x" + header.model_id.hex()
    path.write_bytes(file.bytes())
    assert open_image(path, guest=GUEST).model_id == header.model_id != image.model_id


# What the sections hold.


def test_another_guest(path: Path) -> None:
    file = File(path.read_bytes())
    file.body[0] ^= 1
    refused(path, file.bytes(), "guest")


def test_a_guest_of_another_length(path: Path) -> None:
    refused(path, path.read_bytes(), "guest", guest=GUEST + b"\1")
    refused(path, path.read_bytes(), "'guest'", guest=GUEST * 2)
    refused(path, path.read_bytes(), "guest", guest=GUEST[:-1])


WORDS = [
    (0, 0, "magic"),
    (0, 1, "node count"),
    (0, 2, "tiles"),
    (1, 0, "operator"),
    (1, 1, "first tile"),
    (1, 2, "tiles"),
    (1, 3, "output address"),
    (1, 4, "address of input 0"),
    (1, 7, "address of input 3"),
    (1, 12, "iteration"),
    (1, 13, "stride 0"),
    (1, 24, "parameter 0"),
    (5, 63, "parameter 39"),
]


@pytest.mark.parametrize("value", [0x7FFF_FFFF_FFFF_FFFF, -1, 0, 1 << 39, 4096])
@pytest.mark.parametrize(("row", "word", "name"), WORDS)
def test_a_hostile_table(path: Path, row: int, word: int, name: str, value: int) -> None:
    """Wild addresses, tiles written twice, tensors that overlap: any word but the derived one."""
    file = File(path.read_bytes())
    start = file.section(1).start + row * RECORD_BYTES + 8 * word
    new = value.to_bytes(8, "little", signed=True)
    if file.body[start : start + 8] == new:
        new = bytes([new[0] ^ 1, *new[1:]])
    file.body[start : start + 8] = new
    refused(path, file.bytes(), "node table", name)


def test_a_table_that_writes_a_tensor_twice(path: Path) -> None:
    file = File(path.read_bytes())
    start = file.section(1).start
    second, third = start + 2 * RECORD_BYTES, start + 3 * RECORD_BYTES
    file.body[third : third + RECORD_BYTES] = file.body[second : second + RECORD_BYTES]
    refused(path, file.bytes(), "node table", "node 2")


def test_a_flipped_bit_in_a_weight(path: Path) -> None:
    file = File(path.read_bytes())
    file.body[file.section(2).start] ^= 1
    refused(path, file.bytes(), "model_root")
    # Without a rehash it goes unseen: such an image is good for running, never for bonding.
    open_image(path, guest=GUEST, rehash=False)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_every_flipped_bit_is_seen(whole: bytes, scratch: Path, data: st.DataObject) -> None:
    position = data.draw(st.integers(0, len(whole) - 1))
    flipped = bytearray(whole)
    flipped[position] ^= 1 << data.draw(st.integers(0, 7))
    scratch.write_bytes(bytes(flipped))
    try:
        opened = open_image(scratch, guest=GUEST)
    except ImageError:
        return
    # A name is free: it is no part of what is committed to. White space in JSON, too.
    assert opened.model_id == build_id(whole, scratch)
    assert position < File(whole).start


def build_id(whole: bytes, scratch: Path) -> bytes:
    scratch.write_bytes(whole)
    return open_image(scratch, guest=GUEST).model_id


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("flip") / "model.opml"


@pytest.fixture(scope="module")
def whole(image: Image, scratch: Path) -> bytes:
    write_image(image, scratch)
    return scratch.read_bytes()


def test_bytes_between_manifest_and_sections(path: Path) -> None:
    data = path.read_bytes()
    length = int.from_bytes(data[12:16], "little")
    assert data[16 + length - 1 : 16 + length] == b" ", "white space fills the page"
    shorter = data[:12] + (length - 1).to_bytes(4, "little") + data[16:]
    refused(path, shorter, "between the manifest")


def test_a_model_id_commits_to_what_its_inputs_are_called() -> None:
    """Where two inputs of one type have exchanged their names, the same bytes mean another result."""

    def image(*names: str) -> Image:
        inputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [4]) for name in names]
        output = helper.make_tensor_value_info("rest", TensorProto.FLOAT, [4])
        node = helper.make_node("Sub", list(names), ["rest"])
        proto = helper.make_model(helper.make_graph([node], "g", inputs, [output]))
        return build_image(compile_program(proto.SerializeToString()), GUEST, window=60, clock=60)

    honest, hostile = image("income", "debt"), image("debt", "income")
    assert len(honest.program.table) == len(hostile.program.table)
    assert honest.model_id != hostile.model_id
