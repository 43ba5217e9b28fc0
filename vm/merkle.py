"""The memory's Merkle tree (vm/SPEC.md, "Memory"): raw 32-byte leaves, `keccak256(left || right)` above, depth 35.

Level 0 is a leaf, level DEPTH the root. Node (level, index) covers bytes [index << (level+5), (index+1) << (level+5)).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from vm.constants import DEPTH, LEAF_BYTES, LEAF_LOG2
from vm.errors import VmError, WitnessLengthError, WitnessMaskError
from vm.keccak import HASH_BYTES, LANES, hash_pairs, hash_subtrees, keccak256

MASK_BYTES: Final = (DEPTH + 7) // 8


def _zero_subtrees() -> tuple[bytes, ...]:
    nodes = [bytes(LEAF_BYTES)]
    for _ in range(DEPTH):
        nodes.append(keccak256(nodes[-1] * 2))
    return tuple(nodes)


# ZERO[level]: the node at that level over nothing but zero bytes.
ZERO: Final = _zero_subtrees()


def hash_level(nodes: Sequence[bytes]) -> list[bytes]:
    """The parents of an even number of nodes that follow one another."""
    pairs = len(nodes) // 2
    if pairs < LANES:
        return [keccak256(nodes[2 * i] + nodes[2 * i + 1]) for i in range(pairs)]
    joined = hash_pairs(np.frombuffer(b"".join(nodes), np.uint8)).tobytes()
    return [joined[i : i + HASH_BYTES] for i in range(0, len(joined), HASH_BYTES)]


def subtree_root(data: bytes | NDArray[np.uint8], level: int) -> bytes:
    """The node at `level` whose bytes are `data` followed by zeros.

    Raises VmError if `level` is not 0..DEPTH or `data` is longer than the subtree.
    """
    array = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data.reshape(-1).view(np.uint8)
    if not 0 <= level <= DEPTH or array.size > LEAF_BYTES << level:
        raise VmError(f"{array.size} bytes do not fit a subtree of level {level}")
    if not array.size:
        return ZERO[level]
    leaves = -(-array.size // LEAF_BYTES)
    # The data's own subtree, cut into aligned chunks that are hashed side by side.
    top = min((leaves - 1).bit_length(), level)
    chunk = max(1, min(top - 3, 7)) if top else 0
    padded = -(-leaves >> chunk) << (chunk + LEAF_LOG2)
    if padded != array.size:
        array = np.concatenate([array, np.zeros(padded - array.size, np.uint8)])
    if chunk:
        array = hash_subtrees(array, 1 << chunk)
    for height in range(chunk, top):
        if array.size % (2 * HASH_BYTES):
            array = np.concatenate([array.reshape(-1), np.frombuffer(ZERO[height], np.uint8)])
        array = hash_pairs(array)
    node = array.tobytes()
    for height in range(top, level):
        node = keccak256(node + ZERO[height])
    return node


def fold(node: bytes, level: int, index: int, siblings: Sequence[bytes], top: int = DEPTH) -> bytes:
    """The ancestor at level `top` of node (level, index), from its siblings at levels level..top-1.

    Raises VmError if the number of siblings is not the path's height or the index lies outside the tree.
    """
    if len(siblings) != top - level or not 0 <= index < 1 << (DEPTH - level):
        raise VmError(f"{len(siblings)} siblings for node ({level}, {index}) below level {top}")
    for sibling in siblings:
        node = keccak256(sibling + node if index & 1 else node + sibling)
        index >>= 1
    return node


def encode_path(siblings: Sequence[bytes], level: int) -> bytes:
    """The path of a node at `level`: a mask of MASK_BYTES big endian, then the siblings that are not zero subtrees.

    Bit i of the mask, from the least significant, stands for the sibling at level + i.
    """
    mask, parts = 0, []
    for i, sibling in enumerate(siblings):
        if sibling != ZERO[level + i]:
            mask |= 1 << i
            parts.append(sibling)
    return mask.to_bytes(MASK_BYTES, "big") + b"".join(parts)


def read_path(data: bytes, offset: int, level: int, top: int = DEPTH) -> tuple[list[bytes], int]:
    """The siblings of the path that starts at `data[offset]`, and the offset behind it.

    A path that names a zero subtree in full is accepted: it proves the same. Raises WitnessLengthError if the data
    end too early and WitnessMaskError if a bit at or above the path's height is set.
    """
    end = offset + MASK_BYTES
    if end > len(data):
        raise WitnessLengthError("a path's mask is cut off")
    mask = int.from_bytes(data[offset:end], "big")
    if mask >> (top - level):
        raise WitnessMaskError(f"mask {mask:#x} has bits beyond {top - level} levels")
    siblings = []
    for height in range(level, top):
        if mask & 1:
            sibling = data[end : end + HASH_BYTES]
            if len(sibling) != HASH_BYTES:
                raise WitnessLengthError(f"a path's sibling at level {height} is cut off")
            siblings.append(sibling)
            end += HASH_BYTES
        else:
            siblings.append(ZERO[height])
        mask >>= 1
    return siblings, end


def decode_path(data: bytes, level: int, top: int = DEPTH) -> list[bytes]:
    """The siblings of a path that is all of `data`; as `read_path`, and WitnessLengthError if bytes are left over."""
    siblings, end = read_path(data, 0, level, top)
    if end != len(data):
        raise WitnessLengthError(f"{len(data) - end} bytes behind a path")
    return siblings
