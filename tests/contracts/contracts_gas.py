"""The gas of a whole dispute, by its size and k, and of a claim that nobody disputes.

    python tests/contracts/contracts_gas.py            prints tables
    python tests/contracts/contracts_gas.py --write    writes contracts/gas.json, which a test compares

Only the states that the chain looks into are real: the input and output paths, the end state, and the machine at the
disputed instruction, in a memory whose paths are as full as those of a network of that many tiles. All others are
random words, which is what hashes look like to a post.
"""

import json
import random
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contracts_driver import CHALLENGER_BOND, PROVER_BOND, World
from contracts_evm import Evm, address_of, artifact

from opml.chain.deploy import DEFAULT_K
from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm import alu
from vm.constants import DEPTH, LEAF_LOG2, MODEL_LEVEL, REG_A7, SCRATCH_BASE, SYSCALL_EXIT
from vm.isa import encode
from vm.keccak import keccak256
from vm.memory import Memory
from vm.merkle import encode_path, subtree_root
from vm.state import State
from vm.step import DirectAccess, prove_step, step

SNAPSHOT = Path(__file__).parents[2] / "contracts" / "gas.json"
K = DEFAULT_K
KS = (16, 24, 32, 40, 46, 64)
SMALL, LARGE = (1 << 11, 1 << 17), (1 << 21, 1 << 20)  # tiles, and instructions of one of them
SIZES = ((1 << 10, 1 << 20), SMALL, (1 << 16, 1 << 20), LARGE, (1, 1 << 24))
INPUT_LEVEL, INPUT_BYTES = 3, 256  # 64 floats
OUTPUT_LEVEL, OUTPUT_BYTES = 1, 40


@dataclass(frozen=True)
class Layout:
    """Where a network of so many tiles has its tensors: guest, node table, weights, input and output, activations."""

    tiles: int

    @property
    def size(self) -> int:
        """Bytes of all activations, and half as many as those of the weights."""
        bytes_ = 1 << (LEAF_LOG2 + (self.tiles - 1).bit_length()) if self.tiles > 1 else 1 << 16
        return min(bytes_, 1 << 36)  # all the memory there is, less some room

    @property
    def weights(self) -> int:
        return 1 << 25

    @property
    def input(self) -> int:
        return max(1 << 26, 4 * self.size)

    @property
    def output(self) -> int:
        return self.input + 4096

    @property
    def activations(self) -> int:
        return self.input + max(1 << 16, self.size)

    def memory(self, rng: random.Random) -> Memory:
        """The model half, with something on both sides of all the paths that a dispute takes."""
        memory = Memory()
        memory.write(0, rng.randbytes(80_000))
        memory.write(1 << 24, rng.randbytes(20 * 256))
        crowd(memory, self.weights + 5_000, self.weights, 2 * self.size)
        crowd(memory, self.activations + self.size // 2 + 64, self.activations, self.size)
        return memory


def crowd(memory: Memory, address: int, start: int, size: int) -> None:
    """Writes to each sibling of the path from `address` up that is within the region."""
    leaf = address >> LEAF_LOG2
    for level in range(DEPTH):
        sibling = (leaf >> level ^ 1) << (level + LEAF_LOG2)
        if start <= sibling < start + size:
            memory.write(sibling, b"\xff")


# The instructions whose transactions are kept: (word, x10), x10 being the address of loads and stores.
SMALL_NET = Layout(SMALL[0])
STACK, STACK_BYTES = SCRATCH_BASE + 65_200, (65_000, 400)
STORE = encode("sw", rs1=10, rs2=6)
INSTRUCTIONS = {
    "addi": (encode("addi", rd=5, rs1=6, imm=1), 0),
    "mulhsu": (encode("mulhsu", rd=5, rs1=6, rs2=7), 0),
    "beq": (encode("beq", rs1=6, rs2=6, imm=8), 0),
    "jalr": (encode("jalr", rd=1, rs1=10), 0x5000),
    "ecall": (encode("ecall"), 0),
    "lw of a constant in the guest": (encode("lw", rd=5, rs1=10), 0x9000),
    "lw of a weight": (encode("lw", rd=5, rs1=10), SMALL_NET.weights + 5_000),
    "ld of the stack": (encode("ld", rd=5, rs1=10), STACK),
    "sd to the stack": (encode("sd", rs1=10, rs2=6), STACK),
    "sw of a result": (STORE, SMALL_NET.activations + SMALL_NET.size // 2 + 64),
}


def machine(word: int, address: int, layout: Layout = SMALL_NET) -> State:
    """A machine in the middle of a tile, before an instruction."""
    rng = random.Random(1)
    memory = layout.memory(rng)
    memory.write(0x4000, word.to_bytes(4, "little"))
    memory.write(SCRATCH_BASE + STACK_BYTES[0], rng.randbytes(STACK_BYTES[1]))
    registers = [0, *(rng.getrandbits(40) for _ in range(31))]
    registers[10], registers[REG_A7] = address, SYSCALL_EXIT
    return State(memory, 0x4000, registers)


def dense_machine() -> State:
    """Before a store, in a memory without a zero subtree beside either of its leaves: no witness is longer."""
    state = machine(*INSTRUCTIONS["sd to the stack"])
    for leaf in (state.pc >> LEAF_LOG2, STACK >> LEAF_LOG2):
        for level in range(DEPTH):
            state.memory.write((leaf >> level ^ 1) << (level + LEAF_LOG2), b"\xff")
    state.registers = [0, *[alu.MASK64 // 3] * 9, STACK, *[alu.MASK64 // 3] * 21]
    return state


def step_gas(*states: State) -> list[int]:
    """The gas of a transaction that calls the verifier alone, for each machine."""
    evm, sender = Evm(), address_of("anyone")
    evm.fund(sender)
    verifier = evm.deploy(sender, artifact("StepVerifier"))
    return [evm.transact(sender, verifier, evm.abi.encode("step", [prove_step(state)])).gas for state in states]


class Scene:
    """A model of so many tiles on a chain, with an input and an output; `gas` has each call with its gas, in order."""

    def __init__(self, k: int, tiles: int, steps: int) -> None:
        self.world, self.rng, self.layout = World(k), random.Random(1), Layout(tiles)
        self.tiles, self.steps = tiles, steps
        at, blank = self.layout, self.layout.memory(self.rng)
        self.data = self.rng.randbytes(INPUT_BYTES)
        self.input_path = self._path(blank, at.input, INPUT_LEVEL)
        self.first_root = blank.node(MODEL_LEVEL, 0)
        full = blank.fork()
        full.write(at.input, self.data)
        full.write(at.output, self.rng.randbytes(OUTPUT_BYTES))
        self.output_path = self._path(full, at.output, OUTPUT_LEVEL)
        self.output_root = full.node(OUTPUT_LEVEL, at.output >> LEAF_LOG2 + OUTPUT_LEVEL)
        self.final_root = full.node(MODEL_LEVEL, 0)
        model = (
            *(self.first_root, blank.node(15, 0), 0, tiles, 1, steps),
            *(at.input, INPUT_BYTES, at.output, OUTPUT_BYTES, 1000, 1000, INPUT_LEVEL, OUTPUT_LEVEL),
        )
        self.model_id = self.world.send(self.world.other, "registerModel", model, "").output

    @staticmethod
    def _path(memory: Memory, address: int, level: int) -> bytes:
        return encode_path(memory.siblings(level, address >> LEAF_LOG2 + level, MODEL_LEVEL), level)

    @property
    def gas(self) -> list[tuple[str, int]]:
        return [item for item in self.world.gas if item[0] != "registerModel"]

    def claim(self) -> bytes:
        args = (self.model_id, self.data, self.output_root, 0)
        return self.world.send(self.world.prover, "claim", *args, value=PROVER_BOND).output

    def summary(self) -> dict[str, int]:
        """Transactions, total gas, and the largest figure of each call."""
        largest: dict[str, int] = {}
        for name, gas in self.gas:
            largest[name] = max(gas, largest.get(name, 0))
        return {"transactions": len(self.gas), "total": sum(gas for _, gas in self.gas)} | largest


class HappyPath(Scene):
    """A claim that nobody disputes, and its bond's return."""

    def __init__(self, by_root: bool = False) -> None:
        super().__init__(K, *SMALL)
        world = self.world
        if by_root:
            args = (self.model_id, subtree_root(self.data, INPUT_LEVEL), self.output_root, 0, "")
            claim_id = world.send(world.prover, "claimByRoot", *args, value=PROVER_BOND).output
        else:
            claim_id = self.claim()
        world.evm.now += 2000
        assert world.collect(world.prover, [claim_id]) == PROVER_BOND


class Silence(Scene):
    """A claim with one game against it whose prover never moves."""

    def __init__(self) -> None:
        super().__init__(K, *SMALL)
        world = self.world
        game_id = world.challenge(self.claim())
        world.evm.now += 1001
        world.timeout(game_id)
        world.collect(world.challenger, games=[game_id])


class Delegated(Scene):
    """A claim that somebody else makes final, and whose bond a delegate withdraws."""

    def __init__(self) -> None:
        super().__init__(K, *SMALL)
        world, claim_id = self.world, self.claim()
        world.send(world.prover, "setDelegate", world.challenger, True)
        world.evm.now += 2000
        world.send(world.other, "finalise", claim_id)
        world.send(world.challenger, "withdraw", world.prover, [], [])


class Dispute(Scene):
    """One game, from the claim to the winner's withdrawal."""

    def __init__(self, k: int, tiles: int, steps: int, prover_wins: bool = False) -> None:
        super().__init__(k, tiles, steps)
        world = self.world
        self.target = {Phase.TILE: tiles * 5 // 8, Phase.INSTRUCTION: steps * 5 // 8}
        self.before = machine(STORE, self.layout.activations + self.layout.size // 2 + 64, self.layout)
        self.after = self.before.fork()
        step(DirectAccess(self.after))
        if not prover_wins:
            self.after.registers[5] ^= 1

        claim_id = self.claim()
        self.id = world.challenge(claim_id)
        key, claim = world.key(self.id), world.claim_of(claim_id)
        posted = self.random_states(tiles)
        roots = self.input_path, self.final_root, self.output_path
        world.send(world.prover, "open", key, claim, *roots, posted)
        self.narrow(self.random_states)

        range_ = world.range(self.id)
        scratch = self.rng.randbytes(32)
        end = keccak256(range_[3] + scratch) + bytes(72) + bytes(8) + self.rng.randbytes(21 * 8) + bytes(8) + b"\1"
        posted = self.instruction_states(steps)
        world.send(world.prover, "enter", key, claim, range_, steps, end, scratch, posted)
        self.narrow(self.instruction_states)

        assert world.stage(self.id) == Stage.STEP
        world.send(world.prover, "step", key, world.range(self.id)[3], prove_step(self.before))
        if prover_wins:
            world.evm.now += 2000
            assert world.collect(world.prover, [claim_id], [self.id]) == PROVER_BOND + CHALLENGER_BOND
        else:
            assert world.collect(world.challenger, games=[self.id]) == CHALLENGER_BOND + PROVER_BOND // 2

    def random_states(self, length: int, position: int = 0) -> list[bytes]:
        return [self.rng.randbytes(32) for _ in rules.inner_boundaries(length, self.world.k)]

    def instruction_states(self, length: int, position: int = 0) -> list[bytes]:
        target = self.target[Phase.INSTRUCTION]
        real = {target: self.before.hash(), target + 1: self.after.hash()}
        inner = rules.inner_boundaries(length, self.world.k)
        return [real.get(position + i, word) for i, word in zip(inner, self.random_states(length), strict=True)]

    def narrow(self, states: Callable[[int, int], list[bytes]]) -> None:
        """Plays posts and choices until the range has one step."""
        world = self.world
        phase = Phase(world.game(self.id)["phase"])
        while True:
            game = world.game(self.id)
            position, length = game["position"], game["length"]
            if game["stage"] == Stage.POST:
                args = (world.key(self.id), world.range(self.id), states(length, position))
                world.send(world.prover, "post", *args)
            elif game["stage"] == Stage.CHOOSE:
                p = rules.parts(length, world.k)
                offset = self.target[phase] - position
                name, args = world.choose(
                    self.id, next(j for j in range(p) if offset < rules.boundary(length, p, j + 1))
                )
                world.send(world.challenger, name, *args)
            else:
                return


def snapshot() -> dict[str, dict[str, int]]:
    """The figures that are kept: a claim, disputes at the recommended k, and a step by itself."""
    figures = {"no dispute": HappyPath().summary(), "no dispute, input not on chain": HappyPath(by_root=True).summary()}
    figures["a prover who never moves"] = Silence().summary()
    figures["a delegate; somebody else finalises"] = Delegated().summary()
    for size in (SMALL, LARGE):
        for winner in ("challenger", "prover"):
            name = "2^{} tiles, 2^{} instructions, k = {}, {} wins".format(*map(log2, size), K, winner)
            figures[name] = Dispute(K, *size, prover_wins=winner == "prover").summary()
    states = [machine(*instruction) for instruction in INSTRUCTIONS.values()]
    figures["StepVerifier.step"] = dict(zip(INSTRUCTIONS, step_gas(*states), strict=True))
    figures["StepVerifier.step, longest witness"] = {"sd": step_gas(dense_machine())[0]}
    return figures


def log2(number: int) -> int:
    return number.bit_length() - 1


def main() -> None:
    if "--write" in sys.argv[1:]:
        SNAPSHOT.write_text(json.dumps(snapshot(), indent=2) + "\n")
        return
    print("no dispute:", HappyPath().summary())
    for size in SIZES:
        for k in KS:
            dispute = Dispute(k, *size)
            figures, counts = dispute.summary(), Counter(name for name, _ in dispute.gas)
            title = "2^{:<2} tiles 2^{:<2} steps  k = {}".format(*map(log2, size), k)
            calls = " ".join(
                f"{n}{'*' + str(counts[n]) if counts[n] > 1 else ''} {g / 1000:.1f}k"
                for n, g in figures.items()
                if n in counts
            )
            print(f"{title}: {figures['transactions']} transactions, {figures['total']:,} gas ({calls})")


if __name__ == "__main__":
    main()
