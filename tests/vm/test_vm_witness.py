"""Step witnesses: what is in them, and that anything else is refused."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vm_asm import program
from vm_programs import random_state

from vm.constants import DEPTH, LEAF_BYTES, RUNNING, SCRATCH_BASE, STATE_BYTES
from vm.errors import WitnessError, WitnessLengthError, WitnessMaskError, WitnessProofError, WitnessStatusError
from vm.memory import Memory
from vm.merkle import MASK_BYTES, ZERO, encode_path
from vm.state import State
from vm.step import DirectAccess, prove_step, replay, step

DATA_ADDRESS = SCRATCH_BASE + 0x1238


def busy(line) -> State:
    """A state before one instruction on data far from the code, in a memory with many non-zero siblings."""
    state = program(line, ("addi", "a0", "a0", 1))
    rng = random.Random(5)
    for i in range(12):
        state.memory.write(1 << (6 + 3 * i), rng.randbytes(40))
        state.memory.write(SCRATCH_BASE + (1 << (6 + 2 * i)), rng.randbytes(8))
    state.memory.store(DATA_ADDRESS, 8, 0x1122334455667788)
    state.registers[10:12] = [0xAABBCCDDEEFF0011, DATA_ADDRESS]
    return state


STATES = {
    "alu": busy(("add", "a0", "a0", "a1")),
    "load": busy(("ld", "a2", 0, "a1")),
    "store": busy(("sd", "a0", 0, "a1")),
    "same leaf": busy(("sw", "a0", 16, "zero")),
    "same leaf load": busy(("lw", "a0", 0, "zero")),
    "next leaf": busy(("sd", "a0", 40, "zero")),
    "misaligned": busy(("sd", "a0", 1, "a1")),
    "unknown": busy(0),
    "halted": State(busy(("add", "a0", "a0", "a1")).memory, 0, [0] * 32, 1),
    "pc outside": State(busy(("add", "a0", "a0", "a1")).memory, 1 << 40),
}


def meeting_level(one: int, other: int) -> int:
    return next(level for level in range(DEPTH + 1) if one >> level == other >> level)


def parts(state: State, *addresses: int) -> bytes:
    """A witness put together by hand."""
    indices = [address >> 5 for address in addresses]
    witness = state.encode() + b"".join(state.memory.leaf(index) for index in indices)
    paths = [state.memory.siblings(0, index) for index in indices]
    if len(paths) == 1:
        witness += encode_path(paths[0], 0)
    if len(paths) == 2:
        level = meeting_level(*indices)
        witness += b"".join(encode_path(path[: level - 1], 0) for path in paths)
        witness += encode_path(paths[0][level:], level)
    return witness


@pytest.mark.parametrize(
    ("name", "addresses"),
    [
        ("alu", [0]),
        ("load", [0, DATA_ADDRESS]),
        ("store", [0, DATA_ADDRESS]),
        ("same leaf", [0]),
        ("same leaf load", [0]),
        ("next leaf", [0, 40]),
        ("misaligned", [0]),
        ("unknown", [0]),
        ("halted", []),
        ("pc outside", []),
    ],
)
def test_a_witness_has_exactly_the_parts_that_the_step_touches(name, addresses):
    assert prove_step(STATES[name]) == parts(STATES[name], *addresses)


@pytest.mark.parametrize("name", STATES)
def test_a_witness_replays_the_step_and_the_state_is_unchanged(name):
    state = STATES[name].fork()
    before = state.hash()
    witness = prove_step(state)
    assert state.hash() == before
    step(DirectAccess(state))
    assert replay(witness) == (before, state.hash())


@settings(max_examples=60)
@given(st.integers(0, 1 << 32))
def test_witnesses_of_random_programs(seed):
    state = random_state(random.Random(seed), length=16)
    for _ in range(12):
        before, witness = state.hash(), prove_step(state)
        step(DirectAccess(state))
        assert replay(witness) == (before, state.hash())
        if state.status != RUNNING:
            break


@pytest.mark.parametrize("name", STATES)
def test_every_flipped_bit_is_refused_or_another_state(name):
    witness = prove_step(STATES[name])
    before, _ = replay(witness)
    rng = random.Random(name)
    positions = {*range(STATE_BYTES - 9, STATE_BYTES), *rng.sample(range(len(witness)), min(len(witness), 250))}
    for position in positions:
        forged = bytearray(witness)
        forged[position] ^= 1 << rng.randrange(8)
        try:
            pre, _ = replay(bytes(forged))
        except WitnessError:
            continue
        # Accepted: then it speaks of another pre-state, which the contract compares with the agreed one.
        assert pre != before
        assert position < STATE_BYTES


@pytest.mark.parametrize("name", STATES)
def test_every_truncation_and_extension_is_refused(name):
    witness = prove_step(STATES[name])
    for size in range(len(witness)):
        with pytest.raises(WitnessError):
            replay(witness[:size])
    for more in (
        b"\0",
        b"\1",
        bytes(5),
        bytes(37),
        bytes(LEAF_BYTES + MASK_BYTES),
        witness[STATE_BYTES:] or b"x",
        witness,
    ):
        with pytest.raises(WitnessLengthError):
            replay(witness + more)


def test_pitfall_11_a_witness_without_its_data_leaf_is_refused():
    for name in ("load", "store"):
        with pytest.raises(WitnessError):
            replay(parts(STATES[name], 0))


@pytest.mark.parametrize("name", ["load", "store"])
def test_pitfall_11_swapped_and_reused_proofs_are_refused(name):
    state = STATES[name]
    for addresses in ((DATA_ADDRESS, 0), (0, 0), (DATA_ADDRESS, DATA_ADDRESS), (32, DATA_ADDRESS)):
        with pytest.raises(WitnessError):
            replay(parts(state, *addresses))
    with pytest.raises(WitnessProofError):
        replay(parts(state, 0, DATA_ADDRESS ^ 32))
    right = parts(state, 0, DATA_ADDRESS)
    code, data, proof = (right[STATE_BYTES:][part] for part in (slice(32), slice(32, 64), slice(64, None)))
    for forged in (code + code + proof, data + data + proof, data + code + proof, code + bytes(32) + proof):
        with pytest.raises(WitnessError):
            replay(right[:STATE_BYTES] + forged)


@pytest.mark.parametrize("name", ["same leaf", "same leaf load"])
def test_pitfall_11_one_leaf_cannot_be_given_twice(name):
    """The instruction's own leaf is there once, so it cannot have two contents."""
    witness = prove_step(STATES[name])
    leaf = witness[STATE_BYTES : STATE_BYTES + LEAF_BYTES]
    for second in (leaf, bytes(LEAF_BYTES)):
        with pytest.raises(WitnessError):
            replay(witness[:STATE_BYTES] + leaf + second + witness[STATE_BYTES + LEAF_BYTES :])


@pytest.mark.parametrize("name", ["alu", "misaligned", "unknown", "halted", "pc outside"])
def test_pitfall_12_parts_that_the_step_does_not_need_are_refused(name):
    state = STATES[name]
    needed = (len(prove_step(state)) > STATE_BYTES) * [0]
    with pytest.raises(WitnessError):
        replay(parts(state, *needed, DATA_ADDRESS))
    with pytest.raises(WitnessLengthError):
        replay(prove_step(state) + parts(state, DATA_ADDRESS)[STATE_BYTES:])


def test_pitfall_9_a_store_into_the_fetched_leaf_is_proven_against_the_root_before():
    state = STATES["same leaf"].fork()
    witness = prove_step(state)
    step(DirectAccess(state))
    stale = witness[:STATE_BYTES] + parts(state, 0)[STATE_BYTES:]
    with pytest.raises(WitnessProofError):
        replay(stale)


@pytest.mark.parametrize("status", [3, 4, 128, 255])
def test_pitfall_16_statuses_that_do_not_exist_are_refused(status):
    witness = bytearray(prove_step(STATES["alu"]))
    witness[STATE_BYTES - 1] = status
    with pytest.raises(WitnessStatusError):
        replay(bytes(witness))


def flip_mask_bit(witness: bytes, offset: int, bit: int) -> bytes:
    mask = int.from_bytes(witness[offset : offset + MASK_BYTES], "big") ^ 1 << bit
    return witness[:offset] + mask.to_bytes(MASK_BYTES, "big") + witness[offset + MASK_BYTES :]


@pytest.mark.parametrize("name", ["alu", "store", "next leaf"])
def test_mask_bits_at_or_above_the_height_are_refused(name):
    witness = prove_step(STATES[name])
    if name == "alu":
        offset, heights = STATE_BYTES + LEAF_BYTES, [DEPTH]
    else:
        level = meeting_level(0, DATA_ADDRESS >> 5 if name == "store" else 1)
        offset, heights = STATE_BYTES + 2 * LEAF_BYTES, [level - 1, level - 1, DEPTH - level]
    for height in heights:
        for bit in range(height, 8 * MASK_BYTES):
            forged = flip_mask_bit(witness, offset, bit)
            for more in (b"", bytes(32)):
                with pytest.raises(WitnessMaskError):
                    replay(forged + more)
        offset += MASK_BYTES + 32 * int.from_bytes(witness[offset : offset + MASK_BYTES], "big").bit_count()
    assert offset == len(witness)


def test_a_sibling_left_out_by_its_mask_bit_is_refused():
    witness = prove_step(STATES["alu"])
    offset = STATE_BYTES + LEAF_BYTES
    mask = int.from_bytes(witness[offset : offset + MASK_BYTES], "big")
    lowest = mask & -mask
    body = witness[offset + MASK_BYTES :]
    for forged in (body, body[32:]):
        with pytest.raises(WitnessError):
            replay(witness[:offset] + (mask ^ lowest).to_bytes(MASK_BYTES, "big") + forged)


def test_spelling_out_a_zero_sibling_proves_the_same_states():
    """A path may be longer than needed, but can say nothing else: both hashes are the same."""
    state = STATES["alu"]
    siblings = state.memory.siblings(0, 0)
    mask = (1 << DEPTH) - 1
    assert ZERO[1] in siblings or any(s == ZERO[i] for i, s in enumerate(siblings))
    long = state.encode() + state.memory.leaf(0) + mask.to_bytes(MASK_BYTES, "big") + b"".join(siblings)
    assert replay(long) == replay(prove_step(state))


def test_pitfall_13_an_inner_node_is_no_leaf():
    """A path one level shorter, from a node's two halves, does not prove a leaf."""
    state = STATES["alu"]
    node, siblings = state.memory.node(1, 0), state.memory.siblings(1, 0)
    assert len(siblings) == DEPTH - 1
    forged = state.encode() + node + encode_path([*siblings, ZERO[DEPTH - 1]], 0)
    with pytest.raises(WitnessProofError):
        replay(forged)


def test_pitfall_1_no_guest_state_makes_replay_fail():
    """Whatever word and registers: an honest witness always replays."""
    rng = random.Random(8)
    memory = Memory()
    memory.write(0, rng.randbytes(4096))
    for _ in range(400):
        state = State(
            memory, 4 * rng.randrange(1024), [0] + [rng.getrandbits(rng.choice((12, 40, 64))) for _ in range(31)]
        )
        before, witness = state.hash(), prove_step(state)
        after = state.fork()
        step(DirectAccess(after))
        assert replay(witness) == (before, after.hash())


def test_the_longest_witness():
    """Two full paths that meet at the root: what the contract's calldata must be able to hold."""
    state = busy(("sd", "a0", 0, "a1"))
    for address in (0, DATA_ADDRESS):
        for level in range(DEPTH):
            sibling = ((address >> (level + 5)) ^ 1) << (level + 5)
            state.memory.write(sibling + 31, b"\1")
    witness = prove_step(state)
    assert len(witness) == STATE_BYTES + 2 * LEAF_BYTES + 3 * MASK_BYTES + 2 * 32 * (DEPTH - 1)
    before = state.hash()
    step(DirectAccess(state))
    assert state.status == RUNNING
    assert replay(witness) == (before, state.hash())
