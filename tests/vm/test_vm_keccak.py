"""Keccak: known answers, and our permutation against two other implementations."""

import numpy as np
import pytest
from Crypto.Hash import keccak as pycryptodome
from hypothesis import given
from hypothesis import strategies as st

from vm.errors import VmError
from vm.keccak import LANES, ROUNDS, _hash_pairs, _rho_pi, _round_constants, hash_pairs, hash_subtrees, keccak256


def other_keccak(data: bytes) -> bytes:
    return pycryptodome.new(digest_bits=256, data=data).digest()


def naive_root(data: bytes) -> bytes:
    nodes = [data[i : i + 32] for i in range(0, len(data), 32)]
    while len(nodes) > 1:
        nodes = [other_keccak(nodes[i] + nodes[i + 1]) for i in range(0, len(nodes), 2)]
    return nodes[0]


def random_bytes(size: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8)


@pytest.mark.parametrize(
    ("message", "digest"),
    [
        (b"", "c5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"),
        (b"abc", "4e03657aea45a94fc7d47ba826c8d667c0d1e6e33a64a036ec44f58fa12d6c45"),
        (bytes(64), "ad3228b676f7d3cd4284a5443f17f1962b36e491b30a40b2405849e597ba5fb5"),
    ],
)
def test_known_answers(message, digest):
    assert keccak256(message).hex() == digest


def test_is_not_sha3():
    import hashlib

    assert keccak256(b"") != hashlib.sha3_256(b"").digest()


@given(st.binary(max_size=400))
def test_small_calls_equal_another_implementation(data):
    assert keccak256(data) == other_keccak(data)


def test_parameters_of_the_permutation():
    constants = _round_constants()
    assert len(constants) == ROUNDS
    assert constants[:3] == [0x1, 0x8082, 0x800000000000808A]
    assert constants[-1] == 0x8000000080008008
    assert sorted(target for _, target, _ in _rho_pi()) == list(range(25))


@pytest.mark.parametrize("count", [0, 1, 2, 7, 8, 9, 15, 16, 17, 40, 100])
def test_pairs_in_every_filling_of_the_lanes(count):
    data = random_bytes(64 * count, count)
    digests = hash_pairs(data)
    assert digests.shape == (count, 32)
    assert [d.tobytes() for d in digests] == [other_keccak(data[64 * i : 64 * i + 64].tobytes()) for i in range(count)]


def test_lanes_do_not_mix():
    data = random_bytes(64 * LANES)
    before = hash_pairs(data)
    data[64 * 3] ^= 1
    after = hash_pairs(data)
    assert [bool((a != b).any()) for a, b in zip(before, after, strict=True)] == [i == 3 for i in range(LANES)]


def test_pairs_in_place():
    data, spare = random_bytes(64 * 29), np.zeros(512, np.uint8)
    expected = hash_pairs(data)
    _hash_pairs(data.ctypes.data, data.ctypes.data, 29, spare.ctypes.data)
    assert (data[: 29 * 32].reshape(29, 32) == expected).all()


def test_pairs_of_a_view_that_is_not_contiguous():
    data = random_bytes(64 * 10).reshape(10, 64)
    assert (hash_pairs(data[::2]) == hash_pairs(data)[::2]).all()


@pytest.mark.parametrize(("leaves", "trees"), [(2, 3), (4, 1), (8, 300), (64, 9), (128, 1), (128, 17), (256, 5)])
def test_subtrees_equal_a_naive_tree(leaves, trees):
    data = random_bytes(32 * leaves * trees)
    width = 32 * leaves
    roots = hash_subtrees(data, leaves)
    assert roots.shape == (trees, 32)
    for i in {0, trees // 2, trees - 1}:
        assert roots[i].tobytes() == naive_root(data[i * width : (i + 1) * width].tobytes())


def test_no_subtrees():
    assert hash_subtrees(np.zeros(0, np.uint8), 128).shape == (0, 32)


@pytest.mark.parametrize(("size", "leaves"), [(32, 2), (4096, 3), (4096, 1), (4095, 128), (96, 2)])
def test_sizes_that_are_no_trees_are_refused(size, leaves):
    with pytest.raises(VmError):
        hash_subtrees(np.zeros(size, np.uint8), leaves)


def test_half_a_pair_is_refused():
    with pytest.raises(VmError):
        hash_pairs(np.zeros(96, np.uint8))


@pytest.mark.parametrize("trees", [1, 7, 8, 9, 31, 64])
def test_large_data_are_hashed_in_shares_to_the_same_roots(monkeypatch, trees):
    data = random_bytes(trees * 4096)
    whole = hash_subtrees(data, 128)
    monkeypatch.setattr("vm.keccak._SHARE_BYTES", 3 * 4096)
    assert hash_subtrees(data, 128).tolist() == whole.tolist()
    assert [root.tobytes() for root in whole] == [
        naive_root(data[i : i + 4096].tobytes()) for i in range(0, data.size, 4096)
    ]
