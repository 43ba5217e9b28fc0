"""One-node programs in memory, for the machine and for native kernels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from opml.graph import Array
from opml.ops import OPS, make_record, type_of
from opml.ops.base import Attrs, tile_count
from vm.constants import HALTED, LEAF_BYTES, REG_A0
from vm.guest.record import RECORD_BYTES, RECORD_WORDS, TABLE_BASE, TABLE_MAGIC
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

TENSORS = 1 << 25
ROOM = 1 << 24


@dataclass
class NodeProgram:
    """A table of one node and its tensors: page-aligned address -> bytes."""

    memory: dict[int, bytes]
    out_address: int
    out_bytes: int
    tiles: int

    def with_guest(self, guest: bytes) -> dict[int, bytes]:
        return {0: guest, **self.memory}


def table(records: Sequence[NDArray[np.int64]], tiles: int, magic: int = TABLE_MAGIC) -> bytes:
    """The node table as it lies at TABLE_BASE."""
    header = np.zeros(RECORD_WORDS, np.int64)
    header[:3] = magic, len(records), tiles
    data = np.concatenate([header, *records]).astype("<i8").tobytes()
    assert len(data) == RECORD_BYTES * (1 + len(records))
    return data


def node_program(name: str, inputs: Sequence[Array | None], attrs: Attrs) -> NodeProgram:
    """A program that is one operator on the given inputs."""
    op = OPS[name]
    types = [None if array is None else type_of(array) for array in inputs]
    out_type = op.infer(types, attrs)
    addresses = [0 if array is None else TENSORS + ROOM * (1 + i) for i, array in enumerate(inputs)]
    record = make_record(op, types, out_type, attrs, TENSORS, addresses, 0)
    tiles = tile_count(out_type)
    memory = {TABLE_BASE: table([record], tiles), TENSORS: bytes([0xA5]) * (tiles * LEAF_BYTES)}
    memory |= {a: np.ascontiguousarray(x).tobytes() for a, x in zip(addresses, inputs, strict=True) if x is not None}
    return NodeProgram(memory, TENSORS, out_type.nbytes, tiles)


def run_machine(memory: dict[int, bytes], first: int, count: int, limit: int = 1 << 28) -> tuple[Memory, int, int]:
    """Runs our machine to its halt; returns its memory, a0 and the steps."""
    content = Memory()
    for address, data in memory.items():
        content.write(address, data)
    state = entry_state(content, 0, first, count)
    steps = run(state, limit)
    assert state.status == HALTED, f"status {state.status} at pc {state.pc:#x}"
    return content, state.registers[REG_A0], steps
