"""Every liar of the catalogue, wherever it lies, in both roles: the honest side wins, and is paid more than its gas."""

import os
from collections import Counter

import pytest
from game_all import KS, STEPS, TILES, play_all
from game_catalogue import CATALOGUE, Case, cases, play_case, sizes

from opml.dispute.game import Role
from opml.dispute.liars import Spot

SIZES = [(1, 1), (1, 4), (4, 1), (3, 4)]


@pytest.mark.parametrize("name", CATALOGUE)
def test_every_liar_loses_in_both_roles_wherever_it_lies(name: str) -> None:
    played: Counter[Role] = Counter()
    for tiles, steps in SIZES:
        for k in (2, 3):
            for case in cases([name], tiles, steps, k):
                play_case(case)
                played[case.liar] += 1
    assert set(played.values()) == {2 * sum(m * n for m, n in SIZES)}


@pytest.mark.slow
@pytest.mark.parametrize("k", KS)
def test_all_liars_in_all_small_games(k: int) -> None:
    """Every size up to nine tiles of nine instructions; `game_all.py` prints the counts."""
    counts = play_all([(*size, k) for size in sizes(TILES, STEPS)], len(os.sched_getaffinity(0)))[k]
    spots = sum(range(TILES + 1)) * sum(range(STEPS + 1))
    assert counts["games, prover lies"] == counts["games, challenger lies"] == spots * len(CATALOGUE)


def test_the_catalogue_has_at_least_forty_strategies_and_each_says_what_it_is() -> None:
    assert len(CATALOGUE) >= 70
    summaries = [liar.summary for liar in CATALOGUE.values()]
    assert len(set(summaries)) == len(summaries)


REFUSED = {
    "late": {"ClockExpired"},
    "hasty": {"ClockRunning"},
    "again": {"WrongStage"},
    "usurper": {"NotYourTurn"},
    "replay": {"StaleMove"},
    "replay-renamed": {"BadEndState"},
    "true-entry": {"BadEndState"},
    "step-before": {"WrongState"},
    "last-second": set(),
    "slow": set(),
    "all-true": set(),
    "bounce": set(),
    "coin": set(),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_scheme_does_what_its_name_says(name: str) -> None:
    """The refusals that it meets as a prover, and, where there are none, a game to its end if time allows."""
    tally = play_case(Case(name, Role.PROVER, 9, 9, 2, Spot(4, 4)))
    met = {reason for reason in tally if reason[:1].isupper()}
    assert met == REFUSED[name]
    if not met:
        assert tally["prover moves"] >= (3 if name == "slow" else 5)
        assert not tally["timeouts"] or name == "slow"
