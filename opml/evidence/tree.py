"""A log's Merkle tree in memory, from where a run finds it on. The only module that imports pymerkle (GPL-3.0)."""

from collections.abc import Iterable, Sequence
from typing import Any

from opml.errors import ReceiptError
from opml.evidence.proofs import ALGORITHM, peak_widths

try:
    from pymerkle import BaseMerkleTree
except ImportError:  # Who redistributes opml may have left it out, for its licence.
    raise ReceiptError("log", "receipts and their logs need pymerkle", "pip install pymerkle") from None


class LogTree(BaseMerkleTree):  # type: ignore[misc]
    """The tree of RFC 9162 over a log's entries, of which the first `size` are known by their peaks alone.

    So a run reads none of the entries before it. Positions count from 0. Raises ValueError where the peaks are not as
    many as the size has.
    """

    def __init__(self, size: int = 0, peaks: Sequence[bytes] = ()) -> None:
        super().__init__(ALGORITHM)
        self.size = size
        # (height, index within the height): the root of a perfect tree
        self._nodes: dict[tuple[int, int], bytes] = {}
        start = 0
        for width, peak in zip(peak_widths(size), peaks, strict=True):
            self._nodes[width.bit_length() - 1, start // width] = peak
            start += width

    def extend(self, entries: Iterable[bytes]) -> None:
        """Appends entries."""
        self.append_entries(entries)

    @property
    def root(self) -> bytes:
        """The root over all entries."""
        return bytes(self.get_root())

    @property
    def peaks(self) -> list[bytes]:
        """What `__init__` takes to go on from here."""
        peaks, start = [], 0
        for width in peak_widths(self.size):
            peaks.append(self._get_subroot(start, width))
            start += width
        return peaks

    def inclusion_path(self, position: int) -> list[bytes]:
        """The proof that the entry at `position`, one that was appended here, is in the tree (RFC 9162, 2.1.3.1)."""
        # pymerkle's path begins with the leaf itself.
        return list(self.prove_inclusion(position + 1).path[1:])

    def consistency_path(self, first: int) -> list[bytes]:
        """The proof that the tree begins with that of its first `first` entries (2.1.4.1); empty for `first` 0.

        Not pymerkle's own, which spells out more nodes than the standard's and only pymerkle verifies.
        """
        return self._subproof(first, 0, self.size, True) if first else []

    def _subproof(self, first: int, start: int, end: int, known: bool) -> list[bytes]:
        if first == end:
            return [] if known else [self._get_root(start, end)]
        middle = start + (1 << (end - start - 1).bit_length() - 1)
        if first <= middle:
            return [*self._subproof(first, start, middle, known), self._get_root(middle, end)]
        return [*self._subproof(first, middle, end, False), self._get_root(start, middle)]

    # pymerkle's storage

    def _encode_entry(self, data: bytes) -> bytes:
        return data

    def _store_leaf(self, data: bytes, digest: bytes) -> int:
        node, height, index = digest, 0, self.size
        self._nodes[0, index] = node
        while index & 1:
            node = self.hash_pair(self._nodes[height, index - 1], node)
            height, index = height + 1, index >> 1
            self._nodes[height, index] = node
        self.size += 1
        return self.size

    def _get_leaf(self, index: int) -> bytes:
        return self._nodes[0, index - 1]

    def _get_leaves(self, offset: int, width: int) -> list[bytes]:
        return [self._nodes[0, position] for position in range(offset, offset + width)]

    def _get_size(self) -> int:
        return self.size

    def _get_subroot(self, offset: int, width: int) -> Any:
        return self._nodes[width.bit_length() - 1, offset // width]
