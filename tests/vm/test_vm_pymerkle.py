"""Full trees against pymerkle, an implementation by other people (keccak_256, without its prefixes).

pymerkle hashes the data of a leaf, and ours are raw; so one of its leaves is 64 bytes, two of ours.
"""

import numpy as np
import pytest
from pymerkle import InmemoryTree

from vm.keccak import hash_subtrees
from vm.memory import Memory
from vm.merkle import fold, subtree_root


def tree_over(data: bytes) -> InmemoryTree:
    tree = InmemoryTree(algorithm="keccak_256", disable_security=True)
    for offset in range(0, len(data), 64):
        tree.append_entry(data[offset : offset + 64])
    return tree


@pytest.mark.parametrize("level", range(1, 13))
def test_roots_of_full_trees(level):
    data = np.random.default_rng(level).integers(0, 256, 32 << level, dtype=np.uint8)
    root = tree_over(data.tobytes()).get_root()
    assert subtree_root(data, level) == root
    assert hash_subtrees(data, 1 << level).tobytes() == root
    memory = Memory()
    memory.write(5 << (level + 5), data.tobytes())
    assert memory.node(level, 5) == root
    changed = data.copy()
    changed[-1] ^= 1
    assert subtree_root(changed, level) != root


@pytest.mark.parametrize("level", [1, 2, 7, 8, 10])
def test_paths_in_full_trees(level):
    data = np.random.default_rng(level).bytes(32 << level)
    tree = tree_over(data)
    memory = Memory()
    memory.write(0, data)
    for pair in {0, 1, 5, (1 << level) // 2 - 1}:
        if pair >= 1 << (level - 1):
            continue
        siblings = memory.siblings(1, pair, level)
        proof = tree.prove_inclusion(pair + 1)
        # Theirs starts with the node itself.
        assert proof.path == [memory.node(1, pair), *siblings]
        assert fold(proof.path[0], 1, pair, proof.path[1:], level) == tree.get_root()


def test_a_tree_that_is_not_full_is_padded_with_zeros_here_and_not_there():
    data = np.random.default_rng(0).bytes(3 * 64)
    assert subtree_root(data, 3) != tree_over(data).get_root()
    assert subtree_root(data, 3) == tree_over(data + bytes(64)).get_root()
