"""The definition, the fast loop and the contract on an EVM: the same state hash after every step, whatever the step."""

import random
from collections import Counter
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from vm_programs import DATA, random_state, value

from opml.chain.verifier import EvmVerifier
from opml.errors import RevertError
from opml.lockstep import Report, compare
from opml.model import load
from vm.constants import HALTED, MEMORY_BYTES, RUNNING, TRAPPED
from vm.isa import TABLE, encode
from vm.memory import Memory
from vm.run import run
from vm.state import State, entry_state
from vm.step import DirectAccess, prove_step, replay, step

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
OPCODES = range(3, 128, 4)
PC = 0x1000


@cache
def verifier() -> EvmVerifier:
    return EvmVerifier()


def checked(start: State, max_steps: int, every: int = 1) -> Report:
    report = compare(start, verifier(), max_steps, every)
    assert report.difference is None, report.difference
    return report


def ends_with_exit(rng: random.Random, length: int) -> State:
    """A random program with a halting call somewhere, and a7 mostly what that call wants."""
    state = random_state(rng, length=length)
    state.memory.store(PC + 4 * rng.randrange(length), 4, encode("ecall"))
    state.memory.store(PC, 4, encode("addi", rd=17, imm=rng.choice((93, 93, 93, 64))))
    return state


@cache
def tile_machine(tile: int) -> State:
    """The machine before a tile of the example CNN, as a dispute would enter it."""
    model = load(EXAMPLES / "cnn.onnx")
    with np.load(EXAMPLES / "digits.npz") as file:
        inference = model.infer({"image": file["images"][3]})
    return entry_state(Memory(inference.memory.cut(tile)), model.header.entry, tile, 1)


@pytest.mark.parametrize("seed", range(4))
def test_random_programs(seed: int) -> None:
    checked(ends_with_exit(random.Random(seed), 40), 60)


def test_the_start_the_middle_and_the_end_of_a_tile() -> None:
    start = tile_machine(5)
    length = run(start.fork(), 10**9)
    for first in (0, length // 2, length - 40):
        state = start.fork()
        run(state, first)
        assert checked(state, 40).evm_steps == 40
    assert checked(start, 10**9, every=length).evm_steps == 2


def test_a_malformed_witness_is_refused_by_name_and_the_next_is_not() -> None:
    witness = prove_step(random_state(random.Random(1)))
    with pytest.raises(RevertError) as caught:
        verifier().step(witness + b"\0")
    assert caught.value.reason == "MalformedWitness"
    assert verifier().step(witness) == replay(witness)
    assert verifier().gas > 0


def triple(opcode: int, funct3: int, funct7: int, rng: random.Random) -> int:
    rd, rs1, rs2 = (rng.randrange(32) for _ in range(3))
    return opcode | rd << 7 | funct3 << 12 | rs1 << 15 | rs2 << 20 | funct7 << 25


def operands(rng: random.Random) -> list[int]:
    """Registers with edge values, random numbers and places in memory, so that loads and stores get through."""
    places = (DATA, DATA + 8 * rng.randrange(16), DATA + rng.randrange(128), MEMORY_BYTES - 8, PC)
    return [0] + [rng.choice(places) if rng.random() < 0.5 else value(rng) for _ in range(31)]


def agree(state: State, on_evm: bool) -> int:
    """One step in all engines; the status after it."""
    before, witness, fast = state.hash(), prove_step(state), state.fork()
    assert run(fast, 1) == 1
    step(DirectAccess(state))
    after = state.hash()
    assert fast.hash() == after
    assert replay(witness) == (before, after)
    if on_evm:
        assert verifier().step(witness) == (before, after)
    return state.status


def triples_agree(opcode: int, sevens: range | tuple[int, ...], sets: int) -> Counter[int]:
    rng, ends = random.Random(opcode), Counter[int]()
    data = b"".join(value(rng).to_bytes(8, "little") for _ in range(32))
    for funct3 in range(8):
        for funct7 in sevens:
            for _ in range(sets):
                memory = Memory()
                memory.write(DATA, data)
                memory.store(PC, 4, triple(opcode, funct3, funct7, rng))
                ends[agree(State(memory, PC, operands(rng)), True)] += 1
    return ends


@pytest.mark.parametrize("opcode", [0x03, 0x13, 0x1B, 0x23, 0x33, 0x3B, 0x63, 0x67, 0x73])
def test_pitfall_1_triples(opcode: int) -> None:
    triples_agree(opcode, (0x00, 0x01, 0x20, 0x7F), 1)


@pytest.mark.slow
@pytest.mark.parametrize("opcode", OPCODES)
def test_pitfall_1_all_triples_with_several_operand_sets(opcode: int, capsys: pytest.CaptureFixture[str]) -> None:
    ends = triples_agree(opcode, range(128), 3)
    assert ends.total() == 8 * 128 * 3
    known = {line.match & 0x7F for line in TABLE}
    assert (ends[RUNNING] > 0) == (opcode in known - {0x73})
    with capsys.disabled():
        print(f"\nopcode {opcode:#04x}: {ends[RUNNING]:,} steps ran on, {ends[TRAPPED]:,} trapped, 0 differences")


@pytest.mark.slow
def test_20_000_different_steps_on_the_evm(capsys: pytest.CaptureFixture[str]) -> None:
    """Random programs, and tiles of a real model from start to end where they are short."""
    reports = [checked(tile_machine(tile), 2500) for tile in (0, 40, 100)]
    seed = 0
    while sum(report.evm_steps for report in reports) < 21_000:
        rng = random.Random(10_000 + seed)
        reports.append(checked(ends_with_exit(rng, rng.choice((16, 64, 200))), 300))
        seed += 1
    instructions = sum((report.instructions for report in reports), Counter[str]())
    gas = [gas for report in reports for gas in report.gas]
    statuses = Counter(report.status for report in reports)
    assert {line.name for line in TABLE} <= set(instructions)
    assert statuses[HALTED] > 0
    assert statuses[TRAPPED] > 0
    steps, on_evm = sum(r.steps for r in reports), sum(r.evm_steps for r in reports)
    with capsys.disabled():
        print(
            f"\n{on_evm:,} different steps on the EVM, {steps:,} in definition and fast loop, of {len(reports)} "
            f"programs with {len(instructions)} kinds of instructions: 0 differences; at most {max(gas):,} gas a step"
        )


@pytest.mark.slow
def test_a_million_steps_of_random_programs(capsys: pytest.CaptureFixture[str]) -> None:
    """The definition and the fast loop, state by state; hashes at the end of each program."""
    steps = seed = 0
    while steps < 1_000_000:
        rng = random.Random(1_000_000 + seed)
        state = ends_with_exit(rng, rng.choice((16, 64, 200, 400)))
        single, whole, quick, taken = state.fork(), state.fork(), state.fork(), 0
        while state.status == RUNNING and taken < 2000:
            step(DirectAccess(state))
            run(single, 1)
            assert (single.pc, single.status, single.registers) == (state.pc, state.status, state.registers)
            taken += 1
        assert run(whole, taken) == taken
        assert whole.hash() == single.hash() == state.hash()
        if state.status != RUNNING:
            assert run(quick, 1 << 20) == taken
            assert quick.hash() == state.hash()
        steps, seed = steps + taken, seed + 1
    with capsys.disabled():
        print(f"\n{steps:,} steps of {seed:,} random programs: 0 differences")
