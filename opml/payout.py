"""All that an account has won, whatever became of the process that won it: found in the events, and paid out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opml.chain.client import OpmlClient
from opml.chain.ledger import Ledger
from opml.dispute.player import collectable, should_finalise
from opml.prover import party_of

if TYPE_CHECKING:
    from opml.chain.base import Receipt

# Claims and games in one transaction: far below the gas that one may use.
BATCH = 50


@dataclass(frozen=True)
class Payout:
    """What was paid, in wei: for which claims, which became final, and for which games, in how many transactions."""

    party: str
    amount: int
    claims: list[bytes]
    games: list[bytes]
    receipts: list["Receipt"]


def due(ledger: Ledger, party: str, now: int) -> tuple[list[bytes], list[bytes]]:
    """Ids of the party's claims that can become final now, and of the games whose winnings it can collect."""
    claims = [c.claim_id for c in ledger.claims.values() if c.prover == party and should_finalise(c, now)]
    games = [
        game_id
        for claim in ledger.claims.values()
        for game_id in collectable(claim, ledger.claim_games(claim.claim_id), party)
    ]
    return claims, games


def pay_out(client: OpmlClient, account: Any, party: str | None = None) -> Payout:
    """Makes the party's claims final whose time has come, and pays it all that the contract holds for it.

    `party` is whose, if the account is only its delegate. Nothing is sent where there is nothing to be paid. Raises
    ChainError, and DisputeError where the account is no delegate.
    """
    party = party_of(client, account, party)
    ledger = client.ledger()
    ledger.apply(client.entries())
    claims, games = due(ledger, party, client.now())
    receipts = []
    for first in range(0, max(len(claims), len(games)), BATCH):
        batch = slice(first, first + BATCH)
        receipts.append(client.withdraw(party, claims[batch], games[batch], account))
    if not receipts and client.credit(party):
        receipts.append(client.withdraw(party, [], [], account))
    return Payout(party, sum(map(client.paid, receipts)), claims, games, receipts)
