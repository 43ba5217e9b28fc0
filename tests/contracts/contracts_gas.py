"""The gas of a whole dispute, by its size and k.

    python tests/contracts/contracts_gas.py            prints a table
    python tests/contracts/contracts_gas.py --write    writes contracts/.gas-snapshot, which a test compares

Only the states that the chain looks into are real: the input and output paths, the end state, and the machine at the
disputed instruction, in a memory laid out like a small convolutional network's. All others are random words, which is
what hashes look like to a post.
"""

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from contracts_driver import World
from contracts_evm import Evm, address_of, artifact

from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm import alu
from vm.constants import DEPTH, LEAF_LOG2, MODEL_LEVEL, REG_A7, SCRATCH_BASE, SYSCALL_EXIT
from vm.isa import encode
from vm.keccak import keccak256
from vm.memory import Memory
from vm.merkle import encode_path
from vm.state import State
from vm.step import DirectAccess, prove_step, step

SNAPSHOT = Path(__file__).parents[2] / "contracts" / ".gas-snapshot"
K = 32
CNN_TILES, CNN_STEPS = 1 << 11, 1 << 17
INPUT, INPUT_LEVEL, INPUT_BYTES = 1 << 26, 3, 256  # 64 floats
OUTPUT, OUTPUT_LEVEL, OUTPUT_BYTES = (1 << 26) + (1 << 12), 1, 40


def layout(rng: random.Random) -> Memory:
    """Guest, node table, 100 kB of weights, 64 kB of activations."""
    memory = Memory()
    memory.write(0, rng.randbytes(80_000))
    memory.write(1 << 24, rng.randbytes(20 * 256))
    memory.write(1 << 25, rng.randbytes(100_000))
    memory.write((1 << 26) + (1 << 16), rng.randbytes(60_000))
    return memory


# The instructions whose transactions are kept: (word, x10), x10 being the address of loads and stores.
STACK, WEIGHTS, OUTPUTS = SCRATCH_BASE + 65_200, (1 << 25) + 5_000, (1 << 26) + (1 << 16) + 30_000
INSTRUCTIONS = {
    "addi": (encode("addi", rd=5, rs1=6, imm=1), 0),
    "mulhsu": (encode("mulhsu", rd=5, rs1=6, rs2=7), 0),
    "beq": (encode("beq", rs1=6, rs2=6, imm=8), 0),
    "jalr": (encode("jalr", rd=1, rs1=10), 0x5000),
    "ecall": (encode("ecall"), 0),
    "lw of a constant in the guest": (encode("lw", rd=5, rs1=10), 0x9000),
    "lw of a weight": (encode("lw", rd=5, rs1=10), WEIGHTS),
    "ld of the stack": (encode("ld", rd=5, rs1=10), STACK),
    "sd to the stack": (encode("sd", rs1=10, rs2=6), STACK),
    "sw of a result": (encode("sw", rs1=10, rs2=6), OUTPUTS),
}


def machine(instruction: str, rng: random.Random) -> State:
    """A machine in the middle of a small network's tile, before an instruction."""
    word, address = INSTRUCTIONS[instruction]
    memory = layout(rng)
    memory.write(0x4000, word.to_bytes(4, "little"))
    memory.write(SCRATCH_BASE + 65_000, rng.randbytes(400))
    registers = [0, *(rng.getrandbits(40) for _ in range(31))]
    registers[10], registers[REG_A7] = address, SYSCALL_EXIT
    return State(memory, 0x4000, registers)


def dense_machine() -> State:
    """Before a store, in a memory without a zero subtree beside either of its leaves: no witness is longer."""
    state = machine("sd to the stack", random.Random(1))
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


class Dispute:
    """One game from the claim to the winner's withdrawal; `gas` has each call with its gas, in order."""

    def __init__(
        self,
        k: int,
        tiles: int = CNN_TILES,
        steps: int = CNN_STEPS,
        prover_wins: bool = False,
        instruction: str = "sw of a result",
    ) -> None:
        self.world = World(k)
        self.rng = random.Random(1)
        self.instruction = instruction
        self.tiles, self.steps, self.prover_wins = tiles, steps, prover_wins
        self.target = {Phase.TILE: tiles * 5 // 8, Phase.INSTRUCTION: steps * 5 // 8}
        self.play()

    @property
    def gas(self) -> list[tuple[str, int]]:
        return [item for item in self.world.gas if item[0] != "registerModel"]

    def play(self) -> None:
        world, blank = self.world, layout(self.rng)
        full = blank.fork()
        data = self.rng.randbytes(INPUT_BYTES)
        full.write(INPUT, data)
        full.write(OUTPUT, self.rng.randbytes(OUTPUT_BYTES))
        input_index, output_index = INPUT >> 5 + INPUT_LEVEL, OUTPUT >> 5 + OUTPUT_LEVEL
        model = (
            *(blank.node(MODEL_LEVEL, 0), blank.node(15, 0), 0, self.tiles, 1, self.steps),
            *(INPUT, INPUT_BYTES, OUTPUT, OUTPUT_BYTES, 1000, 1000, INPUT_LEVEL, OUTPUT_LEVEL),
        )
        model_id = world.send(world.other, "registerModel", model, "").output
        path = encode_path(blank.siblings(INPUT_LEVEL, input_index, MODEL_LEVEL), INPUT_LEVEL)
        output_root = full.node(OUTPUT_LEVEL, output_index)
        claim_id = world.send(
            world.prover, "claim", model_id, data, output_root, 0, path, value=world.view("proverBond")
        ).output
        game_id = world.challenge(claim_id)

        posted = self.random_states(self.tiles)
        path = encode_path(full.siblings(OUTPUT_LEVEL, output_index, MODEL_LEVEL), OUTPUT_LEVEL)
        world.send(world.prover, "open", game_id, full.node(MODEL_LEVEL, 0), path, posted)
        self.narrow(game_id, posted, self.random_states)

        game = world.game(game_id)
        scratch = self.rng.randbytes(32)
        end = keccak256(game["hi"] + scratch) + bytes(72) + bytes(8) + self.rng.randbytes(21 * 8) + bytes(8) + b"\1"
        self.machine_states()
        posted = self.instruction_states(self.steps)
        world.send(world.prover, "enter", game_id, game["position"], self.steps, end, scratch, posted)
        self.narrow(game_id, posted, self.instruction_states)

        assert world.stage(game_id) == Stage.STEP
        world.send(world.prover, "step", game_id, prove_step(self.before))
        if self.prover_wins:
            world.evm.now += 2000
            world.send(world.prover, "finalise", claim_id)
            world.send(world.prover, "withdraw", [])
        else:
            world.send(world.challenger, "withdraw", [game_id])

    def machine_states(self) -> None:
        """The machine before and after the disputed instruction."""
        self.before = machine(self.instruction, self.rng)
        self.after = self.before.fork()
        step(DirectAccess(self.after))
        if not self.prover_wins:
            self.after.registers[5] ^= 1

    def random_states(self, length: int, position: int = 0) -> list[bytes]:
        return [self.rng.randbytes(32) for _ in rules.inner_boundaries(length, self.world.k)]

    def instruction_states(self, length: int, position: int = 0) -> list[bytes]:
        target = self.target[Phase.INSTRUCTION]
        real = {target: self.before.hash(), target + 1: self.after.hash()}
        states = self.random_states(length)
        inner = rules.inner_boundaries(length, self.world.k)
        return [real.get(position + i, word) for i, word in zip(inner, states, strict=True)]

    def narrow(self, game_id: bytes, posted: list[bytes], states: Callable[[int, int], list[bytes]]) -> None:
        world = self.world
        phase = Phase(world.game(game_id)["phase"])
        while True:
            game = world.game(game_id)
            position, length = game["position"], game["length"]
            if game["stage"] == Stage.POST:
                posted = states(length, position)
                world.send(world.prover, "post", game_id, position, length, posted)
            elif game["stage"] == Stage.CHOOSE:
                p = rules.parts(length, world.k)
                offset = self.target[phase] - position
                j = next(j for j in range(p) if offset < rules.boundary(length, p, j + 1))
                world.send(world.challenger, "choose", game_id, position, length, j, list(rules.opening(posted, j)))
            else:
                return


def summary(dispute: Dispute) -> dict[str, int]:
    """Transactions, total gas, and the largest figure of each call."""
    largest: dict[str, int] = {}
    for name, gas in dispute.world.gas:
        largest[name] = max(gas, largest.get(name, 0))
    return {"transactions": len(dispute.gas), "total": sum(gas for _, gas in dispute.gas)} | largest


def snapshot() -> dict[str, dict[str, int]]:
    """The figures that are kept: a small network's dispute at the recommended k, lost and won by the prover, and a
    step by itself."""
    figures = {
        f"2^11 tiles, 2^17 instructions, k = {K}, {winner} wins": summary(Dispute(K, prover_wins=winner == "prover"))
        for winner in ("challenger", "prover")
    }
    states = [machine(instruction, random.Random(1)) for instruction in INSTRUCTIONS]
    figures["StepVerifier.step"] = dict(zip(INSTRUCTIONS, step_gas(*states), strict=True))
    figures["StepVerifier.step, longest witness"] = {"sd": step_gas(dense_machine())[0]}
    return figures


def main() -> None:
    if "--write" in sys.argv[1:]:
        SNAPSHOT.write_text(json.dumps(snapshot(), indent=2) + "\n")
        return
    for tiles, steps in ((1 << 8, 1 << 13), (CNN_TILES, CNN_STEPS), (1 << 14, 1 << 20), (1, 1 << 24)):
        for k in (16, 24, 32, 40, 46, 64):
            figures = summary(Dispute(k, tiles, steps))
            size = f"{tiles:7} tiles {steps:9} steps  k = {k}"
            print(f"{size}: {figures['transactions']} transactions, {figures['total']:,} gas")


if __name__ == "__main__":
    main()
