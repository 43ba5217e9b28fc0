"""MerkleMemory.sol and KSection.sol against vm/merkle.py and opml/dispute/rules.py."""

import random
from itertools import pairwise

import pytest
from contracts_evm import Reverted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opml.dispute import rules
from vm.errors import WitnessLengthError
from vm.keccak import keccak256
from vm.memory import Memory
from vm.merkle import DEPTH, ZERO, encode_path, fold, subtree_root
from vm.proof import encode_proof, read_proof

fuzz = settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.fixture
def call(evm, deploy):
    harness = deploy("LibraryHarness")
    return lambda name, *args: evm.call(harness, name, *args)


def refuses(call, reason: str, *args) -> None:
    with pytest.raises(Reverted) as error:
        call(*args)
    assert error.value.name == reason


def words(rng: random.Random, count: int) -> list[bytes]:
    return [rng.randbytes(32) for _ in range(count)]


def test_zero_subtrees(call):
    for level in range(DEPTH + 1):
        assert call("zero", level) == ZERO[level]


@fuzz
@given(
    level=st.integers(0, 35), height=st.integers(0, 35), index=st.integers(0), mask=st.integers(0), seed=st.integers(0)
)
def test_fold(call, level, height, index, mask, seed):
    top = min(level + height, DEPTH)
    index %= 1 << (DEPTH - level)
    rng = random.Random(seed)
    siblings = [rng.randbytes(32) if mask >> i & 1 else ZERO[level + i] for i in range(top - level)]
    node = rng.randbytes(32)
    expected = fold(node, level, index, siblings, top)
    path = encode_path(siblings, level)
    assert call("fold", node, level, index, top, path + b"rest") == (expected, b"rest")


def test_fold_names_the_side_of_each_level(call):
    """Each index bit counts: all 32 leaves of a five-level tree come to the same root, and no other index does."""
    leaves = words(random.Random(1), 32)
    root = subtree_root(b"".join(leaves), 5)
    for index in range(32):
        siblings = [
            subtree_root(b"".join(leaves[(index >> i ^ 1) << i : ((index >> i ^ 1) + 1) << i]), i) for i in range(5)
        ]
        path = encode_path(siblings, 0)
        assert call("fold", leaves[index], 0, index, 5, path) == (root, b"")
        assert call("fold", leaves[index], 0, index ^ 1 << index % 5, 5, path) != (root, b"")


def test_a_path_is_taken_off_to_its_end(call):
    siblings = [bytes([i]) * 32 if i % 3 else ZERO[i] for i in range(10)]
    path, expected = encode_path(siblings, 0), fold(bytes(32), 0, 5, siblings, 10)
    for rest in (b"", b"\0", b"rest", bytes(32)):
        assert call("fold", bytes(32), 0, 5, 10, path + rest) == (expected, rest)
    for forged in (b"", path[:4], path[:5], path[:-1], path[:-32]):
        refuses(call, "MalformedPath", "fold", bytes(32), 0, 5, 10, forged)


@pytest.mark.parametrize("height", [0, 1, 34, 35])
def test_mask_bits_beyond_the_height_are_refused(call, height):
    full = ((1 << height) - 1).to_bytes(5, "big") + bytes(32 * height)
    assert call("fold", bytes(32), 0, 0, height, full)[1] == b""
    for bit in range(height, 40):
        mask = (1 << bit).to_bytes(5, "big")
        refuses(call, "MalformedPath", "fold", bytes(32), 0, 0, height, mask + bytes(32))


@fuzz
@given(indices=st.tuples(*[st.integers(0, (1 << 35) - 1)] * 2), near=st.integers(0, 35), seed=st.integers(0))
def test_one_proof_for_two_leaves(call, indices, near, seed):
    """Two leaves anywhere, or near each other, or one and the same; one of them, or none, changed."""
    rng = random.Random(seed)
    one, other = indices[0], indices[0] ^ indices[1] >> near
    memory = Memory()
    for index in {one, other, one ^ 1, other ^ 2, rng.getrandbits(35)}:
        memory.write(index << 5, rng.randbytes(32))
    for changed in (memory.leaf(other), rng.randbytes(32)):
        after = memory.fork()
        after.write(other << 5, changed)
        leaves = [one] if one == other else [one, other]
        proof = encode_proof(leaves, lambda index: memory.siblings(0, index))
        first, second = (one, memory.leaf(one), memory.leaf(one)), (other, memory.leaf(other), changed)
        assert call("roots", first, second, proof + b"more") == (memory.root(), after.root(), b"more")
        read, end = read_proof(proof + b"more", 0, leaves)
        assert (read.root([memory.leaf(i) for i in leaves]), end) == (memory.root(), len(proof))
        assert read.root([after.leaf(i) for i in leaves]) == after.root()
        for cut in {*range(0, len(proof), 32), len(proof) - 1}:
            refuses(call, "MalformedPath", "roots", first, second, proof[:cut])
            with pytest.raises(WitnessLengthError):
                read_proof(proof[:cut], 0, leaves)


@pytest.mark.parametrize("size", [0, 1, 31, 32, 33, 64, 65, 96, 160, 511, 512])
def test_subtree_root(call, size):
    data = random.Random(size).randbytes(size)
    least = max(0, (max(1, -(-size // 32)) - 1).bit_length())
    for level in {least, least + 1, 7, 34}:
        if level >= least:
            assert call("subtreeRoot", data, level) == subtree_root(data, level)


def test_subtree_root_refuses_what_does_not_fit(call):
    refuses(call, "MalformedPath", "subtreeRoot", bytes(33), 0)
    refuses(call, "MalformedPath", "subtreeRoot", bytes(32 * 4 + 1), 2)


@pytest.mark.parametrize("k", [2, 3, 16, 50, 64])
def test_boundaries(call, k):
    for length in (2, 3, 5, k, k + 1, 7 * k + 3, (1 << 64) - 1):
        p = rules.parts(length, k)
        found = call("boundaries", length, k)
        assert list(found) == [rules.boundary(length, p, i) for i in range(p + 1)]
        assert (found[0], found[-1]) == (0, length)
        parts = [b - a for a, b in pairwise(found)]
        assert min(parts) >= 1
        assert max(parts) - min(parts) <= 1


WRONG_LENGTH = keccak256(b"WrongLength()")[:4].ljust(32, b"\0")
LO, HI = b"l" * 32, b"h" * 32


def open_each(call, p: int, cases: list[tuple[int, list[bytes]]]) -> list[tuple[bytes, bytes, bytes]]:
    """The root, lo and hi that the contract finds for each segment with its opening; WRONG_LENGTH for no root."""
    found = []
    for i in range(0, len(cases), 128):
        some = cases[i : i + 128]
        found += call("endsOfEach", p, LO, HI, [j for j, _ in some], [words for _, words in some])
    assert len(found) == len(cases)
    return [tuple(words) for words in found]


@pytest.mark.parametrize("p", range(2, 65))
def test_every_segment_is_opened_by_one_proof_of_its_pair(call, p):
    """Also against the Python twin; a word more or less is refused."""
    states = words(random.Random(p), p - 1)
    root = call("commit", states, p, 64)
    assert root == rules.commit(states, p, 64)
    all_states = [LO, *states, HI]
    openings = [list(rules.opening(states, j)) for j in range(p)]
    for j, words_ in enumerate(openings):
        assert len(words_) <= 2 * rules.depth(p - 1) or p <= 3
        assert rules.ends(LO, HI, p, j, words_) == (*all_states[j : j + 2], root)
    found = open_each(call, p, list(enumerate(openings)))
    assert found == [(root, *all_states[j : j + 2]) for j in range(p)]
    longer = [(j, [*words_, bytes(32)]) for j, words_ in enumerate(openings)]
    shorter = [(j, words_[:-1]) for j, words_ in enumerate(openings)]
    assert {root for root, _, _ in open_each(call, p, longer + shorter)} == {WRONG_LENGTH}


@pytest.mark.parametrize("p", [2, 3, 4, 5, 8, 9, 13, *(pytest.param(p, marks=pytest.mark.slow) for p in (32, 40, 64))])
def test_no_other_opening_leads_to_the_post(call, p):
    """Every word altered, the two states swapped, the opening of another segment."""
    states = words(random.Random(p), p - 1)
    root = rules.commit(states, p, 64)
    openings = [list(rules.opening(states, j)) for j in range(p)]
    forged = []
    for j, opening in enumerate(openings):
        for i, word in enumerate(opening):
            forged.append((j, [*opening[:i], bytes([word[0] ^ 1]) + word[1:], *opening[i + 1 :]]))
        if 0 < j < p - 1:
            forged.append((j, [opening[1], opening[0], *opening[2:]]))
        forged += [(j, other) for other in openings if other != opening]  # of one or two states there is only one
    assert root not in {found for found, _, _ in open_each(call, p, forged)}


def test_what_is_kept_of_a_post_has_no_second_reading():
    """A state in the place of a hash, or the other way round, is another root: the depth follows from p."""
    states = words(random.Random(1), 4)
    root = rules.commit(states, 5, 64)
    inner = [keccak256(states[0] + states[1]), keccak256(states[2] + states[3])]
    assert rules.commit(inner, 3, 64) == root  # the same words ...
    assert len(rules.opening(states, 2)) != len(rules.opening(inner, 1))  # ... but the length tells p


def test_a_post_has_one_state_for_each_inner_boundary(call):
    states = words(random.Random(5), 20)
    assert call("commit", [], 1, 16) == bytes(32)
    for length, k in ((1, 16), (2, 2), (5, 16), (16, 16), (17, 16), (1 << 40, 16)):
        right = min(length, k) - 1
        call("commit", states[:right], length, k)
        refuses(call, "WrongLength", "commit", states[: right + 1], length, k)
        if right:
            refuses(call, "WrongLength", "commit", states[: right - 1], length, k)
