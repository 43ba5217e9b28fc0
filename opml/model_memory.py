"""The committed memory of an image: which bytes lie where, for `opml.commitment`.

Constants are hashed once per image, so keep the regions that `constant_regions` returns for as long as the image.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from opml.commitment import Bytes, Instances, ModelMemory, Place, Region
from opml.errors import InputError
from opml.graph import Array
from opml.image import Image
from opml.lean import Forgotten
from opml.program import Kind, Port, Program, Tensor, subtree_level
from opml.program import Region as IoRegion
from vm.guest.record import GUEST_BASE, TABLE_BASE
from vm.merkle import subtree_root


def constant_regions(image: Image) -> list[Region]:
    """Guest, node table and constants."""
    program = image.program
    table = np.frombuffer(program.table, np.uint8)
    guest = np.frombuffer(image.guest, np.uint8)
    regions = [
        Region(GUEST_BASE, subtree_level(guest.size), guest),
        Region(TABLE_BASE, subtree_level(table.size), table),
    ]
    for name, value in program.constants.items():
        tensor = program.tensors[name]
        regions.append(Region(tensor.address, tensor.level, as_bytes(value)))
    return regions


def model_memory(
    image: Image, tensors: Mapping[str, Array], posted: bytes, constants: Sequence[Region]
) -> ModelMemory:
    """The memory of a finished inference. `tensors` has every intermediate and output by its name in the program
    (`Engine.run_full`, `LeanRun.tensors`), as bytes or in its own type; `posted` is the input region as the claim has
    it, since a prover may have put anything between two inputs. Raises InputError where a tensor is missing or has
    another size.
    """
    program = image.program
    area = program.input_region
    if len(posted) != area.nbytes:
        raise InputError(f"the posted input has {len(posted)} bytes; the input region has {area.nbytes}")
    regions = [*constants, Region(area.address, area.level, np.frombuffer(posted, np.uint8))]
    times = program.iterations(read_input(program, posted))
    first_tiles = {node.output: node.first_tile for node in program.nodes}
    for name, tensor in program.tensors.items():
        if tensor.kind not in (Kind.VALUE, Kind.OUTPUT) or times == 0:
            continue
        size = tensor.type.nbytes if program.repeat is None else times * tensor.stride
        instances = Instances(tensor.level, tensor.leaves, program.body_tiles) if program.repeat else None
        given = tensors.get(name)
        roots = given.roots if isinstance(given, Forgotten) else None
        data = _checked(name, tensors, size) if roots is None else tensors[name]
        regions.append(Region(tensor.address, tensor.span, data, first_tiles.get(name), instances, roots))
    return ModelMemory(regions, _place(program.input_region), _place(program.output_region), program.tiles)


def read_input(program: Program, posted: bytes) -> dict[str, Array]:
    """The inputs by name from the input region's bytes; views, not copies. InputError where their number is wrong."""
    return _read(program, program.input_region, program.inputs, posted, "posted input")


def read_output(program: Program, data: bytes) -> dict[str, Array]:
    """The outputs by name from the output region's bytes; views, not copies. InputError where their number is wrong."""
    return _read(program, program.output_region, program.outputs, data, "output")


def input_bytes(program: Program, values: Mapping[str, Array]) -> bytes:
    """The input region's bytes as a claim posts them, from the inputs by name. InputError as above."""
    return _region_bytes(program, program.input_region, program.inputs, values).tobytes()


def output_bytes(program: Program, values: Mapping[str, Array]) -> bytes:
    """The output region's bytes, from the outputs by name alone. InputError as above."""
    return _region_bytes(program, program.output_region, program.outputs, values).tobytes()


def output_root(program: Program, values: Mapping[str, Array]) -> bytes:
    """Root of the output region, from the outputs by name alone. InputError as above."""
    region = program.output_region
    return subtree_root(_region_bytes(program, region, program.outputs, values), region.level)


def as_bytes(value: Array) -> Bytes:
    """The bytes of an array, one-dimensional; a copy only where it is not contiguous."""
    return np.ascontiguousarray(value).reshape(-1).view(np.uint8)


def _read(program: Program, area: IoRegion, ports: Sequence[Port], data: bytes, what: str) -> dict[str, Array]:
    if len(data) != area.nbytes:
        raise InputError(f"the {what} has {len(data)} bytes; the {what.split()[-1]} region has {area.nbytes}")
    values = {}
    for port in ports:
        tensor = program.tensors[port.tensor]
        start = tensor.address - area.address
        if tensor.count == 1:
            flat = np.frombuffer(data, port.type.dtype.numpy, port.type.elements, start)
        else:
            rows = np.frombuffer(data, np.uint8, tensor.nbytes, start)
            flat = _lines(rows, tensor).reshape(-1).view(port.type.dtype.numpy)
        values[port.name] = flat.reshape(port.type.shape)
    return values


def _lines(data: Bytes, tensor: Tensor) -> Bytes:
    """A copy of the instances of a tensor without what lies between them, a row each."""
    room = np.zeros(tensor.count * tensor.stride, np.uint8)
    room[: data.size] = data
    return np.ascontiguousarray(room.reshape(tensor.count, -1)[:, : tensor.type.nbytes])


def _region_bytes(program: Program, region: IoRegion, ports: Sequence[Port], values: Mapping[str, Array]) -> Bytes:
    data = np.zeros(region.nbytes, np.uint8)
    for port in ports:
        tensor = program.tensors[port.tensor]
        start = tensor.address - region.address
        room = np.zeros((tensor.count, tensor.stride), np.uint8)
        room[:, : tensor.type.nbytes] = _checked(port.name, values, port.type.nbytes).reshape(tensor.count, -1)
        data[start : start + tensor.nbytes] = room.reshape(-1)[: tensor.nbytes]
    return data


def _checked(name: str, values: Mapping[str, Array], nbytes: int) -> Bytes:
    if name not in values:
        raise InputError(f"tensor {name!r} is missing")
    data = as_bytes(values[name])
    if data.size != nbytes:
        raise InputError(f"tensor {name!r} has {data.size} bytes; the program has {nbytes}")
    return data


def _place(region: IoRegion) -> Place:
    return Place(region.address, region.level)
