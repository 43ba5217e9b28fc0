"""The fast loop against the definition, after every instruction, on programs that do odd things."""

import inspect
import random
import re
from concurrent.futures import ThreadPoolExecutor

import numba
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numba.core.dispatcher import Dispatcher
from vm_asm import EXIT, assemble, program
from vm_programs import CODE_REGISTER, DATA_REGISTER, random_state, word

from vm import fast, handlers, keccak, predecode
from vm.alu import BRANCHES
from vm.constants import HALTED, MEMORY_BYTES, PAGE_BYTES, RUNNING, SCRATCH_BASE, TRAPPED
from vm.handlers import QUICK_STEPS
from vm.isa import NUMBER, TABLE, encode
from vm.keccak import hash_subtrees
from vm.memory import Memory
from vm.predecode import WINDOW_BYTES
from vm.run import MAX_STEPS, run
from vm.state import State
from vm.step import DirectAccess, step

# A budget with which the loop does not look at every word.
LONG = QUICK_STEPS + 1000


def same(a: State, b: State) -> bool:
    return (a.pc, a.status, a.registers) == (b.pc, b.status, b.registers)


def lockstep(state: State, limit: int) -> State:
    """Both engines, compared after every instruction; at the end whole memories, and one run without a stop.

    That has so few steps that the loop counts each; programs that end are run by its quick functions, too.
    """
    single, whole, quick = state.fork(), state.fork(), state.fork()
    taken = 0
    while state.status == RUNNING and taken < limit:
        step(DirectAccess(state))
        assert run(single, 1) == 1
        assert same(single, state), f"after {taken + 1} steps"
        taken += 1
    assert run(whole, limit) == taken
    assert same(whole, state)
    assert single.hash() == state.hash() == whole.hash()
    if state.status != RUNNING:
        assert run(quick, LONG) == taken
        assert quick.hash() == state.hash()
    return state


bases = st.sampled_from(
    [
        *(0, 0x1000, PAGE_BYTES - 64, 0x3000 - 4, WINDOW_BYTES - 64, SCRATCH_BASE - 128),
        *(MEMORY_BYTES - 256, 7 * WINDOW_BYTES + PAGE_BYTES - 4),
    ]
)


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), bases)
def test_pitfall_21_random_programs_after_every_instruction(seed, base):
    lockstep(random_state(random.Random(seed), base=base), 120)


def quick_equals_exact(state: State) -> State:
    """A long run, by the quick functions up to its end, and the same in parts that only the exact ones do."""
    exact, taken = state.fork(), 0
    done = run(state, LONG)
    while taken < done:
        part = run(exact, min(QUICK_STEPS - 1, done - taken))
        assert part
        taken += part
    assert taken == done
    assert done == LONG or state.status != RUNNING
    assert same(exact, state)
    assert exact.hash() == state.hash()
    return state


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), bases)
def test_pitfall_21_long_runs_of_random_programs(seed, base):
    quick_equals_exact(random_state(random.Random(seed), base=base))


def words_of(names: tuple[str, ...], rng: random.Random, position: int) -> list[int]:
    """Random words with the given names, for consecutive places from word `position` of a program of 64."""
    words = []
    for i, name in enumerate(names):
        wanted = TABLE[NUMBER[name]]
        while True:
            candidate = word(rng, position + i, 64)
            if candidate & wanted.mask == wanted.match:
                words.append(candidate)
                break
    return words


@pytest.mark.parametrize("pair", predecode.PAIRS, ids="+".join)
def test_pitfall_21_pairs_are_their_two_instructions(pair):
    """Each pair at the start, at the end of a page, and entered at its second half; with faults in either half."""
    rng = random.Random(str(pair))
    assert pair[0] not in ("jal", "jalr", "ecall", *BRANCHES)
    for position in (0, 5, 6, 7):
        for _ in range(6):
            state = random_state(rng, length=64, base=0x2000 - 32)
            code = words_of(pair, rng, position)
            state.memory.store(0x2000 - 32 + 4 * position, 4, code[0])
            state.memory.store(0x2000 - 32 + 4 * position + 4, 4, code[1])
            state.pc += 4 * (position + rng.randrange(2))
            for stop in range(20, 64):
                state.memory.store(0x2000 - 32 + 4 * stop, 4, 0)
            if rng.random() < 0.3:
                state.registers[DATA_REGISTER] += rng.choice((1, 4, MEMORY_BYTES, 0x4000))
            lockstep(state, 60)


def test_pairs_are_told_apart():
    numbers = range(predecode.FIRST_PAIR, predecode.FIRST_PAIR + len(predecode.PAIRS))
    assert len(set(predecode.PAIRS)) == len(predecode.PAIRS)
    assert numbers[-1] < 256
    assert [predecode.operations(number) for number in numbers] == list(predecode.PAIRS)
    assert [predecode.operations(predecode.plain(number))[0] for number in numbers] == [a for a, _ in predecode.PAIRS]
    assert predecode.operations(255) == predecode.operations(predecode.UNDECODED) == ("none",)


def test_a_store_over_the_second_half_of_its_own_pair():
    assert ("sd", "addi") in predecode.PAIRS
    for budget in (10, LONG):
        state = program(("sd", "a1", 8, "zero"), ("addi", "a0", "a0", 1), ("addi", "a0", "a0", 2), *EXIT)
        state.registers[11] = encode("addi", 10, 10, imm=100) | encode("addi", 17, 0, imm=93) << 32
        assert run(state, budget) == 5
        assert (state.registers[10], state.status) == (101, HALTED)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(2000))
def test_many_random_programs(seed):
    rng = random.Random(seed)
    length = rng.choice((8, 64, 300))
    base = rng.choice((0, 0x1000, PAGE_BYTES - 64, WINDOW_BYTES - 64, MEMORY_BYTES - 4 * length))
    lockstep(random_state(rng, base=base, length=length), 400)


@settings(max_examples=60)
@given(st.integers(0, 1 << 32), bases, st.lists(st.integers(1, 50), min_size=1, max_size=12))
def test_any_division_of_a_run_gives_the_same_states(seed, base, parts):
    state = random_state(random.Random(seed), base=base)
    whole, taken = state.fork(), 0
    for part in parts:
        done = run(state, part)
        assert done == part or state.status != RUNNING
        taken += done
    assert run(whole, sum(parts)) == taken
    assert whole.hash() == state.hash()


@settings(max_examples=40)
@given(st.lists(st.integers(0, (1 << 32) - 1), min_size=1, max_size=40), st.integers(0, 1 << 32))
def test_pitfall_1_random_words(words, seed):
    state = random_state(random.Random(seed), length=1)
    state.memory.write(0x1000, b"".join(word.to_bytes(4, "little") for word in words))
    lockstep(state, 60)


@settings(max_examples=40)
@given(st.integers(0, 1 << 32))
def test_pitfall_9_programs_that_rewrite_themselves(seed):
    rng = random.Random(seed)
    state = random_state(rng, length=24)
    for position in range(0, 24, 3):  # many stores into the program, of words that are instructions
        offset = 4 * rng.randrange(24)
        state.memory.store(
            0x1000 + 4 * position, 4, encode("sw", rs1=CODE_REGISTER, rs2=rng.randrange(1, 30), imm=offset)
        )
    for register in range(1, 30):
        word = encode(
            rng.choice(["addi", "xori", "andi"]), rng.randrange(30), rng.randrange(30), imm=rng.randrange(2048)
        )
        state.registers[register] = word
    lockstep(state, 150)


def test_stepping_over_a_store_into_the_next_page_of_code():
    lines = [("sw", "a1", 0, "a2"), *[("addi", "a0", "a0", 1)] * 8]
    state = program(*lines, base=PAGE_BYTES - 4)
    state.registers[11:13] = [encode("addi", 10, 10, imm=50), PAGE_BYTES + 8]
    assert lockstep(state, 9).registers[10] == 7 + 50


def test_code_that_was_decoded_is_seen_by_later_stores_and_loads():
    """A function whose caller raises the immediate that it adds, call after call."""
    function = 512
    state = program(
        ("addi", "s0", "zero", 5),
        ("lui", "a2", 1 << 20),
        "again",
        ("jal", "ra", function - 8),
        ("lw", "a1", function, "zero"),
        ("addw", "a1", "a1", "a2"),
        ("sw", "a1", function, "zero"),
        ("addi", "s0", "s0", -1),
        ("bne", "s0", "zero", "again"),
        *EXIT,
    )
    state.memory.write(function, assemble(("addi", "a0", "a0", 1), ("jalr", "zero", 0, "ra")))
    assert lockstep(state, 200).registers[10] == 1 + 2 + 3 + 4 + 5
    assert state.status == HALTED


def test_a_store_into_code_of_another_window():
    other = 3 * WINDOW_BYTES
    state = program(
        ("jalr", "ra", 0, "a2"),
        ("sw", "a1", 0, "a2"),
        ("jalr", "ra", 0, "a2"),
        *EXIT,
    )
    state.memory.write(other, assemble(("addi", "a0", "a0", 1), ("jalr", "zero", 0, "ra")))
    state.registers[11:13] = [encode("addi", 10, 10, imm=40), other]
    assert lockstep(state, 100).registers[10] == 41


def test_running_from_the_end_of_one_window_into_the_next():
    state = program(*[("addi", "a0", "a0", 1)] * 8, *EXIT, base=5 * WINDOW_BYTES - 16)
    assert lockstep(state, 100).registers[10] == 8
    state = program("a", ("bne", "a0", "a1", 8), 0, ("jal", "zero", -8), base=WINDOW_BYTES - 4)
    state.registers[10] = 1
    lockstep(state, 50)


def test_more_windows_than_are_kept(monkeypatch):
    monkeypatch.setattr("vm.run._WINDOWS_KEPT", 2)
    memory = Memory()
    for i in range(5):
        # Each window adds one and jumps to the next; the last goes back to the first.
        target = (i + 1) % 5 * WINDOW_BYTES
        memory.write(i * WINDOW_BYTES, assemble(("addi", 10, 10, 1), ("lui", 5, target), ("jalr", 0, 0, 5)))
    assert lockstep(State(memory), 60).registers[10] == 20


def test_many_pages_and_colliding_tlb_entries():
    """Strides of high powers of two, as aligned tensors have them, over more pages than the tables start with."""
    for stride, count in ((12, 700), (21, 40), (30, 60), (33, 60)):
        state = program(
            "loop",
            ("sd", "s0", 8, "s1"),
            ("ld", "a1", 8, "s1"),
            ("add", "a0", "a0", "a1"),
            ("lb", "a2", 0, "s1"),
            ("add", "s1", "s1", "s2"),
            ("addi", "s0", "s0", -1),
            ("bne", "s0", "zero", "loop"),
            *EXIT,
        )
        state.registers[8], state.registers[9], state.registers[18] = count, 1 << 20, 1 << stride
        reference = state.fork()
        assert run(state, 10**6) == 7 * count + 2
        while reference.status == RUNNING:
            step(DirectAccess(reference))
        assert same(reference, state)
        assert reference.hash() == state.hash()
        assert state.registers[10] == count * (count + 1) // 2


def test_pitfall_14_reading_makes_no_pages():
    state = program(("ld", "a0", 0, "a1"), *EXIT)
    state.registers[11] = 1 << 35
    root = state.memory.root()
    run(state, 10)
    assert state.memory.page((1 << 35) // PAGE_BYTES) is None
    assert state.memory.root() == root


def test_a_read_page_that_is_written_later():
    state = program(("ld", "a0", 0, "a1"), ("sd", "a2", 0, "a1"), ("ld", "a3", 0, "a1"), *EXIT)
    state.registers[11:13] = [0x8000, 77]
    assert lockstep(state, 10).registers[13] == 77


def test_source_pages_are_read_in_place_and_never_written():
    source = Memory()
    source.write(0, assemble(("ld", "a0", 0, "a1"), ("sd", "a2", 8, "a1"), ("ld", "a3", 8, "a1"), *EXIT))
    source.write(0x8000, (5).to_bytes(8, "little"))
    root = source.root()
    state = State(Memory(source))
    state.registers[11:13] = [0x8000, 77]
    assert run(state, 100) == 5
    assert (state.registers[10], state.registers[13]) == (5, 77)
    assert source.root() == root
    assert state.memory.root() != root


def test_forks_taken_between_runs_are_not_written():
    state = program("loop", ("sd", "a0", 512, "zero"), ("addi", "a0", "a0", 1), ("jal", "zero", "loop"))
    run(state, 10)
    fork, before = state.fork(), state.hash()
    run(state, 1000)
    assert fork.hash() == before != state.hash()
    run(fork, 1000)
    assert fork.hash() == state.hash()


def test_hashes_taken_between_runs_do_not_go_stale():
    state = program("loop", ("sd", "a0", 512, "zero"), ("addi", "a0", "a0", 1), ("jal", "zero", "loop"))
    seen = set()
    for _ in range(20):
        run(state, 3)
        seen.add(state.memory.root())
    assert len(seen) == 20


@pytest.mark.parametrize("steps", [0, -1])
def test_no_steps(steps):
    state = program(("addi", "a0", "a0", 1))
    assert run(state, steps) == 0
    assert state.pc == 0


def test_the_step_that_stops_counts_and_is_the_last():
    state = program(*EXIT)
    assert run(state.fork(), 1) == 1
    assert run(state.fork(), 2) == 2
    assert run(state, MAX_STEPS * 4) == 2
    assert state.status == HALTED
    assert run(state, 5) == 0
    state = program(("addi", "a0", "a0", 1), 0)
    assert run(state, 100) == 2
    assert (state.status, state.pc) == (TRAPPED, 4)


def test_pitfall_17_a_loop_stops_at_the_limit_exactly():
    for steps in (1, 2, 3, 1000, 1 << 20, (1 << 20) + 1):
        state = program("loop", ("addi", "a0", "a0", 1), ("jal", "zero", "loop"))
        assert run(state, steps) == steps
        assert (state.registers[10], state.pc) == ((steps + 1) // 2, 4 * (steps % 2))


def test_pitfall_22_registers_are_full_64_bit_numbers():
    values = [0, *((1 << 64) - 1 - i for i in range(31))]
    state = State(program(("addi", "zero", "zero", 0)).memory, 0, list(values))
    run(state, 1)
    assert state.registers == values
    assert all(type(x) is int for x in state.registers)
    assert type(state.pc) is int


def test_pitfall_22_nothing_became_a_float():
    run(program(*EXIT), 10)
    hash_subtrees(np.zeros(PAGE_BYTES, np.uint8), 128)
    dispatchers = [
        f for module in (fast, predecode, keccak) for f in vars(module).values() if isinstance(f, Dispatcher)
    ]
    signatures = [str(signature) for f in dispatchers for signature in f.nopython_signatures]
    assert {"execute", "decode_page", "_hash_pairs"} <= {f.__name__ for f in dispatchers}
    assert signatures
    assert not [signature for signature in signatures if "float" in signature]


@pytest.mark.slow
@pytest.mark.parametrize("function", [fast.execute, fast.map_page, predecode.decode_page, keccak._hash_subtrees])
def test_pitfall_22_no_float_in_the_code(function):
    again = numba.njit(nogil=True, error_model="numpy")(function.py_func)
    again.compile((numba.int64,) * len(inspect.signature(function.py_func).parameters))
    (code,) = again.inspect_llvm().values()
    body = "\n".join(line for line in code.splitlines() if not line.startswith("declare"))
    assert re.search(r"\b(double|float|fptosi|sitofp)\b", body) is None


def test_runs_in_several_threads():
    """Machines of their own may run at the same time: the loop holds no lock and shares nothing but spare windows."""

    def counted(count: int) -> bytes:
        state = program("loop", ("addi", "a0", "a0", 1), ("sd", "a0", 512, "zero"), ("bne", "a0", "a1", "loop"), *EXIT)
        state.registers[11] = count
        while state.status == RUNNING:
            run(state, 5000)
        return state.hash()

    counts = [3000 + i for i in range(24)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(counted, counts)) == [counted(count) for count in counts]


def test_the_tlb_index_stays_in_the_tlb():
    rng = np.random.default_rng(3)
    for address in [0, -1, 1 << 39, MEMORY_BYTES - 1, *rng.integers(-(1 << 63), 1 << 63, 500).tolist()]:
        slot = fast._slot(address)
        assert slot % handlers.ENTRY_BYTES == 0
        assert 0 <= slot < handlers.ENTRY_BYTES << handlers.TLB_LOG2
