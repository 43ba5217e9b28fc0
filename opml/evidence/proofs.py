"""The Merkle tree of a log (RFC 9162, section 2.1, with keccak256) as far as checking it needs.

Leaf i is keccak256(0x00 ‖ entry i), an inner node keccak256(0x01 ‖ left ‖ right). A tree of n leaves splits at the
largest power of two below n. *Peaks* are the roots of the perfect trees that n leaves fall into, the largest first:
all that is needed to go on appending.
"""

from collections.abc import Sequence
from typing import Final

from vm.keccak import keccak256

ALGORITHM: Final = "keccak_256"
EMPTY_ROOT: Final = keccak256(b"")


def leaf_hash(entry: bytes) -> bytes:
    """The leaf over an entry's bytes."""
    return keccak256(b"\x00" + entry)


def node_hash(left: bytes, right: bytes) -> bytes:
    """The node over two others."""
    return keccak256(b"\x01" + left + right)


def peak_widths(size: int) -> list[int]:
    """Leaves under each peak of a tree of `size` leaves, the largest first."""
    return [1 << bit for bit in reversed(range(size.bit_length())) if size >> bit & 1]


def root_of_peaks(peaks: Sequence[bytes]) -> bytes:
    """The root of the tree with these peaks."""
    if not peaks:
        return EMPTY_ROOT
    root = peaks[-1]
    for peak in reversed(peaks[:-1]):
        root = node_hash(peak, root)
    return root


def proves_inclusion(leaf: bytes, position: int, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether `leaf` is at `position` (from 0) in the tree of `size` leaves with this root (section 2.1.3.2)."""
    if not 0 <= position < size:
        return False
    here, last, node = position, size - 1, leaf
    for other in path:
        if last == 0:
            return False
        if here & 1 or here == last:
            node = node_hash(other, node)
            here, last = _up(here, last)
        else:
            node = node_hash(node, other)
        here, last = here >> 1, last >> 1
    return last == 0 and node == root


def proves_consistency(first: int, first_root: bytes, size: int, root: bytes, path: Sequence[bytes]) -> bool:
    """Whether the tree of `size` leaves begins with the tree of `first` leaves (section 2.1.4.2).

    The empty tree is the beginning of every tree; that takes no path.
    """
    if not 0 <= first <= size:
        return False
    if first == 0 or first == size:
        return not path and first_root == (EMPTY_ROOT if first == 0 else root)
    nodes = [first_root, *path] if first & (first - 1) == 0 else list(path)
    if not nodes:
        return False
    here, last = first - 1, size - 1
    while here & 1:
        here, last = here >> 1, last >> 1
    old = new = nodes[0]
    for other in nodes[1:]:
        if last == 0:
            return False
        if here & 1 or here == last:
            old, new = node_hash(other, old), node_hash(other, new)
            here, last = _up(here, last)
        else:
            new = node_hash(new, other)
        here, last = here >> 1, last >> 1
    return last == 0 and old == first_root and new == root


def _up(here: int, last: int) -> tuple[int, int]:
    """Both, up to the first level at which `here` is a right child, or the leftmost node."""
    while here and not here & 1:
        here, last = here >> 1, last >> 1
    return here, last
