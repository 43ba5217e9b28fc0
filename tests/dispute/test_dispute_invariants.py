"""Random play by everybody at once: whatever happens, the contract can pay what it owes, and honest players win."""

from collections.abc import Callable

import pytest
from dispute_referee import Account, Referee
from dispute_toy import INPUT, WINDOW, ToyTrace
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, precondition, rule

from opml.chain.ledger import Ledger
from opml.dispute.game import PLAYING, ClaimStatus, ClaimView, GameView, Range, Role, Stage
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Choose, Enter, Move, Open, Post, Step, Timeout
from opml.dispute.player import Player, collectable, player, should_finalise
from opml.dispute.rules import opening
from opml.errors import RevertError

PEOPLE = [Account(name) for name in ("ann", "bob", "cat", "dan")]
WEALTH = 10**6
ANYBODY = st.sampled_from(PEOPLE)
REFUSALS = {"NotCollectable", "UnknownGame"}
NONSENSE: list[Callable[[GameView], Move]] = [
    lambda view: Open(bytes(5), bytes(32), bytes(5), ()),
    lambda view: Post(Range(0, 1, bytes(32), bytes(32)), ()),
    lambda view: Post(view.range, (bytes(32),) * 64),
    lambda view: Post(view.range._replace(hi=bytes(32)), ()),
    lambda view: Choose(view.range, 0, ()),
    lambda view: Choose(view.range, 64, ()),
    lambda view: Choose(view.range._replace(lo=bytes(32)), 0, opening(view.states or (bytes(32),), 0)),
    lambda view: Enter(view.range, 1, bytes(289), bytes(32), ()),
    lambda view: Step(view.hi, bytes(289)),
    lambda view: Step(bytes(32), bytes(289)),
]


def refusal(call: Callable[[], object]) -> str:
    """The reason for which the court refuses; "" if it does not."""
    try:
        call()
    except RevertError as error:
        return error.reason
    return ""


class Courts(RuleBasedStateMachine):
    """Claims true and false, games of honest players and liars, moves in any order, time that passes, withdrawals."""

    claims = Bundle("claims")
    games = Bundle("games")

    @initialize(
        k=st.integers(2, 6),
        tiles=st.integers(1, 6),
        steps=st.integers(1, 6),
        bonds=st.tuples(st.integers(1, 999), st.integers(1, 999)),
    )
    def begin(self, k: int, tiles: int, steps: int, bonds: tuple[int, int]) -> None:
        self.truth = ToyTrace(tiles, steps, vary=2)
        self.court = Referee(k, *bonds, step=self.truth.verify)
        self.court.register_model(self.truth.header, "", PEOPLE[0])
        for person in PEOPLE:
            self.court.ledger.balances[person.address] = WEALTH
        self.provers: dict[bytes, Player] = {}
        self.players: dict[bytes, dict[Role, Player]] = {}
        self.honest: dict[bytes, set[Role]] = {}
        self.true_claims: set[bytes] = set()
        self.nonce = 0
        self.events = Ledger(k, prover_bond=bonds[0])
        self.taken: list[tuple[int, dict[bytes, GameView], dict[bytes, ClaimView]]] = []

    @rule(target=games, who=ANYBODY, against=ANYBODY, lie=st.sampled_from(list(LIARS)), at=st.integers(0, 30))
    def a_false_claim_is_challenged(self, who: Account, against: Account, lie: str, at: int) -> bytes:
        return self.challenge(self.claim(against, lie, at), who, "", at)

    @rule(target=games, who=ANYBODY, against=ANYBODY, lie=st.sampled_from(list(LIARS)), at=st.integers(0, 30))
    def a_true_claim_is_challenged(self, who: Account, against: Account, lie: str, at: int) -> bytes:
        return self.challenge(self.claim(against, "", at), who, lie, at)

    def spot(self, at: int) -> Spot:
        return Spot(at % self.truth.tiles, at % self.truth.steps)

    @rule(target=claims, who=ANYBODY, lie=st.sampled_from(["", *LIARS]), at=st.integers(0, 30))
    def claim(self, who: Account, lie: str, at: int) -> bytes:
        self.nonce += 1
        trace = LIARS[lie].trace(self.truth, self.spot(at)) if lie else self.truth
        args = (self.truth.header.model_id, INPUT, trace.output_root, self.nonce)
        claim_id, _ = self.court.claim(*args, who)
        liar = LIARS[lie].player(self.truth, Role.PROVER, self.spot(at)) if lie else None
        self.provers[claim_id] = liar or player(self.truth, Role.PROVER)
        if not lie:
            self.true_claims.add(claim_id)
        return claim_id

    @rule(target=games, claim=claims, who=ANYBODY, lie=st.sampled_from(["", "", *LIARS]), at=st.integers(0, 30))
    def challenge(self, claim: bytes, who: Account, lie: str, at: int) -> bytes:
        self.nonce += 1
        view = self.court.claim_view(claim)
        before = set(self.court.claim_games(claim))
        reason = refusal(lambda: self.court.challenge(claim, self.nonce, who))
        if reason:
            assert reason == ("WindowClosed" if view.status is ClaimStatus.PENDING else "WrongStage")
            return b""
        (game_id,) = set(self.court.claim_games(claim)) - before
        true = claim in self.true_claims
        liar = LIARS[lie or "wrong-from"].player(self.truth, Role.CHALLENGER, self.spot(at))
        self.players[game_id] = {
            Role.PROVER: self.provers[claim],
            Role.CHALLENGER: liar if lie or true else player(self.truth, Role.CHALLENGER),
        }
        self.honest[game_id] = ({Role.PROVER} if true else set()) | (set() if lie or true else {Role.CHALLENGER})
        return game_id

    @rule(rounds=st.integers(1, 4))
    def move_in_all_games(self, rounds: int) -> None:
        for game in self.players:
            self.move(game, rounds)

    @rule(game=games, rounds=st.integers(1, 12))
    def move(self, game: bytes, rounds: int) -> None:
        for _ in range(rounds if game else 0):
            view = self.court.game_view(game)
            accounts = self.accounts(game)
            for role, side in self.players[game].items():
                move = side(view, self.court.now())
                if move is not None:
                    reason = refusal(lambda: self.court.move(game, move, accounts[role]))  # noqa: B023
                    assert not reason or role not in self.honest[game]
                    break

    @rule(game=games, kind=st.integers(0, len(NONSENSE) - 1), who=ANYBODY)
    def disturb(self, game: bytes, kind: int, who: Account) -> None:
        """Nonsense from anybody changes nothing."""
        before = self.court.game_view(game)
        with pytest.raises(RevertError):
            self.court.move(game, NONSENSE[kind](before), who)
        assert self.court.game_view(game) == before

    @precondition(lambda self: self.players)
    @rule(seconds=st.sampled_from([1, 10, 60, 101]))
    def wait(self, seconds: int) -> None:
        """Honest players are never late."""
        for game, sides in self.players.items():
            for role in self.honest[game]:
                # Where there is one tile or one instruction, a side is on turn twice running.
                while (move := sides[role](self.court.game_view(game), self.court.now())) is not None:
                    self.court.move(game, move, self.accounts(game)[role])
        self.court.advance(seconds)

    @precondition(lambda self: self.players)
    @rule(claim=claims)
    def pass_the_window(self, claim: bytes) -> None:
        self.wait(1)
        if all(self.court.game_view(game).winner for game in self.players):
            self.court.advance(WINDOW)
        view = self.court.claim_view(claim)
        ready = view.status is ClaimStatus.PENDING and self.court.now() > view.deadline and not view.open_games
        reason = refusal(lambda: self.court.finalise(claim, PEOPLE[0]))
        assert reason in ({""} if ready else {"WrongStage", "WindowOpen", "GamesOpen"})

    @rule(game=games, who=ANYBODY)
    def time_out(self, game: bytes, who: Account) -> None:
        view = self.court.game_view(game)
        late = view.stage in PLAYING and view.time_left(self.court.now()) < 0
        assert late is not bool(refusal(lambda: self.court.move(game, Timeout(), who)))

    @rule(game=games, who=ANYBODY)
    def withdraw(self, game: bytes, who: Account) -> None:
        """Winnings go to the winner, once; his claims become final on the way."""
        view = self.court.game_view(game)
        claim = self.court.claim_view(view.claim_id)
        due = collectable(claim, [view], who.address)
        ready = [view.claim_id] if claim.prover == who.address and should_finalise(claim, self.court.now()) else []
        owed = self.court.credit(who.address) + len(ready) * self.court.prover_bond
        owed += sum(self.court.winnings(won)[1] for won in due)
        before = self.court.ledger.balances[who.address]
        reason = refusal(lambda: self.court.withdraw(who.address, ready, [game], who))
        assert reason in ({""} if due else REFUSALS)
        if due:
            assert self.court.ledger.balances[who.address] == before + owed
        elif self.court.credit(who.address):
            self.court.withdraw(who.address, [], [], who)
        with pytest.raises(RevertError, match="NothingToWithdraw"):
            self.court.withdraw(who.address, [], [], who)

    @rule(back=st.integers(1, 60))
    def blocks_are_taken_back(self, back: int) -> None:
        """The ledger of events is again as it was; the next look brings it up to date."""
        first = max(len(self.court.events) - back, 0)
        self.events.rewind(first)
        for events, games, claims in self.taken:
            if events == first:
                assert (self.events.games, self.events.claims) == (games, claims)
        assert all(block < first for block, _ in self.events.blocks)

    def accounts(self, game: bytes) -> dict[Role, Account]:
        view = self.court.game_view(game)
        prover = self.court.claim_view(view.claim_id).prover
        return {Role.PROVER: Account(prover), Role.CHALLENGER: Account(view.challenger)}

    @invariant()
    def the_contract_holds_what_it_owes(self) -> None:
        if not hasattr(self, "court"):
            return
        ledger = self.court.ledger
        assert ledger.balance == self.court.liabilities()
        assert ledger.balance + sum(ledger.balances.values()) == WEALTH * len(PEOPLE)
        assert min(ledger.credit.values(), default=0) >= 0

    @invariant()
    def events_tell_all_that_the_contract_knows(self) -> None:
        if not hasattr(self, "court"):
            return
        court, events = self.court, self.events
        events.apply(court.entries(events.head[0] + 1 if events.head else 0))
        assert events.games == {game: court.game_view(game) for game in court.ledger.games}
        assert events.claims == {claim: court.claim_view(claim) for claim in court.ledger.claims}
        assert events.burnt == court.ledger.burnt
        assert {name: wei for name, wei in events.credit.items() if wei} == {
            name: wei for name, wei in court.ledger.credit.items() if wei
        }
        assert [game.game_id for game in events.open_games()] == [
            game for game, state in court.ledger.games.items() if state.stage in PLAYING
        ]
        for claim in court.ledger.claims:
            assert [game.game_id for game in events.claim_games(claim)] == court.claim_games(claim)
        self.taken.append((len(court.events), dict(events.games), dict(events.claims)))

    @invariant()
    def honest_players_have_not_lost(self) -> None:
        for game, roles in getattr(self, "honest", {}).items():
            winner = self.court.game_view(game).winner
            assert winner is None or not roles or winner in roles

    @invariant()
    def a_rejected_claim_has_lost_a_game_and_a_final_one_none(self) -> None:
        for claim_id in getattr(self, "provers", {}):
            claim = self.court.claim_view(claim_id)
            games = [self.court.game_view(game) for game in self.court.claim_games(claim_id)]
            lost = sum(game.stage is Stage.CHALLENGER_WON for game in games)
            assert (claim.lost_games, claim.open_games) == (lost, sum(game.stage in PLAYING for game in games))
            assert (claim.status is ClaimStatus.REJECTED) is (lost > 0)
            assert not (claim_id in self.true_claims and lost)


Courts.TestCase.settings = settings(max_examples=25, stateful_step_count=40, deadline=None)
TestCourts = Courts.TestCase
