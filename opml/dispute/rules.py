"""The arithmetic of a game: how a range is divided, and how a post is committed and opened. Twin of `KSection.sol`.

A range of `length` steps is divided into p = min(k, length) parts at the boundaries 0..p. The states at boundary 0
(`lo`) and at the last one (`hi`) are known, so a post has the states at boundaries 1..p-1. The chain keeps only the
root of a Merkle tree over them: the state at boundary i is leaf i-1, the leaves are padded with zero words to a power
of two, and an inner node is keccak256(left || right). One state is its own root.

Choosing segment j brings an opening: the state at boundary j and its siblings from the bottom up, unless j = 0; then
the same for boundary j + 1, unless that is the last one.
"""

from collections.abc import Sequence

from vm.keccak import keccak256

WORD = 32
ZERO_WORD = bytes(WORD)
MIN_K = 2
MAX_K = 64


class RuleError(ValueError):
    """A post or an opening that the contract refuses; `reason` is the name of its custom error."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def parts(length: int, k: int) -> int:
    """The number of parts of a range."""
    return min(length, k)


def boundary(length: int, p: int, i: int) -> int:
    """Distance of boundary `i` from the range's beginning; 0 for i = 0 and `length` for i = p."""
    return i * length // p


def inner_boundaries(length: int, k: int) -> list[int]:
    """Distances of the boundaries whose states a post has; none for a range of one step."""
    p = parts(length, k)
    return [boundary(length, p, i) for i in range(1, p)]


def depth(count: int) -> int:
    """Levels of the tree over a post of `count` states: the smallest d with 2**d >= count."""
    return max(count - 1, 0).bit_length()


def commit(states: Sequence[bytes], length: int, k: int) -> bytes:
    """The root over a post for a range of the given length; ZERO_WORD for a range of one step.

    Raises RuleError WrongLength unless there are p - 1 states of 32 bytes.
    """
    if len(states) != parts(length, k) - 1 or any(len(state) != WORD for state in states):
        raise RuleError("WrongLength")
    return _tree(states)[-1][0]


def opening(states: Sequence[bytes], j: int) -> tuple[bytes, ...]:
    """The opening that goes with the choice of segment `j`, 0 <= j <= len(states), of a post."""
    tree = _tree(states)
    return (*(_proof(tree, j - 1) if j else ()), *(_proof(tree, j) if j < len(states) else ()))


def ends(root: bytes, lo: bytes, hi: bytes, p: int, j: int, words: Sequence[bytes]) -> tuple[bytes, bytes]:
    """The states at both ends of segment `j`, opened from a post's root; at the range's own ends the given `lo`, `hi`.

    Raises RuleError: WrongLength, BadOpening.
    """
    size = 1 + depth(p - 1)
    first, last = j == 0, j == p - 1
    if len(words) != size * (2 - first - last) or any(len(word) != WORD for word in words):
        raise RuleError("WrongLength")
    if not last:
        hi = _open(root, j, words[-size:])
    if not first:
        lo = _open(root, j - 1, words[:size])
    return lo, hi


def _tree(states: Sequence[bytes]) -> list[list[bytes]]:
    level = [*states, *[ZERO_WORD] * ((1 << depth(len(states))) - len(states))]
    tree = [level]
    while len(level) > 1:
        level = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        tree.append(level)
    return tree


def _proof(tree: Sequence[Sequence[bytes]], index: int) -> tuple[bytes, ...]:
    return (tree[0][index], *(level[index >> i ^ 1] for i, level in enumerate(tree[:-1])))


def _open(root: bytes, index: int, proof: Sequence[bytes]) -> bytes:
    node = proof[0]
    for sibling in proof[1:]:
        node = keccak256(sibling + node if index & 1 else node + sibling)
        index >>= 1
    if node != root:
        raise RuleError("BadOpening")
    return proof[0]
