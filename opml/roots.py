"""Merkle roots of a model: subtrees that lie far apart in an otherwise empty half of memory."""

from collections.abc import Mapping

from opml.program import Program, subtree_level
from vm.constants import LEAF_LOG2, MODEL_LEVEL
from vm.guest.record import GUEST_BASE, GUEST_LOG2, TABLE_BASE
from vm.keccak import keccak256
from vm.merkle import ZERO, subtree_root

GUEST_LEVEL = GUEST_LOG2 - LEAF_LOG2


def sparse_root(nodes: Mapping[tuple[int, int], bytes], level: int = MODEL_LEVEL) -> bytes:
    """Root at `level` of a tree that is zero but for the given nodes (level, index), none of which lies in another."""
    waiting: dict[int, dict[int, bytes]] = {}
    for (height, index), node in nodes.items():
        waiting.setdefault(height, {})[index] = node
    current: dict[int, bytes] = {}
    for height in range(level):
        current |= waiting.get(height, {})
        zero = ZERO[height]
        current = {
            parent: keccak256(current.get(2 * parent, zero) + current.get(2 * parent + 1, zero))
            for parent in {index >> 1 for index in current}
        }
    return (current | waiting.get(level, {})).get(0, ZERO[level])


def guest_root(guest: bytes) -> bytes:
    """Root of the guest's subtree at address 0."""
    return subtree_root(guest, GUEST_LEVEL)


def model_root(program: Program, guest: bytes) -> bytes:
    """Root of the model half before anything is claimed: guest, table and constants; all else is zero."""
    table_level = subtree_level(len(program.table))
    nodes = {
        (GUEST_LEVEL, GUEST_BASE >> GUEST_LOG2): guest_root(guest),
        (table_level, TABLE_BASE >> (table_level + LEAF_LOG2)): subtree_root(program.table, table_level),
    }
    for name, value in program.constants.items():
        tensor = program.tensors[name]
        nodes[tensor.level, tensor.address >> (tensor.level + LEAF_LOG2)] = subtree_root(value, tensor.level)
    return sparse_root(nodes)
