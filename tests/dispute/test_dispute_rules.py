"""k-section: every boundary, every opening, and what is refused."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from opml.dispute.rules import (
    ZERO_WORD,
    RuleError,
    boundary,
    commit,
    depth,
    ends,
    inner_boundaries,
    opening,
    opening_length,
    parts,
    range_hash,
)
from vm.keccak import keccak256

KS = st.integers(2, 64)
LENGTHS = st.one_of(st.integers(1, 200), st.integers(1, 2**64 - 1))
LO, HI = b"l" * 32, b"h" * 32


def states(count: int) -> list[bytes]:
    return [keccak256(bytes([i])) for i in range(count)]


@given(LENGTHS, KS)
def test_parts_are_not_empty_differ_by_at_most_one_and_fill_the_range(length: int, k: int) -> None:
    p = parts(length, k)
    bounds = [boundary(length, p, i) for i in range(p + 1)]
    sizes = [b - a for a, b in pairwise(bounds)]
    assert bounds[0] == 0
    assert bounds[-1] == length
    assert min(sizes) >= 1
    assert max(sizes) - min(sizes) <= 1
    assert inner_boundaries(length, k) == bounds[1:-1]


@given(st.integers(2, 200), KS)
def test_a_range_shrinks_to_one_step_in_as_many_rounds_as_it_has_digits(length: int, k: int) -> None:
    rest, rounds = length, 0
    while rest > 1:
        p = parts(rest, k)
        rest = max(boundary(rest, p, i + 1) - boundary(rest, p, i) for i in range(p))
        rounds += 1
    assert k ** (rounds - 1) < length <= k**rounds


@pytest.mark.parametrize("k", [2, 3, 4, 5, 16, 17, 32, 64])
def test_every_segment_opens_to_the_states_at_its_ends(k: int) -> None:
    post = states(k - 1)
    root = commit(post, 1000, k)
    known = [LO, *post, HI]
    for j in range(k):
        assert ends(LO, HI, k, j, opening(post, j)) == (known[j], known[j + 1], root)


@pytest.mark.parametrize("k", range(2, 65))
def test_an_opening_brings_nothing_that_follows_from_the_rest(k: int) -> None:
    """Two neighbours share all but the levels on which they have different parents."""
    post = states(k - 1)
    for j in range(k):
        if j in (0, k - 1):
            expected = 1 + depth(k - 1)
        else:
            apart = (j - 1 ^ j).bit_length() - 1
            expected = 2 + 2 * apart + depth(k - 1) - apart - 1
        assert len(opening(post, j)) == opening_length(k, j) == expected
        if k < 20:
            assert len(set(opening(post, j)) - {ZERO_WORD}) == len([w for w in opening(post, j) if w != ZERO_WORD])


@pytest.mark.parametrize("k", [2, 3, 4, 5, 7, 16, 64])
def test_an_opening_with_anything_changed_gives_another_root(k: int) -> None:
    post = states(k - 1)
    root = commit(post, 1000, k)
    for j in range(k):
        words = opening(post, j)
        for i in range(len(words)):
            changed = (*words[:i], keccak256(words[i]), *words[i + 1 :])
            assert ends(LO, HI, k, j, changed)[2] != root
        for other in (words[:-1], (*words, ZERO_WORD), (*words[:-1], words[-1][:-1])):
            with pytest.raises(RuleError, match="WrongLength"):
                ends(LO, HI, k, j, other)


@pytest.mark.parametrize("k", [3, 4, 8, 13, 64])
def test_an_opening_of_another_segment_is_refused_or_says_the_same(k: int) -> None:
    """Of two states both are known at once, whichever segment is meant."""
    post = states(k - 1)
    root = commit(post, 1000, k)
    known = [LO, *post, HI]
    for j in range(k):
        for other in set(range(k)) - {j}:
            words = opening(post, other)
            if len(words) == opening_length(k, j):
                lo, hi, opened = ends(LO, HI, k, j, words)
                assert opened != root or (lo, hi) == (known[j], known[j + 1])


def test_the_padding_cannot_be_opened_as_a_state() -> None:
    """Three states make a tree of four leaves; the fourth lies beyond every segment's ends."""
    post = states(3)
    assert len(opening(post, 3)) == 1 + depth(3)
    assert ends(LO, HI, 4, 3, opening([*post, ZERO_WORD], 3)) == (post[2], HI, commit(post, 4, 4))


def test_what_the_chain_keeps_of_a_range() -> None:
    assert range_hash(LO, HI) == keccak256(LO + HI)
    assert range_hash(LO, HI, ZERO_WORD) == keccak256(LO + HI + ZERO_WORD)


def test_small_posts() -> None:
    assert commit([], 1, 5) == ZERO_WORD
    assert commit([LO], 2, 5) == LO
    assert commit([LO, HI], 3, 5) == keccak256(LO + HI)
    assert commit([LO, HI, LO], 4, 5) == keccak256(keccak256(LO + HI) + keccak256(LO + ZERO_WORD))
    assert [depth(count) for count in (0, 1, 2, 3, 4, 5, 63)] == [0, 0, 1, 2, 2, 3, 6]


@pytest.mark.parametrize(("count", "length", "k"), [(1, 1, 4), (0, 2, 4), (2, 2, 4), (2, 9, 4), (4, 9, 4)])
def test_posts_of_the_wrong_length_are_refused(count: int, length: int, k: int) -> None:
    with pytest.raises(RuleError, match="WrongLength"):
        commit(states(count), length, k)
    with pytest.raises(RuleError, match="WrongLength"):
        commit([state[:-1] for state in states(parts(length, k) - 1)] or [LO], length, k)
