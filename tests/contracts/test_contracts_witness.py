"""Every way to forge a step witness (I6): each byte, each length, each proof in another's place."""

import random
from itertools import combinations, pairwise
from typing import NamedTuple

import pytest
from contracts_evm import Reverted
from contracts_machine import DATA, PC, machine

from vm.constants import HALTED, RUNNING, STATE_BYTES, TRAPPED
from vm.errors import WitnessError
from vm.isa import encode
from vm.merkle import ZERO, encode_path
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


class Parts(NamedTuple):
    """The parts of the witness of a load or store of another leaf than its own."""

    state: bytes
    code: bytes  # leaf
    data: bytes  # leaf
    below: bytes  # path of the code to where the two meet
    beside: bytes  # path of the data to there
    above: bytes  # path from there


def parts_of(witness: bytes) -> Parts:
    cuts = [0, STATE_BYTES, STATE_BYTES + 32, STATE_BYTES + 64]
    for _ in range(3):
        mask = int.from_bytes(witness[cuts[-1] : cuts[-1] + 5], "big")
        cuts.append(cuts[-1] + 5 + 32 * mask.bit_count())
    assert cuts[-1] == len(witness)
    return Parts(*(witness[a:b] for a, b in pairwise(cuts)))


@pytest.mark.parametrize("state", [store_state(), load_state()], ids=["store", "load"])
def test_proofs_cannot_be_changed(evm, verifier, state):
    witness = prove_step(state)
    rng = random.Random(4)
    places, start = set(), 0
    for part in parts_of(witness):
        inner = {0, len(part) - 1, *range(min(5, len(part)))} | {rng.randrange(len(part)) for _ in range(8)}
        places |= {start + place for place in inner}
        start += len(part)
    for place in sorted(place for place in places if place >= STATE_BYTES):
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
    state, code, data, below, beside, above = parts_of(witness)
    for forged in (
        *(b"", witness[:1], state[:-1], state, state + code, state + code + data, state + code + data + below),
        *(state + code + data + below + beside, state + code + data + beside + above, state + code + below + above),
        *(witness + b"\0", witness + bytes(5), witness + bytes(32), witness + above, witness[:-1], witness[:-32]),
        *(
            state + code[:-1],
            state + code + data[:-1],
            state + code + data + below[:4],
            state + code + data + below[:-1],
        ),
        *(witness + witness, b"\0" + witness),
    ):
        refused(evm, verifier, forged)


def test_parts_have_their_places(evm, verifier):
    witness = prove_step(store_state())
    parts = parts_of(witness)
    for one, other in combinations(range(1, 6), 2):
        swapped = list(parts)
        swapped[one], swapped[other] = swapped[other], swapped[one]
        refused(evm, verifier, b"".join(swapped))
        swapped[one] = swapped[other]
        refused(evm, verifier, b"".join(swapped))


def test_no_proof_where_none_is_called_for(evm, verifier):
    state, *proof = parts_of(prove_step(store_state()))
    for changed in (
        state[:-1] + bytes([HALTED]),
        state[:-1] + bytes([TRAPPED]),
        state[:-2] + bytes([state[-2] | 2, RUNNING]),  # a misaligned pc
    ):
        refused(evm, verifier, changed + b"".join(proof))
        refused(evm, verifier, changed + proof[0])
        assert evm.call(verifier, "step", changed) == replay(changed)
    trapping = machine(encode("sd", rs1=6, rs2=7, imm=1), registers={6: DATA})
    refused(evm, verifier, trapping.encode() + b"".join(proof))


@pytest.mark.parametrize("name", ["ld", "sd"])
def test_one_leaf_has_one_place(evm, verifier, name):
    """An access to the instruction's own leaf brings no second one, and no other access goes without."""
    word = encode("ld", rd=5, rs1=6, imm=8) if name == "ld" else encode("sd", rs1=6, rs2=7, imm=8)
    own = machine(word, registers={6: PC, 7: 5})
    witness, leaf = prove_step(own), own.memory.leaf(PC >> 5)
    assert witness[STATE_BYTES : STATE_BYTES + 32] == leaf
    refused(evm, verifier, witness[:STATE_BYTES] + leaf + witness[STATE_BYTES:])
    other = machine(word, registers={6: DATA, 7: 5})
    path = encode_path(other.memory.siblings(0, PC >> 5), 0)
    refused(evm, verifier, other.encode() + other.memory.leaf(PC >> 5) + path)


@pytest.mark.parametrize("status", [3, 4, 0x80, 0xFF])
def test_unknown_status(evm, verifier, status):
    witness = prove_step(store_state())
    refused(evm, verifier, witness[: STATE_BYTES - 1] + bytes([status]) + witness[STATE_BYTES:])
    refused(evm, verifier, witness[: STATE_BYTES - 1] + bytes([status]))


def test_masks_stay_below_the_height(evm, verifier):
    witness = prove_step(load_state())
    level = ((PC ^ DATA) >> 5).bit_length()
    parts = parts_of(witness)
    start = STATE_BYTES + 64
    for path, height in ((parts.below, level - 1), (parts.beside, level - 1), (parts.above, 35 - level)):
        for bit in (height, height + 1, 39):
            forged = bytearray(witness)
            forged[start + 4 - bit // 8] |= 1 << bit % 8
            refused(evm, verifier, bytes(forged))
            refused(evm, verifier, bytes(forged) + bytes(32))
        start += len(path)


def test_a_proof_of_another_address_is_refused(evm, verifier):
    here, there = load_state(), machine(encode("ld", rd=5, rs1=6, imm=8), registers={6: DATA - 64})
    assert here.memory.root() == there.memory.root()
    right, wrong = parts_of(prove_step(here)), parts_of(prove_step(there))
    for changed in ({"data": wrong.data}, {"beside": wrong.beside}, {"data": wrong.data, "beside": wrong.beside}):
        refused(evm, verifier, b"".join(right._replace(**changed)))


def test_a_proof_of_another_time_is_refused(evm, verifier):
    before = store_state()
    after = before.fork()
    step(DirectAccess(after))
    after.pc = before.pc
    new, old = parts_of(prove_step(after)), parts_of(prove_step(before))
    refused(evm, verifier, b"".join(new._replace(data=old.data)))
    refused(evm, verifier, b"".join(old._replace(data=new.data)))
    refused(evm, verifier, b"".join(old._replace(state=new.state)))


def test_a_sibling_may_be_written_out_though_it_is_zero(evm, verifier):
    """Two proofs of one leaf, one result: the state after does not depend on how it was proven."""
    parts = parts_of(prove_step(store_state()))
    path = parts.beside
    mask = int.from_bytes(path[:5], "big")
    level = next(i for i in range(35) if not mask >> i & 1)
    at = 5 + 32 * (mask & ((1 << level) - 1)).bit_count()
    longer = (mask | 1 << level).to_bytes(5, "big") + path[5:at] + ZERO[level] + path[at:]
    witness = b"".join(parts._replace(beside=longer))
    assert evm.call(verifier, "step", witness) == replay(witness) == replay(b"".join(parts))
