"""Courts for games of the real machine, with what a test needs around them: accounts, time, and the books."""

from collections.abc import Callable
from dataclasses import dataclass
from itertools import count
from typing import Any

from dispute_referee import Account, Referee
from dispute_tiny import INPUTS, tiny_header, tiny_trace

from opml.dispute.game import GameView, Role
from opml.dispute.moves import Move, Timeout
from opml.dispute.player import Player
from opml.errors import RevertError

K = 4
NONCES = count(1)


@dataclass
class Bench:
    """`balance`, `burnt` and `owed` (to anybody) are the contract's, in wei; `bonds`: prover's, challenger's."""

    court: Any
    accounts: dict[Role, Any]
    advance: Callable[[int], None]
    balance: Callable[[], int]
    burnt: Callable[[], int]
    owed: Callable[[], int]
    bonds: tuple[int, int]

    def check_books(self) -> None:
        """The contract holds what it owes and what is burnt."""
        assert self.balance() == self.owed() + self.burnt()

    def claim(self, output_root: bytes, one_phase: bool = False) -> bytes:
        trace = tiny_trace(one_phase)
        claim_id, _ = self.court.claim(
            trace.header.model_id,
            INPUTS.tobytes(),
            output_root,
            next(NONCES),
            self.accounts[Role.PROVER],
        )
        view = self.court.claim_view(claim_id)
        assert (view.input, view.input_root) == (INPUTS.tobytes(), trace.memory.input_root)
        return bytes(claim_id)

    def challenge(self, claim_id: bytes) -> bytes:
        return bytes(self.court.challenge(claim_id, 0, self.accounts[Role.CHALLENGER])[0])

    def play_out(self, game_id: bytes, players: dict[Role, Player]) -> tuple[GameView, list[Move], list[str]]:
        """Plays a game to its end; who has no move, or one that is refused, runs out of time. Moves, and refusals."""
        moves: list[Move] = []
        refused: list[str] = []
        while (view := self.court.game_view(game_id)).winner is None:
            for role, player in players.items():
                move = player(view, self.court.now())
                if move is None:
                    continue
                assert not isinstance(move, Timeout) or view.turn is role.other
                try:
                    self.court.move(game_id, move, self.accounts[role])
                    moves.append(move)
                    break
                except RevertError as error:
                    refused.append(error.reason)
                    assert self.court.game_view(game_id) == view
            else:
                self.advance(view.time_left(self.court.now()) + 1)
        return view, moves, refused


def referee_bench(k: int = K) -> Bench:
    court = Referee(k)
    accounts = {Role.PROVER: Account("prover"), Role.CHALLENGER: Account("challenger")}
    for one_phase in (False, True):
        court.register_model(tiny_header(one_phase), "", accounts[Role.PROVER])
    return Bench(
        court,
        accounts,
        court.advance,
        lambda: court.ledger.balance,
        lambda: court.ledger.burnt,
        lambda: court.liabilities() - court.ledger.burnt,
        (court.prover_bond, court.challenger_bond),
    )


def chain_bench(chain: Any, k: int = K) -> Bench:
    from opml.chain.accounts import dev_accounts
    from opml.chain.client import OpmlClient
    from opml.chain.deploy import deploy

    prover, challenger, owner = dev_accounts()[:3]
    bonds = (10**18 + 1, 10**17)
    made = deploy(chain, owner, *bonds, k)
    court = OpmlClient(chain, made.address, made.block)
    for one_phase in (False, True):
        court.register_model(tiny_header(one_phase), "", prover)

    def owed() -> int:
        total = sum(court.credit(account.address) for account in (prover, challenger, owner))
        for claim in court.claims():
            games = [court.game_view(game) for game in court.claim_games(claim.claim_id)]
            total += bonds[1] * sum(not game.collected for game in games)
            if claim.status.name == "PENDING" or (claim.status.name == "REJECTED" and claim.open_games):
                total += bonds[0]
            elif claim.status.name == "REJECTED":
                left = sum(game.winner is Role.CHALLENGER and not game.collected for game in games)
                total += bonds[0] // 2 // claim.lost_games * left
        return total

    return Bench(
        court,
        {Role.PROVER: prover, Role.CHALLENGER: challenger},
        chain.advance,
        court.balance,
        court.burnt,
        owed,
        bonds,
    )
