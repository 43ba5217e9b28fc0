"""Before a bond is put down: does the machine on this computer agree with what the native kernels computed?"""

import random

from opml.commitment import ModelMemory
from opml.errors import SelfCheckError
from opml.header import ModelHeader
from vm.constants import HALTED, MODEL_LEVEL, REG_A0
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state

TILES_CHECKED = 3


def self_check(
    header: ModelHeader, memory: ModelMemory, count: int = TILES_CHECKED, seed: int | None = None
) -> list[int]:
    """Run `count` random tiles in the machine and compare the whole root after each. Returns the tiles, in order.

    They are among those that write something. A header's `stride` does not matter: single tiles are run. Raises
    SelfCheckError with the first tile that differs.
    """
    tiles = sorted(random.Random(seed).sample(range(memory.written_tiles), min(count, memory.written_tiles)))
    for tile in tiles:
        state = entry_state(Memory(memory.cut(tile)), header.entry, tile, 1)
        steps = run(state, header.max_steps)
        code = state.registers[REG_A0]
        if state.status != HALTED or code:
            raise SelfCheckError(
                f"tile {tile} did not end well in the machine: status {state.status}, exit code {code}, {steps} steps"
            )
        if state.memory.node(MODEL_LEVEL, 0) != memory.root(tile + 1):
            raise SelfCheckError(
                f"tile {tile}: the machine and the native kernels disagree", "do not bond on results of this computer"
            )
    return tiles
