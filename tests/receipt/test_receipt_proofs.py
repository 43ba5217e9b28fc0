"""Trees and proofs of RFC 9162 against its own recursive definitions, and against pymerkle's verification."""

from collections.abc import Sequence

import pymerkle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml.evidence.proofs import (
    EMPTY_ROOT,
    leaf_hash,
    node_hash,
    peak_widths,
    proves_consistency,
    proves_inclusion,
    root_of_peaks,
)
from opml.evidence.tree import LogTree

ENTRIES = [f"entry {number}".encode() for number in range(70)]


def split(size: int) -> int:
    return max(1 << bit for bit in range(20) if 1 << bit < size)


def mth(entries: Sequence[bytes]) -> bytes:
    """MTH(D_n) of section 2.1.1, as it is written there."""
    if not entries:
        return EMPTY_ROOT
    if len(entries) == 1:
        return leaf_hash(entries[0])
    k = split(len(entries))
    return node_hash(mth(entries[:k]), mth(entries[k:]))


def path(m: int, entries: Sequence[bytes]) -> list[bytes]:
    """PATH(m, D_n) of section 2.1.3.1."""
    if len(entries) == 1:
        return []
    k = split(len(entries))
    if m < k:
        return [*path(m, entries[:k]), mth(entries[k:])]
    return [*path(m - k, entries[k:]), mth(entries[:k])]


def subproof(m: int, entries: Sequence[bytes], known: bool = True) -> list[bytes]:
    """SUBPROOF(m, D_n, b) of section 2.1.4.1."""
    if m == len(entries):
        return [] if known else [mth(entries)]
    k = split(len(entries))
    if m <= k:
        return [*subproof(m, entries[:k], known), mth(entries[k:])]
    return [*subproof(m - k, entries[k:], False), mth(entries[:k])]


def grown(first: int, size: int) -> LogTree:
    """The tree of `size` entries by somebody who knows the first ones only by their peaks."""
    before = LogTree()
    before.extend(ENTRIES[:first])
    tree = LogTree(first, before.peaks)
    tree.extend(ENTRIES[first:size])
    return tree


@pytest.mark.parametrize("size", range(1, 34))
def test_the_standards_trees_and_proofs(size: int) -> None:
    root = mth(ENTRIES[:size])
    for first in range(size + 1):
        tree = grown(first, size)
        assert (tree.root, tree.size) == (root, size)
        assert root_of_peaks(tree.peaks) == root
        consistency = tree.consistency_path(first)
        assert consistency == (subproof(first, ENTRIES[:size]) if first else [])
        assert proves_consistency(first, mth(ENTRIES[:first]), size, root, consistency)
        for position in range(first, size):
            inclusion = tree.inclusion_path(position)
            assert inclusion == path(position, ENTRIES[:size])
            assert proves_inclusion(leaf_hash(ENTRIES[position]), position, size, root, inclusion)


@given(st.integers(1, 70), st.data())
def test_pymerkle_accepts_what_we_accept(size: int, data: st.DataObject) -> None:
    tree = grown(0, size)
    position = data.draw(st.integers(0, size - 1))
    proof = tree.prove_inclusion(position + 1)
    leaf = leaf_hash(ENTRIES[position])
    pymerkle.verify_inclusion(leaf, tree.root, proof, index=position + 1, size=size, algorithm="keccak_256")
    assert proof.path[0] == leaf
    assert proves_inclusion(leaf, position, size, tree.root, proof.path[1:])
    first = data.draw(st.integers(1, size))
    proof = tree.prove_consistency(first)
    pymerkle.verify_consistency(mth(ENTRIES[:first]), tree.root, proof, prior_size=first, algorithm="keccak_256")


@given(st.integers(1, 70), st.data())
def test_an_inclusion_proof_with_anything_else_in_it_is_refused(size: int, data: st.DataObject) -> None:
    tree = grown(0, size)
    position = data.draw(st.integers(0, size - 1))
    leaf, good = leaf_hash(ENTRIES[position]), tree.inclusion_path(position)
    assert not proves_inclusion(leaf, position, size, tree.root, [*good, leaf])
    assert not proves_inclusion(leaf_hash(b"other"), position, size, tree.root, good)
    assert not proves_inclusion(leaf, position, size, mth(ENTRIES[:3]) if size != 3 else EMPTY_ROOT, good)
    assert not proves_inclusion(leaf, size, size, tree.root, good)
    assert not proves_inclusion(leaf, -1, size, tree.root, good)
    other = data.draw(st.integers(0, size - 1))
    assert (other == position) == proves_inclusion(leaf, other, size, tree.root, good)
    if good:
        place, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 255))
        assert not proves_inclusion(leaf, position, size, tree.root, changed(good, place, bit))
        assert not proves_inclusion(leaf, position, size, tree.root, good[:-1])


@given(st.integers(1, 70), st.data())
def test_a_consistency_proof_with_anything_else_in_it_is_refused(size: int, data: st.DataObject) -> None:
    first = data.draw(st.integers(0, size))
    tree, old = grown(first, size), mth(ENTRIES[:first])
    good = tree.consistency_path(first)
    assert not proves_consistency(first, old, size, tree.root, [*good, old])
    assert not proves_consistency(first, mth([b"other"]), size, tree.root, good)
    assert not proves_consistency(size + 1, old, size, tree.root, good)
    assert not proves_consistency(-1, old, size, tree.root, good)
    if first:
        assert not proves_consistency(first, old, size, mth([b"other"]), good)
    if good:
        place, bit = data.draw(st.integers(0, len(good) - 1)), data.draw(st.integers(0, 255))
        assert not proves_consistency(first, old, size, tree.root, changed(good, place, bit))
        assert not proves_consistency(first, old, size, tree.root, good[:-1])
        assert not proves_consistency(first, old, size, tree.root, [])


def test_peaks_have_to_be_as_many_as_the_size_has() -> None:
    assert [peak_widths(size) for size in (0, 1, 6, 7)] == [[], [1], [4, 2], [4, 2, 1]]
    with pytest.raises(ValueError, match="zip"):
        LogTree(3, [EMPTY_ROOT])


def changed(hashes: list[bytes], place: int, bit: int) -> list[bytes]:
    data = bytearray(hashes[place])
    data[bit // 8] ^= 1 << bit % 8
    return [*hashes[:place], bytes(data), *hashes[place + 1 :]]
