"""The arithmetic of a game: how a range is cut, and how a post is committed and opened. Twin of `KSection.sol`.

A range of `length` > 1 steps is cut into `parts` segments at the boundaries 0..parts; the states at boundary 0 (`lo`)
and at the last one (`hi`) are known, so a post has the states at boundaries 1..parts-1. Only the root of a Merkle
tree over them is stored: the state at boundary i is leaf i-1, the leaves are padded with zero words to the next power
of two, and an inner node is keccak256(left || right). One state is its own root.

Choosing a segment brings an opening: the state at the segment's start and its siblings from the bottom up, unless the
segment is the first one; then the same for its end, unless it is the last.
"""

from collections.abc import Iterable, Sequence

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


def parts(k: int, length: int) -> int:
    """The number of segments of a range of `length` > 1 steps."""
    return min(k, length)


def boundary(length: int, p: int, i: int) -> int:
    """The offset of boundary `i` of `p` segments: floor(i * length / p)."""
    return i * length // p


def boundaries(k: int, length: int) -> list[int]:
    """The offsets of the boundaries whose states a post has; empty for a range of one step."""
    p = parts(k, length)
    return [boundary(length, p, i) for i in range(1, p)]


def path_length(leaves: int) -> int:
    """The height of the tree over `leaves` >= 1 states."""
    return (leaves - 1).bit_length()


def _levels(states: Sequence[bytes]) -> list[list[bytes]]:
    level = [*states, *[ZERO_WORD] * ((1 << path_length(len(states))) - len(states))]
    levels = [level]
    while len(level) > 1:
        level = [keccak256(level[i] + level[i + 1]) for i in range(0, len(level), 2)]
        levels.append(level)
    return levels


def post_root(states: Sequence[bytes]) -> bytes:
    """The root stored for a post; ZERO_WORD where there is nothing to post."""
    return _levels(states)[-1][0] if states else ZERO_WORD


def _proof(levels: Sequence[Sequence[bytes]], index: int) -> list[bytes]:
    return [levels[0][index], *[level[index >> i ^ 1] for i, level in enumerate(levels[:-1])]]


def opening(states: Sequence[bytes], segment: int) -> tuple[bytes, ...]:
    """The opening that goes with the choice of `segment` of the post `states`."""
    levels = _levels(states)
    words: list[bytes] = []
    if segment > 0:
        words += _proof(levels, segment - 1)
    if segment < len(states):
        words += _proof(levels, segment)
    return tuple(words)


def _fold(words: Iterable[bytes], index: int) -> bytes:
    node, *siblings = words
    for i, sibling in enumerate(siblings):
        node = keccak256(sibling + node if index >> i & 1 else node + sibling)
    return node


def verify_opening(
    root: bytes, p: int, segment: int, words: Sequence[bytes], lo: bytes, hi: bytes
) -> tuple[bytes, bytes]:
    """The states at the start and the end of `segment` of `p` segments, by the opening `words` of the post `root`.

    Raises RuleError: BadSegment, BadOpening.
    """
    if not 0 <= segment < p:
        raise RuleError("BadSegment")
    size = 1 + path_length(p - 1)
    first, last = segment == 0, segment == p - 1
    if len(words) != size * (2 - first - last) or any(len(word) != WORD for word in words):
        raise RuleError("BadOpening")
    start, end = words[: 0 if first else size], words[0 if first else size :]
    if start and _fold(start, segment - 1) != root:
        raise RuleError("BadOpening")
    if end and _fold(end, segment) != root:
        raise RuleError("BadOpening")
    return (start[0] if start else lo, end[0] if end else hi)


def check_post(k: int, length: int, states: Sequence[bytes]) -> None:
    """Raises RuleError BadPost unless `states` has as many words as a post of a range of `length` steps."""
    if len(states) != parts(k, length) - 1 or any(len(state) != WORD for state in states):
        raise RuleError("BadPost")
