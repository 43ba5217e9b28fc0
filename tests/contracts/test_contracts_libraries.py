"""MerkleMemory.sol and KSection.sol against vm/merkle.py and opml/dispute/rules.py."""

import random
from itertools import pairwise

import pytest
from contracts_evm import Reverted
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from opml.dispute import rules
from vm.errors import WitnessLengthError
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


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 9, 15, 31, 63])
def test_posts_are_committed_and_opened(call, count):
    states = words(random.Random(count), count)
    root = call("commit", states, count + 1, 64)
    assert root == rules.commit(states, count + 1, 64)
    lo, hi = b"l" * 32, b"h" * 32
    all_states = [lo, *states, hi]
    for j in {0, 1, count // 2, count - 1, count}:
        opening = list(rules.opening(states, j))
        assert call("ends", root, lo, hi, count + 1, j, opening) == (all_states[j], all_states[j + 1])
        for i in range(len(opening)):
            forged = [bytes([word[0] ^ 1]) + word[1:] if i == n else word for n, word in enumerate(opening)]
            refuses(call, "BadOpening", "ends", root, lo, hi, count + 1, j, forged)
        refuses(call, "WrongLength", "ends", root, lo, hi, count + 1, j, [*opening, bytes(32)])
        refuses(call, "WrongLength", "ends", root, lo, hi, count + 1, j, opening[:-1])
        for other in {0, 1, count // 2, count - 1, count} - {j} if count > 1 else ():  # one state is at both segments
            with pytest.raises(Reverted):
                call("ends", root, lo, hi, count + 1, j, list(rules.opening(states, other)))


def test_a_post_has_one_state_for_each_inner_boundary(call):
    states = words(random.Random(5), 20)
    assert call("commit", [], 1, 16) == bytes(32)
    for length, k in ((1, 16), (2, 2), (5, 16), (16, 16), (17, 16), (1 << 40, 16)):
        right = min(length, k) - 1
        call("commit", states[:right], length, k)
        refuses(call, "WrongLength", "commit", states[: right + 1], length, k)
        if right:
            refuses(call, "WrongLength", "commit", states[: right - 1], length, k)
