"""From a file that is believed in nothing to an image that may be run: everything is derived again and compared.

The graph is checked with the operators' own shape rules; layout, node table and header are computed from it and must
be what the file holds; the guest must be the published one; with `rehash`, the roots are computed from the bytes. So
an accepted table reads only constants, inputs and earlier tiles, inside their tensors, and writes each leaf once.
"""

import os
from dataclasses import replace

import numpy as np

from opml.errors import ImageError, ModelError
from opml.graph import Array, Graph, TensorType
from opml.header import ModelHeader
from opml.image import Bytes, Image, RawImage, constant_runs, header_from_root, read_image, section_table
from opml.manifest import graph_nodes, graph_repeat, input_types, output_counts
from opml.passes.check import check, infer
from opml.program import Program, build_program
from opml.roots import guest_root, model_root
from vm.constants import SCRATCH_BASE
from vm.guest.record import (
    MAX_INPUTS,
    RECORD_BYTES,
    TABLE_BODY,
    TABLE_COUNT,
    TABLE_LENGTH,
    WORD_FIRST_TILE,
    WORD_INPUT,
    WORD_ITERATION,
    WORD_OP,
    WORD_OUT,
    WORD_PARAM,
    WORD_STRIDE,
    WORD_TILES,
)


def open_image(path: str | os.PathLike[str], *, guest: bytes | None = None, rehash: bool = True) -> Image:
    """Opens an image file. Raises ImageError unless it is exactly what the compiler would have made of its graph.

    Without `rehash` the model root is taken from the file: good for running, never for bonding. `guest` is the
    published guest unless given.
    """
    return validate(read_image(path), guest=guest, rehash=rehash)


def validate(raw: RawImage, *, guest: bytes | None = None, rehash: bool = True) -> Image:
    """The image that a raw file holds. Raises ImageError; see `open_image`."""
    if guest is None:
        from opml.guest import load  # here: building needs no more than the bytes

        guest = load()
    header = raw.manifest.model_header()
    program = build_checked(_read_graph(raw))
    data = _check_sections(raw, program, guest)
    _check_table(program, data[1])
    constants = _map_constants(program, data[2:])
    program = replace(program, graph=replace(program.graph, constants=constants))
    _check_header(raw, header, program, guest, rehash)
    return Image(header, program, guest)


def _read_graph(raw: RawImage) -> Graph:
    """The graph of the manifest, types inferred, with placeholders for the constants' values."""
    manifest = raw.manifest
    inputs, constants = input_types(manifest), manifest.constant_types()
    repeat, histories = graph_repeat(manifest)
    placeholders: dict[str, Array] = {}
    for name, kind in constants.items():
        if not 0 < kind.nbytes < SCRATCH_BASE:
            raise ImageError(f"the constant {name!r} cannot have the shape {list(kind.shape)}")
        placeholders[name] = np.broadcast_to(np.zeros((), kind.dtype.numpy), kind.shape)
    types: dict[str, TensorType] = {**inputs, **constants, **histories}
    if len(types) != len(inputs) + len(constants) + len(histories):
        raise ImageError("the manifest names a tensor twice")
    outputs, nodes, counts = list(manifest.outputs), graph_nodes(manifest), output_counts(manifest)
    graph = Graph(manifest.name, list(inputs), outputs, nodes, placeholders, types, repeat=repeat, counts=counts)
    for node in graph.nodes:
        if missing := [name for name in node.inputs if name and name not in types]:
            raise ImageError(f"{node.op} {node.name!r} reads {missing[0]!r}, which is not computed before it")
        try:
            out = infer(graph, node)
        except ModelError as error:
            raise ImageError(f"{node.op} {node.name!r}: {error.message}") from None
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise ImageError(f"{node.op} {node.name!r} makes no sense: {error}") from error
        if out.nbytes >= SCRATCH_BASE or len(out.shape) > 64:
            raise ImageError(f"{node.op} {node.name!r}: its output {list(out.shape)} is larger than memory")
        if node.outputs[0] in types:
            raise ImageError(f"{node.outputs[0]!r} is computed twice")
        types[node.outputs[0]] = out
    if unread := set(constants) - {name for node in graph.nodes for name in node.inputs}:
        raise ImageError(f"nobody reads the constant {min(unread)!r}")
    return graph


def build_checked(graph: Graph) -> Program:
    """Checks a graph in full and lays it out. Raises ImageError where either refuses."""
    try:
        check(graph)
        return build_program(graph)
    except ModelError as error:
        raise ImageError(error.message, error.hint) from None
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise ImageError(f"the graph cannot be laid out: {error}") from error


def _check_sections(raw: RawImage, program: Program, guest: bytes) -> list[Bytes]:
    """Places and sizes must be those that follow from the layout; the guest's bytes must be the published ones."""
    wanted = section_table(program, len(guest), 0)
    found = [(section.name, section.address, section.size) for section, _ in raw.sections]
    for index, section in enumerate(wanted):
        want = (section.name, section.address, section.size)
        if index >= len(found):
            raise ImageError(f"section {index} ({section.name!r}) is missing")
        if found[index] != want:
            raise ImageError(f"section {index} is {_place(found[index])}, not {_place(want)}")
    if len(found) > len(wanted):
        raise ImageError(f"the image has a section too many: {_place(found[len(wanted)])}")
    data = [data for _, data in raw.sections]
    published = np.frombuffer(guest, np.uint8)
    if not _is(data[0], published):
        raise ImageError(
            "the guest in the image is not the published one", "compile the model again from its ONNX file"
        )
    return data


def _place(section: tuple[str, int, int]) -> str:
    name, address, size = section
    return f"{name!r} of {size} bytes at {address:#x}"


def _is(section: Bytes, content: Bytes) -> bool:
    """Whether a section holds `content` and then zeros."""
    return np.array_equal(section[: content.size], content) and not section[content.size :].any()


def _check_table(program: Program, section: Bytes) -> None:
    table = np.frombuffer(program.table, np.uint8)
    if _is(section, table):
        return
    different = (
        int(np.flatnonzero(section[: table.size] != table)[0]) if (section[: table.size] != table).any() else None
    )
    if different is None:
        raise ImageError("there are bytes after the node table")
    row, word = different // RECORD_BYTES, different % RECORD_BYTES // 8
    where = "header" if row == 0 else f"node {row - 1} ({program.nodes[row - 1].name!r})"
    found = int(section[row * RECORD_BYTES :][8 * word :][:8].view("<i8")[0])
    wanted = int(table[row * RECORD_BYTES :][8 * word :][:8].view("<i8")[0])
    raise ImageError(f"the node table is wrong at {where}, {_word_name(row, word)}: {found:#x} instead of {wanted:#x}")


def _word_name(row: int, word: int) -> str:
    if row == 0:
        names = {0: "magic", 1: "node count", 2: "tiles", TABLE_COUNT: "count", TABLE_BODY: "tiles of an iteration"}
        return (names | {TABLE_LENGTH: "address of the length"}).get(word, f"word {word}")
    names = {WORD_OP: "operator", WORD_FIRST_TILE: "first tile", WORD_TILES: "tiles", WORD_OUT: "output address"}
    names |= {WORD_INPUT + i: f"address of input {i}" for i in range(MAX_INPUTS)} | {WORD_ITERATION: "iteration"}
    if word in names:
        return names[word]
    return f"stride {word - WORD_STRIDE}" if word < WORD_PARAM else f"parameter {word - WORD_PARAM}"


def _map_constants(program: Program, sections: list[Bytes]) -> dict[str, Array]:
    """The constants as views of the mapped file; between them the sections must be zero."""
    constants: dict[str, Array] = {}
    for (start, names), section in zip(constant_runs(program), sections, strict=True):
        end = 0
        for name in names:
            tensor = program.tensors[name]
            offset = tensor.address - start
            if section[end:offset].any():
                raise ImageError(f"there are bytes before the constant {name!r} that belong to no tensor")
            end = offset + tensor.type.nbytes
            constants[name] = section[offset:end].view(tensor.type.dtype.numpy).reshape(tensor.type.shape)
        if section[end:].any():
            raise ImageError(f"there are bytes after the constant {names[-1]!r} that belong to no tensor")
    return {name: constants[name] for name in program.constants}


def _check_header(raw: RawImage, header: ModelHeader, program: Program, guest: bytes, rehash: bool) -> None:
    root = model_root(program, guest) if rehash else header.model_root
    one_phase = header.stride != 1
    expected = header_from_root(program, root, guest_root(guest), header.window, header.clock, one_phase)
    for name, value in expected.to_json().items():
        if header.to_json()[name] != value:
            raise ImageError(f"the header's {name} is {header.to_json()[name]}, not {value}")
    if raw.manifest.model_id != "0x" + header.model_id.hex():
        raise ImageError(f"the image calls itself {raw.manifest.model_id}, but is 0x{header.model_id.hex()}")
