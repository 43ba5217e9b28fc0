"""Everybody at once on the real contract, in any order: claims, games, delegates, garbage, time, money.

The referee is the model: the twin compares every transaction and what it changed. The invariants here need neither the
one nor the other's state: they follow from the contract's events.
"""

from collections import Counter
from typing import Any

import pytest
from dispute_referee import Account
from dispute_toy import CLOCK, INPUT, WINDOW, ToyTrace
from game_catalogue import CATALOGUE
from game_twin import Twin, account
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opml.dispute.game import PLAYING, Claim, ClaimStatus, ClaimView, GameKey, GameView, Range, Role, Stage
from opml.dispute.liars import FalseTrace, Spot
from opml.dispute.moves import Timeout
from opml.dispute.player import Player, player
from vm.keccak import keccak256

PEOPLE = [account(name) for name in ("ann", "bob", "cat", "dan")]
STRANGER = account("stranger")
ANYBODY = st.sampled_from(PEOPLE)
ANY = st.integers(0, 99)  # one of the claims or games that there are
LIE = st.one_of(st.none(), st.sampled_from(list(CATALOGUE)))
SPOT = st.integers(0, 24)
WORD = st.binary(min_size=32, max_size=32)
ONCE = {
    *("Claimed", "ClaimRejected", "ClaimSettled", "ClaimFinalised"),
    *("Challenged", "Opened", "Entered", "Stepped", "TimedOut", "GameEnded", "Collected"),
}
# Within a range a game goes from POST to CHOOSE; only a smaller range leads back.
ORDER = {stage: int(stage) for stage in Stage} | {Stage.POST: 2, Stage.CHOOSE: 3, Stage.CHALLENGER_WON: 6}


class Town(RuleBasedStateMachine):
    """Honest players are never late; whoever else may do anything, and does."""

    @initialize(
        size=st.tuples(st.integers(1, 5), st.integers(1, 5), st.sampled_from([2, 3, 4, 64])),
        bonds=st.tuples(st.integers(1, 10**18), st.integers(1, 10**17)),
        lies=st.lists(LIE, min_size=4, max_size=4),
        at=SPOT,
    )
    def begin(self, size: tuple[int, int, int], bonds: tuple[int, int], lies: list[str | None], at: int) -> None:
        tiles, steps, k = size
        self.truth, self.bonds = ToyTrace(tiles, steps, vary=2), bonds
        self.twin = Twin(self.truth, k, bonds, PEOPLE)
        self.court = self.twin.referee
        self.claims: list[bytes] = []
        self.games: list[bytes] = []
        self.provers: dict[bytes, Player] = {}
        self.true_claims: set[bytes] = set()
        self.players: dict[bytes, dict[Role, Player]] = {}
        self.honest: dict[bytes, set[Role]] = {}
        self.number = 0
        self.made: list[tuple[str, tuple[Any, ...]]] = []
        self.seen: dict[bytes, tuple[tuple[int, ...], tuple[int, ...]]] = {}
        for i, lie in enumerate(lies):
            self.claim(PEOPLE[i % 2], lie, at, posted=True)
            self.challenge(i, PEOPLE[2 + i // 2], lies[i - 1], at)

    def a_claim(self, i: int) -> ClaimView:
        return self.court.claim_view(self.claims[i % len(self.claims)])

    def a_game(self, i: int) -> GameView:
        return self.court.game_view(self.games[i % len(self.games)])

    def spot(self, at: int) -> Spot:
        return Spot(at % self.truth.tiles, at % self.truth.steps)

    # Claims and games

    @rule(who=ANYBODY, lie=LIE, at=SPOT, posted=st.booleans())
    def claim(self, who: Account, lie: str | None, at: int, posted: bool) -> None:
        self.number += 1
        root = FalseTrace(self.truth, self.spot(at)).output_root if lie else self.truth.output_root
        if posted:
            assert not self.twin.send(who, "claim", self.twin.model_id, INPUT, root, self.number)
        else:
            args = (self.twin.model_id, self.truth.input_root, root, self.number, "https://example.org/input")
            assert not self.twin.send(who, "claim_by_root", *args)
        *_, claim_id = self.court.ledger.claims
        self.claims.append(claim_id)
        liar = CATALOGUE[lie].player(self.truth, Role.PROVER, self.spot(at)) if lie else None
        self.provers[claim_id] = liar or player(self.truth, Role.PROVER)
        self.true_claims |= set() if lie else {claim_id}

    @rule(i=ANY, who=ANYBODY)
    def say_the_same(self, i: int, who: Account) -> None:
        """A claim in the words of another is the speaker's own; said twice by one, it is refused."""
        claim, before = self.a_claim(i), len(self.court.ledger.claims)
        reason = self.twin.send(who, "claim", claim.model_id, INPUT, claim.output_root, claim.nonce)
        *_, claim_id = self.court.ledger.claims
        if len(self.court.ledger.claims) == before:
            assert reason == "ClaimExists"
            return
        assert self.court.claim_view(claim_id).prover == who.address
        self.claims.append(claim_id)
        self.provers[claim_id] = lambda view, now: None

    @rule(i=ANY, who=ANYBODY, lie=LIE, at=SPOT)
    def challenge(self, i: int, who: Account, lie: str | None, at: int) -> None:
        self.number += 1
        claim = self.a_claim(i)
        reason = self.twin.send(who, "challenge", claim.claim, self.number)
        if reason:
            assert reason == ("WindowClosed" if claim.status is ClaimStatus.PENDING else "WrongStage")
            return
        game_id = GameKey(claim.claim_id, who.address, self.number).id
        true = claim.claim_id in self.true_claims
        liar = CATALOGUE[lie or "wrong-from"].player(self.truth, Role.CHALLENGER, self.spot(at))
        honest = not lie and not true
        self.games.append(game_id)
        self.players[game_id] = {
            Role.PROVER: self.provers[claim.claim_id],
            Role.CHALLENGER: player(self.truth, Role.CHALLENGER) if honest else liar,
        }
        self.honest[game_id] = ({Role.PROVER} if true else set()) | ({Role.CHALLENGER} if honest else set())

    @rule(who=ANYBODY, i=ANY, value=st.integers(0, 2 * 10**18))
    def pay_a_wrong_bond(self, who: Account, i: int, value: int) -> None:
        if value != self.bonds[0]:
            args = (self.twin.model_id, INPUT, self.truth.output_root, 0)
            assert self.twin.send(who, "claim", *args, value=value) == "WrongBond"
        if value != self.bonds[1]:
            assert self.twin.send(who, "challenge", self.a_claim(i).claim, 0, value=value) == "WrongBond"

    # Moves

    @rule(i=ANY, turns=st.integers(1, 20), through=st.booleans())
    def move(self, i: int, turns: int, through: bool) -> None:
        """The game's players; through a delegate, if they have one."""
        for _ in range(turns):
            view = self.a_game(i)
            for role, who in self.players[view.game_id].items():
                move = who(view, self.court.now())
                if move is None:
                    continue
                reason = self.twin.move(view.game_id, move, self.sender(view.party(role), through))
                assert not reason or role not in self.honest[view.game_id]
                if not reason:
                    self.made.append((move.method, move.args(view.key, self.court.ledger.terms[view.claim_id])))
                    break

    @rule()
    def move_in_all_games(self) -> None:
        for i in range(len(self.games)):
            self.move(i, 1, False)

    def sender(self, party: str, through: bool) -> Account:
        delegates = sorted(delegate for who, delegate in self.court.ledger.delegates if who == party)
        return Account(delegates[0] if through and delegates else party)

    @precondition(lambda self: self.made)
    @rule(i=ANY, who=ANYBODY)
    def replay(self, i: int, who: Account) -> None:
        """A move is made once, whoever sends it again."""
        method, args = self.made[i % len(self.made)]
        assert self.twin.send(who, method, *args)

    @precondition(lambda self: self.made)
    @rule(i=ANY, j=ANY)
    def transplant(self, i: int, j: int) -> None:
        """A move of one game in another: whoever is no party of that can at most end it, and then by its rules."""
        (method, (key, *rest)), view = self.made[i % len(self.made)], self.a_game(j)
        if key != view.key:
            assert self.twin.send(STRANGER, method, view.key, *rest) or method in ("step", "timeout")

    @rule(i=ANY, who=ANYBODY, words=st.lists(WORD, max_size=4), number=st.integers(0, 2**64 - 1), data=st.binary())
    def garbage(self, i: int, who: Account, words: list[bytes], number: int, data: bytes) -> None:
        """Random bytes change nothing, in a game that there is or in none, about its claim or another."""
        view, root = self.a_game(i), keccak256(data)
        key = GameKey(root, who.address, number) if number % 5 == 0 else view.key
        nothing = Claim(root, root, root, PEOPLE[0].address, number, True)
        claim = self.court.ledger.terms[view.claim_id] if number % 2 else nothing
        place = view.range if number % 3 else Range(number, 1 + number % 9, root, root)
        moves: list[tuple[str, tuple[Any, ...]]] = [
            ("open", (claim, data, root, data, words)),
            ("choose", (place, number % 66, [*words, root])),
            ("enter", (claim, place, number, data, root, words)),
            ("step", (root, data)),
        ]
        if view.stage is not Stage.POST:  # there, any words of the right number are a post
            moves.append(("post", (place, words)))
        for method, args in moves:
            assert self.twin.send(who, method, key, *args)

    @rule(party=ANYBODY, delegate=ANYBODY, allowed=st.booleans())
    def delegate(self, party: Account, delegate: Account, allowed: bool) -> None:
        assert not self.twin.send(party, "set_delegate", delegate.address, allowed)

    # Time

    @rule(seconds=st.sampled_from([1, 10, CLOCK - 1]))
    def wait(self, seconds: int) -> None:
        self.answer()
        self.twin.advance(seconds)

    @rule(i=ANY, beyond=st.integers(0, 1))
    def wait_for_the_last_second(self, i: int, beyond: int) -> None:
        """Or for the one after it."""
        self.answer()
        view = self.a_game(i)
        if view.turn and view.time_left(self.court.now()) >= 0:
            self.twin.advance(view.time_left(self.court.now()) + beyond)

    @rule(i=ANY, beyond=st.integers(0, 1))
    def wait_for_the_deadline(self, i: int, beyond: int) -> None:
        self.answer()
        left = self.a_claim(i).deadline - self.court.now()
        if left >= 0:
            self.twin.advance(left + beyond)

    def answer(self) -> None:
        """Honest players move before time passes; where the range is one tile or one instruction, twice running."""
        for game, roles in self.honest.items():
            for role in roles:
                while move := self.players[game][role](self.court.game_view(game), self.court.now()):
                    assert not self.twin.move(game, move, Account(self.court.game_view(game).party(role)))

    @rule(i=ANY, who=ANYBODY)
    def time_out(self, i: int, who: Account) -> None:
        view = self.a_game(i)
        late = view.stage in PLAYING and view.time_left(self.court.now()) < 0
        assert (self.twin.move(view.game_id, Timeout(), who) == "") is late

    # Money

    @rule(i=ANY, who=ANYBODY)
    def finalise(self, i: int, who: Account) -> None:
        claim = self.a_claim(i)
        ready = claim.status is ClaimStatus.PENDING and self.court.now() > claim.deadline and not claim.open_games
        assert (self.twin.send(who, "finalise", claim.claim_id) == "") is ready

    @rule(party=ANYBODY, who=ANYBODY)
    def withdraw_what_is_owed(self, party: Account, who: Account) -> None:
        keys = [self.court.ledger.keys[game] for game in self.games if self.court.winnings(game)[0] == party.address]
        amount = self.court.credit(party.address) + sum(self.court.winnings(key.id)[1] for key in keys)
        allowed = who == party or (party.address, who.address) in self.court.ledger.delegates
        reason = self.twin.send(who, "withdraw", party.address, [], keys)
        assert reason == ("" if allowed and amount else "NothingToWithdraw" if allowed else "NotAllowed")

    @rule(party=ANYBODY, who=ANYBODY, claims=st.lists(ANY, max_size=2), games=st.lists(ANY, max_size=3))
    def withdraw_whatever(self, party: Account, who: Account, claims: list[int], games: list[int]) -> None:
        chosen = [self.a_claim(i).claim_id for i in claims]
        self.twin.send(who, "withdraw", party.address, chosen, [self.a_game(i).key for i in games])

    # What follows from the events

    def events(self, name: str) -> list[dict[str, Any]]:
        return [args for event, args in self.court.events if event == name]

    @invariant()
    def it_holds_what_the_events_say_that_it_owes(self) -> None:
        claims, games = self.events("Claimed"), self.events("Challenged")
        settled = {args["claimId"]: args for args in self.events("ClaimSettled")}
        final = len(self.events("ClaimFinalised"))
        collected = {args["gameId"] for args in self.events("Collected")}
        lost = {args["gameId"]: args["claimId"] for args in self.events("GameEnded") if not args["proverWon"]}
        out = sum(args["amount"] for args in self.events("Withdrawn"))
        credit = self.bonds[0] * final + sum(args["amount"] for args in self.events("Collected")) - out
        bonds = self.bonds[0] * (len(claims) - len(settled) - final) + self.bonds[1] * (len(games) - len(collected))
        shares = sum(settled[c]["share"] for game, c in lost.items() if c in settled and game not in collected)
        burnt = sum(args["burnt"] for args in settled.values())
        balance = self.twin.evm.balance(self.twin.contract)
        assert balance == self.bonds[0] * len(claims) + self.bonds[1] * len(games) - out
        assert balance == bonds + shares + burnt + credit
        assert credit == sum(self.court.credit(who.address) for who in PEOPLE)
        assert all(2 * args["burnt"] >= self.bonds[0] for args in settled.values())

    @invariant()
    def what_happens_once_happens_once(self) -> None:
        happened: Counter[tuple[str, bytes]] = Counter()
        for name, args in self.court.events:
            if name in ONCE:
                happened[name, args.get("gameId", args.get("claimId"))] += 1
            if name in ("ClaimFinalised", "ClaimRejected"):
                happened["end", args["claimId"]] += 1
        assert set(happened.values()) == {1}

    @invariant()
    def a_game_only_goes_forward(self) -> None:
        """Clocks run down, time passes, and every move leaves a smaller range, or the next phase, or the end."""
        for game in self.games:
            view = self.court.game_view(game)
            clocks = (view.prover_clock, view.challenger_clock, -view.last_move)
            place = (view.phase, -view.length if view.length else -(2**64), ORDER[view.stage])
            old_clocks, old_place = self.seen.get(game, (clocks, place))
            assert all(now <= then for now, then in zip(clocks, old_clocks, strict=True))
            assert place >= old_place
            self.seen[game] = clocks, place

    @invariant()
    def honest_players_have_not_lost(self) -> None:
        for game, roles in self.honest.items():
            winner = self.court.game_view(game).winner
            assert winner is None or not roles or winner in roles

    def teardown(self) -> None:
        """Whatever has happened: every game can be ended, every claim settled, and everybody be paid."""
        if not hasattr(self, "twin"):
            return
        self.answer()
        self.twin.advance(WINDOW + 2 * CLOCK)
        for game in self.games:
            if self.court.game_view(game).turn:
                assert not self.twin.move(game, Timeout(), STRANGER)
        for claim in self.claims:
            if self.court.claim_view(claim).status is ClaimStatus.PENDING:
                assert not self.twin.send(STRANGER, "finalise", claim)
        for who in PEOPLE:
            self.withdraw_what_is_owed(who, who)
        self.what_happens_once_happens_once()
        self.honest_players_have_not_lost()
        self.it_holds_what_the_events_say_that_it_owes()
        burnt = sum(args["burnt"] for args in self.events("ClaimSettled"))
        assert self.twin.evm.balance(self.twin.contract) == burnt


SETTINGS = settings(deadline=None, suppress_health_check=list(HealthCheck))
Town.TestCase.settings = settings(SETTINGS, max_examples=12, stateful_step_count=25)
TestTown = Town.TestCase


class City(Town):
    """The same, larger and for longer."""


City.TestCase.settings = settings(SETTINGS, max_examples=60, stateful_step_count=60)
TestCity = pytest.mark.slow(City.TestCase)
