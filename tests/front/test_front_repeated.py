"""Programs that are repeated: what is legal, where it lies, and that no file says otherwise."""

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from dispute_repeated import COUNT, decoder
from test_front_validator import GUEST, File, Json, refused

from opml.errors import ModelError, UnsupportedError
from opml.graph import Graph, Node, Repeat, TensorType
from opml.image import Image, build_image, write_image
from opml.inspection import describe
from opml.ops.base import stride_of
from opml.passes.check import check
from opml.passes.dead import remove_dead
from opml.program import Kind, Program, build_program
from opml.validator import open_image
from vm.constants import LEAF_BYTES, SCRATCH_BASE
from vm.guest.record import (
    TABLE_BODY,
    TABLE_COUNT,
    TABLE_LENGTH,
    WORD_INPUT,
    WORD_ITERATION,
    WORD_OUT,
    WORD_STRIDE,
)


@pytest.fixture(scope="module")
def program() -> Program:
    return build_program(decoder())


@pytest.fixture(scope="module")
def image(program: Program) -> Image:
    return build_image(program, GUEST, window=600, clock=300)


@pytest.fixture
def path(image: Image, tmp_path: Path) -> Path:
    write_image(image, tmp_path / "decoder.opml")
    return tmp_path / "decoder.opml"


def test_every_iteration_has_its_own_tensors_and_its_own_tiles(program: Program) -> None:
    assert program.tiles == COUNT * program.body_tiles == COUNT * sum(node.tiles for node in program.nodes)
    taken: list[tuple[int, int]] = []
    for tensor in program.tensors.values():
        written = tensor.kind in (Kind.VALUE, Kind.OUTPUT)
        assert tensor.count == (COUNT if written else 1)
        assert tensor.stride == LEAF_BYTES << tensor.level == stride_of(tensor.type)
        assert tensor.address % (LEAF_BYTES << tensor.span) == 0
        assert tensor.count * tensor.stride <= LEAF_BYTES << tensor.span
        taken.append((tensor.address, tensor.address + (LEAF_BYTES << tensor.span)))
    taken.sort()
    assert all(end <= start for (_, end), (start, _) in pairwise(taken))
    tile = 0
    for iteration in range(COUNT):
        for node in program.nodes:
            for leaf in range(node.tiles):
                assert program.node_of_tile(tile) is node
                assert program.place_of_tile(tile) == (iteration, leaf)
                tile += 1
    with pytest.raises(IndexError):
        program.node_of_tile(tile)


def test_what_the_guest_reads(program: Program) -> None:
    table = np.frombuffer(program.table, "<i8").reshape(-1, 64)
    assert table[0, TABLE_COUNT] == COUNT
    assert table[0, TABLE_BODY] == program.body_tiles
    assert table[0, TABLE_LENGTH] == program.tensors["length"].address
    for node, record in zip(program.nodes, table[1:], strict=True):
        out = program.tensors[node.output]
        assert (record[WORD_OUT], record[WORD_STRIDE]) == (out.address, out.stride)
        assert record[WORD_ITERATION] == 0
        history = {0} if node.op == "history_mean" else {2} if node.op == "next_token" else set()
        for position, name in enumerate(node.inputs):
            tensor = program.tensors[name]
            moves = tensor.kind in (Kind.VALUE, Kind.OUTPUT) and position not in history
            assert record[WORD_INPUT + position] == tensor.address
            assert record[WORD_STRIDE + 1 + position] == (tensor.stride if moves else 0)


def test_an_output_is_what_it_was_in_every_iteration(program: Program) -> None:
    (port,) = program.outputs
    assert (port.name, port.type.shape) == ("tokens", (COUNT,))
    assert program.output_region.nbytes == (COUNT - 1) * LEAF_BYTES + 4


def test_a_program_that_is_not_repeated_has_nothing_of_it() -> None:
    graph = Graph("relu", ["x"], ["y"], [Node("relu", ("x",), ("y",))], {}, {})
    graph.types = dict.fromkeys("xy", TensorType(decoder().types["seen"].dtype, (20,)))
    words = np.frombuffer(build_program(graph).table, "<i8").reshape(-1, 64)
    assert not words[0, TABLE_COUNT:].any()
    assert not words[1, WORD_ITERATION:24].any()


@pytest.mark.parametrize("count", [0, -1, 1 << 31, 1 << 40])
def test_counts_that_cannot_be(count: int) -> None:
    graph = decoder()
    graph.repeat = replace(graph.repeat, count=count)  # type: ignore[type-var]
    with pytest.raises(ModelError, match="cannot be repeated"):
        check(graph)


def test_more_than_fits_into_memory() -> None:
    graph = decoder()
    count = (1 << 31) - 1
    graph.repeat = replace(graph.repeat, count=count)  # type: ignore[type-var]
    for name in ("prompt", *graph.histories):
        graph.types[name] = replace(graph.types[name], shape=(count, *graph.types[name].shape[1:]))
    graph.nodes[0] = replace(graph.nodes[0])
    check(graph)
    with pytest.raises(UnsupportedError, match="bytes of memory, more than"):
        build_program(graph)


def node_index(graph: Graph, op: str) -> int:
    return next(i for i, node in enumerate(graph.nodes) if node.op == op)


def rewired(op: str, *inputs: str) -> Graph:
    """The decoder with other inputs for a node."""
    graph = decoder()
    at = node_index(graph, op)
    graph.nodes[at] = replace(graph.nodes[at], inputs=inputs)
    return graph


def remembering(**histories: str) -> Graph:
    """The decoder with other histories."""
    graph = decoder()
    assert graph.repeat is not None
    graph.repeat = replace(graph.repeat, histories=graph.histories | histories)
    return graph


def early() -> Graph:
    """The mean of what is computed only after it."""
    graph = decoder()
    at = node_index(graph, "history_mean")
    graph.nodes.insert(0, graph.nodes.pop(at))
    return graph


def lone() -> Graph:
    graph = decoder()
    graph.repeat = None
    return graph


ILLEGAL: dict[str, tuple[Callable[[], Graph], str]] = {
    "a history read as a tensor": (lambda: rewired("tanh", "seen"), "must not be a history"),
    "a view of a history": (lambda: rewired("view", "chosen"), "must not be a history"),
    "a tensor read as a history": (lambda: rewired("history_mean", "prompt"), "must be a history"),
    "this iteration's entry before it is there": (early, "of the same iteration"),
    "a history of nothing": (lambda: remembering(chosen="nowhere"), "which no node computes"),
    "a history of an input": (lambda: remembering(chosen="prompt_length"), "which no node computes"),
    "a history of another type": (lambda: remembering(chosen=decoder().nodes[3].outputs[0]), "not of the type"),
    "a history with a tensor's name": (lambda: remembering(tokens="tokens"), "defined twice"),
    "no repetition": (lone, "not computed before it"),
}


@pytest.mark.parametrize("label", ILLEGAL)
def test_illegal_reads_of_the_past(label: str) -> None:
    make, words = ILLEGAL[label]
    with pytest.raises(ModelError, match=words):
        check(make())


@pytest.mark.parametrize("name", ["tokens", "prompt", "nowhere"])
def test_lengths_that_are_none(name: str) -> None:
    graph = decoder()
    graph.repeat = replace(graph.repeat, length=name)  # type: ignore[type-var]
    with pytest.raises(ModelError, match="is no input int32"):
        check(graph)


def test_an_output_cannot_be_a_history() -> None:
    graph = decoder()
    graph.outputs.append("seen")
    with pytest.raises(ModelError, match="nothing computes the output 'seen'"):
        check(graph)


def test_what_is_remembered_is_kept_and_what_is_not_read_is_forgotten() -> None:
    graph = decoder()
    assert graph.repeat is not None
    assert remove_dead(graph).repeat == graph.repeat
    unread = remembering(more="tokens")
    unread.types["more"] = unread.types["chosen"]
    check(unread)
    assert remove_dead(unread).repeat == graph.repeat
    assert "more" not in remove_dead(unread).types


def test_the_file_holds_it_all(image: Image, path: Path) -> None:
    opened = open_image(path, guest=GUEST)
    assert opened.model_id == image.model_id
    assert opened.program.repeat == image.program.repeat
    assert opened.program.graph.types == image.program.graph.types
    body = describe(opened)
    assert body == describe(image)
    assert (body["repeat"]["count"], body["repeat"]["tiles"]) == (COUNT, image.program.body_tiles)


CHANGES: dict[str, tuple[Callable[[Json], object], str]] = {
    "not at all": (lambda m: m["repeat"].update(count=0), "repeat.count"),
    "2^40 times": (lambda m: m["repeat"].update(count=1 << 40), "repeat.count"),
    "a negative count": (lambda m: m["repeat"].update(count=-1), "repeat.count"),
    "a count that is text": (lambda m: m["repeat"].update(count="6"), "repeat.count"),
    "another count": (lambda m: m["repeat"].update(count=COUNT + 1), ""),
    "another count, and histories to it": (
        lambda m: (
            m["repeat"].update(count=COUNT + 1),
            m["inputs"][0].update(shape=[COUNT + 1]),
            [h["shape"].__setitem__(0, COUNT + 1) for h in m["repeat"]["histories"]],
        ),
        "node table",
    ),
    "once, which is not repeated": (lambda m: m.update(repeat=None), ""),
    "a length that is no input": (lambda m: m["repeat"].update(length="q"), "'q'"),
    "the prompt as length": (lambda m: m["repeat"].update(length="prompt"), "'prompt'"),
    "the other length": (lambda m: m["repeat"].update(length="prompt_length"), "node table"),
    "no histories": (lambda m: m["repeat"].update(histories=[]), "before it"),
    "a history too many": (lambda m: m["repeat"]["histories"].append(m["repeat"]["histories"][0]), "twice"),
    "a history in an input's place": (lambda m: m["repeat"]["histories"][0].update(name="prompt"), "twice"),
    "a history in a tensor's place": (lambda m: m["repeat"]["histories"][0].update(name="tokens"), "before it"),
    "a longer history": (lambda m: m["repeat"]["histories"][1].update(shape=[1 << 30, 1, 12]), ""),
    "a history of another dtype": (lambda m: m["repeat"]["histories"][1].update(dtype="int32"), ""),
    "a history of a constant": (lambda m: m["repeat"]["histories"][1].update(of=m["constants"][0]["name"]), ""),
    "a history of a history": (lambda m: m["repeat"]["histories"][0].update(of="seen"), ""),
    "a field too many": (lambda m: m["repeat"].update(stride=1), "repeat.stride"),
    "fewer tiles": (lambda m: m["header"].update(tiles=m["header"]["tiles"] // COUNT), "tiles"),
}


@pytest.mark.parametrize("label", CHANGES)
def test_a_hostile_manifest(path: Path, label: str) -> None:
    change, word = CHANGES[label]
    file = File(path.read_bytes())
    change(file.manifest)
    refused(path, file.bytes(), word)


WORDS = {
    (0, TABLE_COUNT): "count",
    (0, TABLE_BODY): "tiles of an iteration",
    (0, TABLE_LENGTH): "address of the length",
    (1, WORD_ITERATION): "iteration",
    (1, WORD_STRIDE): "stride",
    (1, WORD_STRIDE + 3): "stride",
    (10, WORD_STRIDE + 1): "stride",
}


@pytest.mark.parametrize("value", [-1, 0, 1, 32, 1 << 40, SCRATCH_BASE, (1 << 63) - 1])
@pytest.mark.parametrize("place", WORDS)
def test_a_hostile_table(path: Path, place: tuple[int, int], value: int) -> None:
    """Strides that lead out of a tensor, instances that overlap, a length that is somewhere else."""
    row, word = place
    file = File(path.read_bytes())
    start = file.section(1).start + row * 512 + 8 * word
    if int.from_bytes(file.body[start : start + 8], "little", signed=True) == value:
        value = 7
    file.body[start : start + 8] = value.to_bytes(8, "little", signed=True)
    refused(path, file.bytes(), "node table", WORDS[place])


def test_one_more_iteration_is_another_model(image: Image) -> None:
    other = build_image(build_program(decoder(COUNT + 1)), GUEST, window=600, clock=300)
    assert other.model_id != image.model_id


def test_repeat_has_a_default() -> None:
    assert Repeat(3, "length").histories == {}
