"""Every way to forge a step witness: each byte, each length, each proof in another's place."""

import random

import pytest
from contracts_evm import Reverted
from contracts_machine import DATA, machine

from vm.constants import HALTED, RUNNING, STATE_BYTES, TRAPPED
from vm.errors import WitnessError
from vm.isa import encode
from vm.merkle import ZERO
from vm.state import State
from vm.step import DirectAccess, prove_step, replay, step


def refused(evm, verifier, witness: bytes) -> None:
    with pytest.raises(WitnessError):
        replay(witness)
    with pytest.raises(Reverted) as error:
        evm.call(verifier, "step", witness)
    assert error.value.name in ("MalformedWitness", "MalformedPath")


def store_state() -> State:
    return machine(encode("sd", rs1=6, rs2=7, imm=8), registers={6: DATA, 7: 5})


def load_state() -> State:
    return machine(encode("ld", rd=5, rs1=6, imm=8), registers={6: DATA})


def parts_of(witness: bytes) -> tuple[bytes, bytes, bytes]:
    """State, fetch part and data part."""
    mask = int.from_bytes(witness[STATE_BYTES + 32 : STATE_BYTES + 37], "big")
    cut = STATE_BYTES + 37 + 32 * mask.bit_count()
    return witness[:STATE_BYTES], witness[STATE_BYTES:cut], witness[cut:]


@pytest.mark.parametrize("state", [store_state(), load_state()], ids=["store", "load"])
def test_proofs_cannot_be_changed(evm, verifier, state):
    witness = prove_step(state)
    rng = random.Random(4)
    _, fetch, _ = parts_of(witness)
    starts = (STATE_BYTES, STATE_BYTES + len(fetch))
    places = {start + offset for start in starts for offset in (0, 31, 32, 33, 34, 35, 36, 37, 68, 69)}
    places |= {len(witness) - 1, STATE_BYTES + len(fetch) - 1}
    places |= {rng.randrange(STATE_BYTES, len(witness)) for _ in range(20)}
    for place in sorted(place for place in places if place < len(witness)):
        forged = bytearray(witness)
        forged[place] ^= 1 << rng.randrange(8)
        refused(evm, verifier, bytes(forged))


@pytest.mark.parametrize("state", [store_state(), load_state()], ids=["store", "load"])
def test_state_bytes_are_what_is_hashed(evm, verifier, state):
    """A changed register is another state, whose hash a game refuses; a changed root, pc or status proves nothing."""
    witness = prove_step(state)
    changed = bytearray(witness)
    changed[32 + 8 * 20] ^= 1
    pre, _ = evm.call(verifier, "step", bytes(changed))
    assert pre == replay(bytes(changed))[0] != state.hash()
    for place in (0, 31, STATE_BYTES - 2, STATE_BYTES - 1):  # root, root, pc, status
        changed = bytearray(witness)
        changed[place] ^= 1
        refused(evm, verifier, bytes(changed))


def test_lengths_are_exact(evm, verifier):
    witness = prove_step(store_state())
    state, fetch, data = parts_of(witness)
    for forged in (
        *(b"", witness[:1], state[:-1], state, state + fetch, state + data, state + fetch + fetch),
        *(state + data + fetch, witness + b"\0", witness + bytes(32), witness + data, witness[:-1], witness[:-32]),
        *(state + fetch[:-1], state + fetch[:31], state + fetch[:36]),
        *(state + fetch + data[:31], state + fetch + data[:36]),
        b"\0" + witness,
    ):
        refused(evm, verifier, forged)


def test_no_proof_where_none_is_called_for(evm, verifier):
    state, fetch, data = parts_of(prove_step(store_state()))
    for changed in (
        state[:-1] + bytes([HALTED]),
        state[:-1] + bytes([TRAPPED]),
        state[:-2] + bytes([state[-2] | 2, RUNNING]),  # a misaligned pc
    ):
        refused(evm, verifier, changed + fetch + data)
        refused(evm, verifier, changed + fetch)
        assert evm.call(verifier, "step", changed) == replay(changed)
    trapping = machine(encode("sd", rs1=6, rs2=7, imm=1), registers={6: DATA})
    witness = prove_step(trapping)
    refused(evm, verifier, witness + data)


@pytest.mark.parametrize("status", [3, 4, 0x80, 0xFF])
def test_unknown_status(evm, verifier, status):
    witness = prove_step(store_state())
    refused(evm, verifier, witness[: STATE_BYTES - 1] + bytes([status]) + witness[STATE_BYTES:])
    refused(evm, verifier, witness[: STATE_BYTES - 1] + bytes([status]))


def test_masks_stay_below_the_height(evm, verifier):
    witness = prove_step(load_state())
    for bit in (35, 36, 39):
        forged = bytearray(witness)
        forged[STATE_BYTES + 32 + 4 - bit // 8] |= 1 << bit % 8
        refused(evm, verifier, bytes(forged))
        refused(evm, verifier, bytes(forged) + bytes(32))


def test_a_proof_of_another_address_is_refused(evm, verifier):
    here, there = load_state(), machine(encode("ld", rd=5, rs1=6, imm=8), registers={6: DATA - 64})
    assert here.memory.root() == there.memory.root()
    state, fetch, _ = parts_of(prove_step(here))
    refused(evm, verifier, state + fetch + parts_of(prove_step(there))[2])


def test_a_proof_of_another_time_is_refused(evm, verifier):
    before = store_state()
    after = before.fork()
    step(DirectAccess(after))
    after.pc = before.pc
    new, old = parts_of(prove_step(after)), parts_of(prove_step(before))
    refused(evm, verifier, new[0] + new[1] + old[2])
    refused(evm, verifier, new[0] + old[1] + new[2])


def test_a_sibling_may_be_written_out_though_it_is_zero(evm, verifier):
    """Two proofs of one leaf, one result: the state after does not depend on how it was proven."""
    state, fetch, data = parts_of(prove_step(store_state()))
    mask = int.from_bytes(data[32:37], "big")
    level = next(i for i in range(35) if not mask >> i & 1)
    at = 37 + 32 * (mask & ((1 << level) - 1)).bit_count()
    longer = data[:32] + (mask | 1 << level).to_bytes(5, "big") + data[37:at] + ZERO[level] + data[at:]
    witness = state + fetch + longer
    assert evm.call(verifier, "step", witness) == replay(witness) == replay(state + fetch + data)
