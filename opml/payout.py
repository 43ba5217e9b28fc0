"""All that an account has won, whatever became of the process that won it: found in the events, and paid out."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opml.chain.client import OpmlClient
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


def pay_out(client: OpmlClient, account: Any, party: str | None = None) -> Payout:
    """Makes the party's claims final whose time has come, and pays it all that the contract holds for it.

    `party` is whose, if the account is only its delegate. Nothing is sent where there is nothing to be paid. Raises
    ChainError, and DisputeError where the account is no delegate.
    """
    party = party_of(client, account, party)
    claims, games = client.due(party)
    receipts = []
    for first in range(0, max(len(claims), len(games)), BATCH):
        batch = slice(first, first + BATCH)
        receipts.append(client.withdraw(party, claims[batch], games[batch], account))
    if not receipts and client.credit(party):
        receipts.append(client.withdraw(party, [], [], account))
    return Payout(party, sum(map(client.paid, receipts)), claims, games, receipts)
