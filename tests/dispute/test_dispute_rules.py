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
    parts,
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
        assert ends(root, LO, HI, k, j, opening(post, j)) == (known[j], known[j + 1])


@pytest.mark.parametrize("k", [2, 3, 4, 16, 64])
def test_an_opening_with_anything_changed_is_refused(k: int) -> None:
    post = states(k - 1)
    root = commit(post, 1000, k)
    for j in {0, 1, k // 2, k - 1}:
        words = opening(post, j)
        for i in range(len(words)):
            changed = (*words[:i], keccak256(words[i]), *words[i + 1 :])
            with pytest.raises(RuleError, match="BadOpening"):
                ends(root, LO, HI, k, j, changed)
        for other in (words[:-1], (*words, ZERO_WORD), (*words[:-1], words[-1][:-1])):
            with pytest.raises(RuleError, match="WrongLength"):
                ends(root, LO, HI, k, j, other)


def test_an_opening_of_another_segment_is_refused() -> None:
    post = states(7)
    root = commit(post, 8, 8)
    for j in range(1, 6):
        with pytest.raises(RuleError, match="BadOpening"):
            ends(root, LO, HI, 8, j, opening(post, j + 1))


def test_the_padding_cannot_be_opened_as_a_state() -> None:
    """Three states make a tree of four leaves; the fourth lies beyond every segment's ends."""
    post = states(3)
    assert len(opening(post, 3)) == 1 + depth(3)
    with pytest.raises(RuleError, match="WrongLength"):
        ends(commit(post, 4, 4), LO, HI, 4, 3, opening([*post, ZERO_WORD], 3))


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
