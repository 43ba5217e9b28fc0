"""The state's encoding: one encoding for each state, one state for each encoding."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm.constants import HALTED, RUNNING, STATE_BYTES, TRAPPED
from vm.errors import VmError, WitnessLengthError, WitnessStatusError
from vm.keccak import keccak256
from vm.memory import Memory
from vm.run import run
from vm.state import State, StateHeader, decode_state, entry_state

u64 = st.integers(0, (1 << 64) - 1)
headers = st.builds(
    StateHeader,
    root=st.binary(min_size=32, max_size=32),
    registers=st.lists(u64, min_size=31, max_size=31).map(lambda xs: [0, *xs]),
    pc=u64,
    status=st.sampled_from((RUNNING, HALTED, TRAPPED)),
)


@given(headers)
def test_states_come_back(header):
    data = header.encode()
    assert len(data) == STATE_BYTES
    assert decode_state(data) == header
    assert header.hash() == keccak256(data)


@given(st.binary(min_size=STATE_BYTES - 1, max_size=STATE_BYTES - 1), st.integers(0, 255))
def test_pitfall_15_every_encoding_is_one_state(data, status):
    data += bytes([status])
    if status <= TRAPPED:
        assert decode_state(data).encode() == data
    else:
        with pytest.raises(WitnessStatusError):
            decode_state(data)


@pytest.mark.parametrize("size", [0, 1, STATE_BYTES - 1, STATE_BYTES + 1, 2 * STATE_BYTES])
def test_other_lengths_are_refused(size):
    with pytest.raises(WitnessLengthError):
        decode_state(bytes(size))


def test_the_layout_of_the_encoding():
    state = State(Memory(), 0x0102030405060708, [0, *range(0x100, 0x11F)], TRAPPED)
    data = state.encode()
    assert data[:32] == state.memory.root()
    assert data[32:40] == (0x100).to_bytes(8, "big")  # x1
    assert data[32 + 9 * 8 : 32 + 10 * 8] == (0x109).to_bytes(8, "big")  # a0
    assert data[-9:-1] == bytes(range(1, 9))
    assert data[-1] == TRAPPED


def test_every_part_of_a_state_is_in_its_hash():
    state = State(Memory(), 4, list(range(32)))
    state.registers[0] = 0
    hashes = {state.hash()}
    for i in range(1, 32):
        other = state.fork()
        other.registers[i] ^= 1 << (i + 20)
        hashes.add(other.hash())
    for change in ("pc", "status", "memory"):
        other = state.fork()
        if change == "memory":
            other.memory.write(1 << 39, b"\1")
        else:
            setattr(other, change, 2)
        hashes.add(other.hash())
    assert len(hashes) == 35


def test_the_entry_state():
    state = entry_state(Memory(), 64, 7, 1)
    assert state.pc == 64
    assert state.status == RUNNING
    assert {i: x for i, x in enumerate(state.registers) if x} == {10: 7, 11: 1}


@pytest.mark.parametrize("numbers", [(-1, 0, 0), (0, 1 << 64, 0), (0, 0, -1)])
def test_entry_numbers_that_are_not_64_bit_are_refused(numbers):
    with pytest.raises(VmError):
        entry_state(Memory(), *numbers)


def test_a_wild_entry_is_a_state_that_traps():
    state = entry_state(Memory(), (1 << 64) - 1, 0, 0)
    assert run(state, 10) == 1
    assert state.status == TRAPPED


def test_forks_are_independent():
    state = entry_state(Memory(), 0, 1, 2)
    fork = state.fork()
    fork.registers[10] = 99
    fork.memory.write(0, b"x")
    fork.pc = 8
    assert state.hash() == entry_state(Memory(), 0, 1, 2).hash()
