"""One proof for the leaves that a step touches, one or two (vm/SPEC.md, "Witness of a step").

Two leaves share what their paths have in common: each is folded up to the level below the one at which they meet,
where it is the other's sibling, and one path leads from there to the root.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from vm.constants import DEPTH
from vm.keccak import keccak256
from vm.merkle import encode_path, fold, read_path


def meeting_level(one: int, other: int) -> int:
    """The lowest level at which two leaves have the same ancestor; 0 if they are one leaf."""
    return (one ^ other).bit_length()


def encode_proof(indices: Sequence[int], siblings_of: Callable[[int], Sequence[bytes]]) -> bytes:
    """The proof of one leaf or two different ones; `siblings_of(index)` gives all DEPTH siblings of a leaf."""
    if len(indices) == 1:
        return encode_path(siblings_of(indices[0]), 0)
    one, other = indices
    level = meeting_level(one, other)
    below, beside = siblings_of(one), siblings_of(other)
    return encode_path(below[: level - 1], 0) + encode_path(beside[: level - 1], 0) + encode_path(below[level:], level)


@dataclass(frozen=True)
class Proof:
    """A decoded proof: the leaves' indices, their own paths, and the path from where they meet."""

    indices: Sequence[int]
    own: Sequence[Sequence[bytes]]
    common: Sequence[bytes]

    def root(self, leaves: Sequence[bytes]) -> bytes:
        """The memory root, if these are the leaves at the proof's indices."""
        if len(leaves) == 1:
            return fold(leaves[0], 0, self.indices[0], self.common)
        level = meeting_level(*self.indices)
        one, other = (
            fold(leaf, 0, index, path, level - 1)
            for leaf, index, path in zip(leaves, self.indices, self.own, strict=True)
        )
        left, right = (one, other) if self.indices[0] < self.indices[1] else (other, one)
        return fold(keccak256(left + right), level, self.indices[0] >> level, self.common)


def read_proof(data: bytes, offset: int, indices: Sequence[int]) -> tuple[Proof, int]:
    """The proof of these leaves, one or two different ones, that starts at `data[offset]`, and the offset behind it.

    Raises WitnessLengthError or WitnessMaskError as `read_path`.
    """
    own, level = [], 0
    if len(indices) == 2:
        level = meeting_level(*indices)
        for _ in indices:
            path, offset = read_path(data, offset, 0, level - 1)
            own.append(path)
    common, offset = read_path(data, offset, level, DEPTH)
    return Proof(indices, own, common), offset
