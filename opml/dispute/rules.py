"""The arithmetic of a game: how a range is divided, and how a post is committed and opened. Twin of `KSection.sol`.

A range of `length` steps is divided into p = min(k, length) parts at the boundaries 0..p. The states at boundary 0
(`lo`) and at the last one (`hi`) are known, so a post has the states at boundaries 1..p-1. The chain keeps of it only
the root of a Merkle tree: the state at boundary i is leaf i-1, the leaves are padded with zero words to a power of
two, and an inner node is keccak256(left || right). One state is its own root.

Choosing segment j brings an opening, one proof of the two neighbours j-1 and j among the leaves: the state at boundary
j, unless j = 0; the state at boundary j + 1, unless that is the last one; then, level by level from the leaves up, the
siblings that do not follow from these, left before right.
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


def rounds(length: int, k: int) -> int:
    """The most choices until a range has one step left."""
    count = 0
    while length > 1:
        length, count = -(-length // k), count + 1
    return count


def depth(count: int) -> int:
    """Levels of the tree over a post of `count` states: the smallest d with 2**d >= count."""
    return max(count - 1, 0).bit_length()


def range_hash(lo: bytes, hi: bytes, root: bytes = b"") -> bytes:
    """What the chain keeps of a disputed range: the hash of the states at its ends, and of a post's root, if any."""
    return keccak256(lo + hi + root)


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
    known = _leaves(len(states), j)
    words = [tree[0][i] for i in known]
    for level in tree[:-1]:
        words += [level[i ^ 1] for i in known if i ^ 1 not in known]
        known = _parents(known)
    return tuple(words)


def opening_length(p: int, j: int) -> int:
    """The number of words in the opening of segment `j` of p."""
    known = _leaves(p - 1, j)
    words = len(known)
    for _ in range(depth(p - 1)):
        words += sum(i ^ 1 not in known for i in known)
        known = _parents(known)
    return words


def ends(lo: bytes, hi: bytes, p: int, j: int, words: Sequence[bytes]) -> tuple[bytes, bytes, bytes]:
    """The states at both ends of segment `j` of the range from `lo` to `hi`, and the root of the post, by its opening.

    Raises RuleError WrongLength. Whether the root is that of the post is for the caller to see.
    """
    if len(words) != opening_length(p, j) or any(len(word) != WORD for word in words):
        raise RuleError("WrongLength")
    rest = iter(words)
    nodes = {i: next(rest) for i in _leaves(p - 1, j)}
    lo, hi = nodes.get(j - 1, lo), nodes.get(j, hi)
    for _ in range(depth(p - 1)):
        pairs = {n: [nodes[i] if i in nodes else next(rest) for i in (2 * n, 2 * n + 1)] for n in _parents(nodes)}
        nodes = {n: keccak256(left + right) for n, (left, right) in pairs.items()}
    return lo, hi, nodes[0]


def _leaves(count: int, j: int) -> list[int]:
    """The leaves at the ends of segment `j` of a post of `count` states."""
    return [i for i in (j - 1, j) if 0 <= i < count]


def _parents(nodes: Sequence[int] | dict[int, bytes]) -> list[int]:
    return sorted({i >> 1 for i in nodes})


def _tree(states: Sequence[bytes]) -> list[list[bytes]]:
    level = [*states, *[ZERO_WORD] * ((1 << depth(len(states))) - len(states))]
    tree = [level]
    while len(level) > 1:
        level = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        tree.append(level)
    return tree
