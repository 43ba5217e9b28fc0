"""A real guest for the real machine, a few dozen words long: every tile mixes the tile before it with a weight.

Tile m < MID is leaf m of an intermediate tensor, the others are the output's. `tiny_regions` is the native twin.
"""

import numpy as np
from vm_asm import assemble

from opml.commitment import ModelMemory, Place, Region
from opml.dispute.trace import ModelTrace
from opml.header import ModelHeader
from vm.merkle import subtree_root

MID, OUT = 5, 3
TILES = MID + OUT
WEIGHT, INPUT, MIDDLE, OUTPUT = 0x10000, 0x20000, 0x21000, 0x22000
INPUT_PLACE, OUTPUT_PLACE = Place(INPUT, 0), Place(OUTPUT, 2)
WEIGHTS = np.arange(1, 65, dtype=np.uint8)
INPUTS = np.arange(200, 232, dtype=np.uint8)
FACTOR = 0x155
WINDOW, CLOCK = 3600, 600
MAX_STEPS = 1 << 12

GUEST = assemble(
    # Something on the stack, so that the scratch half is not empty.
    ("addi", "t6", "zero", 1),
    ("slli", "t6", "t6", 39),
    ("sd", "t6", 64, "t6"),
    ("add", "a1", "a0", "a1"),
    "loop",
    ("bgeu", "a0", "a1", "done"),
    ("addi", "t0", "zero", TILES),
    ("bgeu", "a0", "t0", "done"),
    # t2: this tile's leaf, t3: the leaf before it.
    ("slli", "t1", "a0", 5),
    ("lui", "t2", MIDDLE),
    ("add", "t2", "t2", "t1"),
    ("addi", "t3", "t2", -32),
    ("addi", "t0", "zero", MID),
    ("bltu", "a0", "t0", "middle"),
    ("lui", "t2", OUTPUT),
    ("add", "t2", "t2", "t1"),
    ("addi", "t2", "t2", -32 * MID),
    ("beq", "a0", "t0", "mix"),
    ("addi", "t3", "t2", -32),
    ("jal", "zero", "mix"),
    "middle",
    ("bne", "a0", "zero", "mix"),
    ("lui", "t3", INPUT),
    "mix",
    ("andi", "t0", "a0", 7),
    ("slli", "t0", "t0", 3),
    ("lui", "t4", WEIGHT),
    ("add", "t4", "t4", "t0"),
    ("ld", "t4", 0, "t4"),
    ("ld", "t5", 0, "t3"),
    ("add", "t5", "t5", "t4"),
    ("addi", "t0", "zero", FACTOR),
    ("mul", "t5", "t5", "t0"),
    ("sd", "t5", 0, "t2"),
    ("sw", "t4", 12, "t2"),
    ("addi", "a0", "a0", 1),
    ("jal", "zero", "loop"),
    "done",
    ("addi", "a0", "zero", 0),
    ("addi", "a7", "zero", 93),
    ("ecall",),
)


def tiny_regions(weights: np.ndarray = WEIGHTS, inputs: np.ndarray = INPUTS) -> list[Region]:
    """The finished memory of the tiny model, computed natively."""
    words = weights.view("<u8")
    leaves = np.zeros((TILES, 4), "<u8")
    value = int(inputs.view("<u8")[0])
    for m in range(TILES):
        value = (value + int(words[m % 8])) * FACTOR % 2**64
        leaves[m] = value, (int(words[m % 8]) & 0xFFFFFFFF) << 32, 0, 0
    return [
        Region(0, 10, np.frombuffer(GUEST, np.uint8)),
        Region(WEIGHT, 1, weights),
        Region(INPUT, 0, inputs),
        Region(MIDDLE, 3, leaves[:MID].reshape(-1).view(np.uint8), 0),
        Region(OUTPUT, 2, leaves[MID:].reshape(-1).view(np.uint8), MID),
    ]


def tiny_memory(weights: np.ndarray = WEIGHTS, inputs: np.ndarray = INPUTS) -> ModelMemory:
    return ModelMemory(tiny_regions(weights, inputs), INPUT_PLACE, OUTPUT_PLACE)


def tiny_header(one_phase: bool = False) -> ModelHeader:
    memory = tiny_memory()
    return ModelHeader(
        model_root=memory.model_root,
        guest_root=subtree_root(GUEST, 15),
        entry=0,
        tiles=1 if one_phase else TILES,
        stride=TILES if one_phase else 1,
        max_steps=MAX_STEPS,
        input_address=INPUT,
        input_bytes=INPUTS.size,
        output_address=OUTPUT,
        output_bytes=32 * OUT,
        window=WINDOW,
        clock=CLOCK,
        input_level=INPUT_PLACE.level,
        output_level=OUTPUT_PLACE.level,
    )


def tiny_trace(one_phase: bool = False) -> ModelTrace:
    """The truth."""
    return ModelTrace(tiny_header(one_phase), tiny_memory())
