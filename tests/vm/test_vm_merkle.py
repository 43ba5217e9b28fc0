"""The tree: zero subtrees, roots and paths against a naive reference."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm.constants import DEPTH, MODEL_LEVEL
from vm.errors import VmError, WitnessError, WitnessLengthError, WitnessMaskError
from vm.keccak import keccak256
from vm.merkle import MASK_BYTES, ZERO, decode_path, encode_path, fold, read_path, subtree_root


def naive_root(data: bytes, level: int) -> bytes:
    nodes = [data[i : i + 32].ljust(32, b"\0") for i in range(0, len(data), 32)] or [bytes(32)]
    zero = bytes(32)
    for _ in range(level):
        nodes += [zero] * (len(nodes) % 2)
        nodes = [keccak256(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
        zero = keccak256(zero + zero)
    (root,) = nodes
    return root


def test_zero_subtrees():
    assert len(ZERO) == DEPTH + 1
    assert ZERO[0] == bytes(32)
    # As in Ethereum's other keccak trees of zeros.
    assert ZERO[1].hex() == "ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5"
    assert ZERO[2].hex() == "b4c11951957c6f8f642c4af61cd6b24640fec6dc7fc607ee8206a99e92410d30"
    assert all(ZERO[level] == naive_root(b"", level) for level in range(DEPTH + 1))


@pytest.mark.parametrize(
    "size", [*range(70), 127, 128, 129, 255, 257, 1000, 4095, 4096, 4097, 8192, 12345, 32768, 40000]
)
def test_subtree_root_equals_the_naive_one(size):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8)
    leaves = max(1, -(-size // 32))
    smallest = (leaves - 1).bit_length()
    for level in {smallest, smallest + 1, 17, MODEL_LEVEL, DEPTH}:
        assert subtree_root(data, level) == naive_root(data.tobytes(), level)
        assert subtree_root(data.tobytes(), level) == naive_root(data.tobytes(), level)


def test_zeros_are_worth_nothing():
    assert subtree_root(bytes(5000), 20) == ZERO[20]
    assert subtree_root(b"abc" + bytes(5000), 20) == subtree_root(b"abc", 20)


def test_subtree_root_takes_arrays_of_any_dtype_as_bytes():
    numbers = np.arange(100, dtype=np.int64).reshape(10, 10)
    assert subtree_root(numbers, 10) == subtree_root(numbers.tobytes(), 10)


@pytest.mark.parametrize(("size", "level"), [(33, 0), (4097, 7), (1, -1), (1, 36)])
def test_data_beyond_the_subtree_are_refused(size, level):
    with pytest.raises(VmError):
        subtree_root(bytes(size), level)


siblings_of_a_leaf = st.lists(
    st.one_of(st.none(), st.binary(min_size=32, max_size=32)), min_size=DEPTH, max_size=DEPTH
).map(lambda nodes: [node or ZERO[i] for i, node in enumerate(nodes)])


@given(siblings_of_a_leaf, st.integers(0, DEPTH), st.integers(0, DEPTH))
def test_paths_come_back(siblings, a, b):
    level, top = min(a, b), max(a, b)
    path = encode_path(siblings[level:top], level)
    assert decode_path(path, level, top) == siblings[level:top]
    assert len(path) == MASK_BYTES + 32 * sum(s != ZERO[i] for i, s in enumerate(siblings[level:top], level))


@given(siblings_of_a_leaf, st.data())
def test_paths_of_the_wrong_length_are_refused(siblings, data):
    path = encode_path(siblings, 0)
    cut = data.draw(st.integers(0, len(path) - 1))
    with pytest.raises(WitnessLengthError):
        decode_path(path[:cut], 0)
    with pytest.raises(WitnessLengthError):
        decode_path(path + data.draw(st.binary(min_size=1, max_size=40)), 0)


@pytest.mark.parametrize(("level", "top"), [(0, DEPTH), (0, MODEL_LEVEL), (7, DEPTH), (34, DEPTH), (12, MODEL_LEVEL)])
def test_mask_bits_beyond_the_height_are_refused(level, top):
    siblings = [bytes([i + 1]) * 32 for i in range(top - level)]
    path = encode_path(siblings, level)
    assert decode_path(path, level, top) == siblings
    for bit in range(top - level, 8 * MASK_BYTES):
        mask = int.from_bytes(path[:MASK_BYTES], "big") | 1 << bit
        with pytest.raises(WitnessMaskError):
            decode_path(mask.to_bytes(MASK_BYTES, "big") + path[MASK_BYTES:] + bytes(32), level, top)


def test_a_path_may_spell_out_a_zero_subtree():
    path = (1).to_bytes(MASK_BYTES, "big") + ZERO[3]
    assert decode_path(path, 3) == [*ZERO[3:DEPTH]]


def test_read_path_says_where_it_ends():
    path = encode_path([b"\1" * 32, b"\2" * 32], 33)
    assert read_path(b"xyz" + path + b"more", 3, 33) == ([b"\1" * 32, b"\2" * 32], 3 + len(path))


@given(st.integers(0, (1 << DEPTH) - 1), st.binary(min_size=32, max_size=32), siblings_of_a_leaf)
def test_fold_puts_each_node_on_its_side(index, leaf, siblings):
    node = leaf
    for level, sibling in enumerate(siblings):
        node = keccak256(sibling + node) if index >> level & 1 else keccak256(node + sibling)
    assert fold(leaf, 0, index, siblings) == node
    half = fold(leaf, 0, index, siblings[:12], 12)
    assert fold(half, 12, index >> 12, siblings[12:]) == node


def test_fold_refuses_paths_of_another_height():
    with pytest.raises(VmError):
        fold(bytes(32), 0, 0, ZERO[:DEPTH], MODEL_LEVEL)
    with pytest.raises(VmError):
        fold(bytes(32), 0, 1 << DEPTH, ZERO[:DEPTH])


def test_codes_are_stable():
    assert {cls.code for cls in WitnessError.__subclasses__()} == {
        *("witness-length", "witness-status", "witness-mask", "witness-proof"),
    }
