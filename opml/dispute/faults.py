"""What a faulty computer believes: one bit flipped in memory, and everything that was computed after it follows.

For tests and demonstrations: the trace of somebody who is honest, and wrong.
"""

from typing import TYPE_CHECKING

import numpy as np

from opml.commitment import ModelMemory, Region
from opml.dispute.liars import REGISTER, FalseRun, flip
from opml.dispute.trace import MachineTraceLike, ModelTrace
from opml.errors import DisputeError
from opml.header import ModelHeader
from opml.model_memory import model_memory
from vm.constants import HALTED, LEAF_BYTES, MODEL_LEVEL, REG_A0
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

if TYPE_CHECKING:
    from opml.model import Inference


def with_fault(trace: ModelTrace, address: int, bit: int = 0, hidden: bool = False) -> ModelTrace:
    """The trace with bit `bit` of the byte at `address` flipped; all later tiles are computed again, in the machine.

    A weight or an input is flipped before the first tile, any other byte right after its own tile. With `hidden` the
    bit is back in its place at the end: the party computed with another weight than the one it commits to.

    Raises DisputeError if the address is in no tensor, or the guest does not end well on the flipped bit.
    """
    header, memory = trace.header, trace.memory
    where = next((r for r in memory.regions if r.address <= address < r.address + r.data.size), None)
    if where is None:
        raise DisputeError(f"there is no tensor at {address:#x}")
    first = 0 if where.first_tile is None else where.tile_of((address - where.address) // LEAF_BYTES) + 1
    count = memory.written_tiles - first
    state = entry_state(Memory(memory.cut(first)), header.entry, first, count)
    state.memory.write(address, _flipped(state.memory.read(address, 1), bit))
    if count:
        run(state, header.max_steps * count)
        if state.status != HALTED or state.registers[REG_A0]:
            raise DisputeError(f"the guest does not end well with bit {bit} of the byte at {address:#x} flipped")

    def final(region: Region) -> Region:
        if region is not where and region.first_tile is None:
            return region
        data = np.frombuffer(state.memory.read(region.address, region.data.size), np.uint8).copy()
        if region is where and hidden:
            data[address - region.address] ^= 1 << bit
        return Region(region.address, region.level, data, region.first_tile, region.instances)

    regions = map(final, memory.regions)
    return ModelTrace(header, ModelMemory(regions, memory.input, memory.output, memory.tiles))


def flip_natively(inference: "Inference", tile: int, byte: int = 0, bit: int = 0) -> ModelTrace:
    """The trace with a bit of the leaf that `tile` writes flipped; what follows is computed by the native kernels.

    So it takes about as long as an inference and a hash pass, for a model of any size. `byte` is counted within the
    leaf. Raises DisputeError where the tile does not write that byte.
    """
    model, program = inference.model, inference.model.image.program
    node, (iteration, leaf) = program.node_of_tile(tile), program.place_of_tile(tile)
    data = inference.tensors[node.output].copy()
    offset = LEAF_BYTES * leaf + byte
    at = iteration * program.tensors[node.output].stride + offset if program.repeat else offset
    if not 0 <= offset < node.out_type.nbytes or at >= data.size:
        raise DisputeError(f"tile {tile} does not write byte {byte} of a leaf")
    data[at] ^= 1 << bit
    tensors = model.engine.resume({**inference.tensors, node.output: data}, tile + 1)
    return ModelTrace(model.header, model_memory(model.image, tensors, inference.posted, model.constant_regions))


def _flipped(byte: bytes, bit: int) -> bytes:
    return bytes([byte[0] ^ 1 << bit])


class Bluff:
    """A false trace played to the end: where its machine does not reach the root it claims, the states are bluffed.

    From instruction `step` of such a unit on, a register is wrong, and the last state has the claimed root in it. So
    the game goes down to one instruction, where a faulty party that only knows its trace would have nothing to show.
    """

    def __init__(self, faulty: ModelTrace, step: int) -> None:
        self._faulty = faulty
        self._step = step

    @property
    def header(self) -> ModelHeader:
        """The model's header."""
        return self._faulty.header

    @property
    def tiles(self) -> int:
        """Units of the tile phase."""
        return self._faulty.tiles

    @property
    def output_root(self) -> bytes:
        """Root of the false output."""
        return self._faulty.output_root

    def input_path(self) -> bytes:
        """The input's path in the first root."""
        return self._faulty.input_path()

    def output_path(self) -> bytes:
        """Its path in the last root."""
        return self._faulty.output_path()

    def tile_root(self, m: int) -> bytes:
        """The false root before unit `m`."""
        return self._faulty.tile_root(m)

    def machine(self, m: int) -> MachineTraceLike:
        """The true run where it ends as claimed, else a bluff."""
        run = self._faulty.machine(m)
        if run.state(run.steps).memory.node(MODEL_LEVEL, 0) == self.tile_root(m + 1):
            return run
        return FalseRun(run, self.tile_root(m + 1), self._step, lambda state: flip(state, REGISTER))
