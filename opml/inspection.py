"""What `opml inspect` shows, as plain values: operators, tensors, memory map and roots of an image."""

from dataclasses import asdict
from typing import Any

from opml.graph import TensorType
from opml.image import Image, section_table
from opml.plan import make_plan
from opml.program import Kind, Region


def describe(image: Image) -> dict[str, Any]:
    """A JSON-like description. Addresses are integers, hashes 0x-hex, shapes lists.

    Keys: name, model_id, header, inputs, outputs, nodes (in order), tensors (by address), sections (guest, table,
    constants), regions (input, output), tiles, max_tile_steps, max_steps, arena_bytes (happy path), repeat (count,
    length, histories, tiles per iteration; None where the program is not repeated: else nodes and addresses are those
    of the first iteration).
    """
    program = image.program
    return {
        "name": program.name,
        "model_id": "0x" + image.model_id.hex(),
        "header": image.header.to_json(),
        "inputs": [{"name": port.name, **_type(port.type)} for port in program.inputs],
        "outputs": [{"name": port.name, **_type(port.type)} for port in program.outputs],
        "nodes": [
            {
                "name": node.name,
                "op": node.op,
                "inputs": [
                    {"tensor": name, **_type(kind)} for name, kind in zip(node.inputs, node.types, strict=True) if kind
                ],
                "output": {"tensor": node.output, **_type(node.out_type)},
                "attrs": dict(node.attrs),
                "address": program.tensors[node.output].address,
                "first_tile": node.first_tile,
                "tiles": node.tiles,
                "max_steps": node.cost,
            }
            for node in program.nodes
        ],
        "tensors": [
            {
                "name": tensor.name,
                "kind": tensor.kind.value,
                **_type(tensor.type),
                "address": tensor.address,
                "level": tensor.span,
                "bytes": tensor.nbytes,
            }
            for tensor in sorted(program.tensors.values(), key=lambda tensor: tensor.address)
        ],
        "sections": [
            {"name": section.name, "address": section.address, "bytes": section.size}
            for section in section_table(program, len(image.guest), 0)
        ],
        "regions": {"input": _region(program.input_region), "output": _region(program.output_region)},
        "tiles": program.tiles,
        "max_tile_steps": program.max_tile_steps,
        "max_steps": program.max_steps,
        "constant_bytes": sum(t.type.nbytes for t in program.tensors.values() if t.kind is Kind.CONSTANT),
        "arena_bytes": make_plan(program).size,
        "repeat": asdict(program.repeat) | {"tiles": program.body_tiles} if program.repeat else None,
    }


def _type(kind: TensorType) -> dict[str, Any]:
    return {"dtype": kind.dtype.value, "shape": list(kind.shape)}


def _region(region: Region) -> dict[str, int]:
    return {"address": region.address, "level": region.level, "bytes": region.nbytes}
