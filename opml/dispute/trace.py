"""What a player knows of a computation: the root after every tile, and the machine's states within a tile.

`ModelTrace` is the real one, over the committed memory of a finished inference. Nothing is computed before it is asked
for: a tile root costs about one Merkle path, and only the disputed tile runs in the machine.
"""

from typing import Protocol

from opml.commitment import ModelMemory
from opml.header import ModelHeader
from vm.constants import MODEL_LEVEL
from vm.memory import Memory
from vm.state import State, entry_state
from vm.step import prove_step
from vm.trace import MachineTrace

MACHINES_KEPT = 4


class MachineTraceLike(Protocol):
    """The machine's run over one unit of the tile phase, from its start state until it stops."""

    @property
    def steps(self) -> int:
        """Steps until the machine has stopped; the step that stops it counts."""

    @property
    def scratch_root(self) -> bytes:
        """Root of the upper half of memory in the end state."""

    def encode(self, t: int) -> bytes:
        """The encoded state after `t` steps, 289 bytes; the end state for every t >= steps."""

    def hash(self, t: int) -> bytes:
        """Hash of that state."""

    def witness(self, t: int) -> bytes:
        """The witness of step `t`, which leads from state `t` to state `t + 1`."""


class Trace(Protocol):
    """A whole computation, as one party sees it."""

    @property
    def header(self) -> ModelHeader:
        """The model's header, which says how the computation is divided."""

    @property
    def tiles(self) -> int:
        """Units of the tile phase (the model header's `tiles`)."""

    @property
    def output_root(self) -> bytes:
        """Root of the output region after the last tile."""

    def input_path(self) -> bytes:
        """The encoded path of the input region, empty or not, in the model root and in `tile_root(0)`."""

    def output_path(self) -> bytes:
        """The encoded path of the output region in `tile_root(tiles)`."""

    def tile_root(self, m: int) -> bytes:
        """Root of the model half of memory before unit `m`, 0 <= m <= tiles."""

    def machine(self, m: int) -> MachineTraceLike:
        """The machine's run over unit `m`, 0 <= m < tiles."""


class ModelTrace:
    """The trace of a finished inference: `memory` holds its tensors, `header` says how it is divided.

    Two-phase headers have a unit per tile (`stride` 1), one-phase headers one unit of M tiles.
    """

    def __init__(self, header: ModelHeader, memory: ModelMemory) -> None:
        self._header = header
        self.memory = memory
        self._machines: dict[int, MachineRun] = {}

    @property
    def header(self) -> ModelHeader:
        """The model's header."""
        return self._header

    @property
    def nbytes(self) -> int:
        """Bytes that the tensors and the machines' kept states take, about; without the model's constants."""
        return self.memory.nbytes + sum(run.nbytes for run in self._machines.values())

    @property
    def tiles(self) -> int:
        """Units of the tile phase."""
        return self.header.tiles

    @property
    def output_root(self) -> bytes:
        """Root of the output region after the last tile."""
        return self.memory.output_root

    def input_path(self) -> bytes:
        """The encoded path of the input region in the model root and in `tile_root(0)`."""
        return self.memory.input_path()

    def output_path(self) -> bytes:
        """The encoded path of the output region in `tile_root(tiles)`."""
        return self.memory.output_path()

    def tile_root(self, m: int) -> bytes:
        """Root of the model half of memory before unit `m`."""
        return self.memory.root(self._tile(m))

    def machine(self, m: int) -> "MachineRun":
        """The machine's run over unit `m`; the last few are kept."""
        run = self._machines.pop(m, None) or run_unit(self.header, self.memory, self._tile(m), self.header.stride)
        self._machines[m] = run
        while len(self._machines) > MACHINES_KEPT:
            del self._machines[next(iter(self._machines))]
        return run

    def _tile(self, m: int) -> int:
        return min(m * self.header.stride, self.memory.tiles)


class MachineRun:
    """The machine's states over one unit, from its start state to its end (or the step limit, where it has none)."""

    def __init__(self, start: State, limit: int) -> None:
        self._trace = MachineTrace(start, limit)

    @property
    def nbytes(self) -> int:
        """Bytes that the kept states take, about."""
        return self._trace.nbytes

    @property
    def steps(self) -> int:
        """Steps until the machine has stopped."""
        return self._trace.steps

    @property
    def scratch_root(self) -> bytes:
        """Root of the upper half of memory in the end state."""
        return self.state(self.steps).memory.node(MODEL_LEVEL, 1)

    def encode(self, t: int) -> bytes:
        """The encoded state after `t` steps, 289 bytes."""
        return self._trace.state(t).encode()

    def hash(self, t: int) -> bytes:
        """Hash of the state after `t` steps."""
        return self._trace.hash(t)

    def state(self, t: int) -> State:
        """The state after `t` steps."""
        return self._trace.state(t)

    def witness(self, t: int) -> bytes:
        """The witness of step `t`."""
        return prove_step(self._trace.state(t))


def run_unit(header: ModelHeader, memory: ModelMemory, first: int, count: int) -> MachineRun:
    """The machine's run over the tiles [first, first + count), from the start state that the contract sets."""
    return MachineRun(entry_state(Memory(memory.cut(first)), header.entry, first, count), header.max_steps)
