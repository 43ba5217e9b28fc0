"""Money in the games of these tests: bonds as they are deployed, gas as it is measured, one stated gas price."""

import json
from collections import Counter
from functools import cache
from pathlib import Path

from dispute_referee import Account, Referee

from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_PROVER_BOND

GAS_FILE = Path(__file__).parents[2] / "contracts" / "gas.json"
GWEI = 10**9
# The price at which the bonds must do their work; docs/protocol.md says how they were chosen.
GAS_PRICE = 100 * GWEI


@cache
def gas_of(method: str) -> int:
    """The most gas that a call has been measured to use, whatever the case."""
    cases = json.loads(GAS_FILE.read_text())
    return max(figures[method] for figures in cases.values() if method in figures)


class Purses:
    """What everybody has won or lost before a court, gas included, in wei: the court knows bonds, not gas."""

    def __init__(self, court: Referee) -> None:
        self.court = court
        self.gas: Counter[str] = Counter()

    def spend(self, account: Account, method: str) -> None:
        """The account has sent a transaction."""
        self.gas[account.address] += gas_of(method)

    def profit(self, account: Account) -> int:
        """Nobody has anything at first: a balance is what has come in, less what went out."""
        return self.court.ledger.balances[account.address] - self.gas[account.address] * GAS_PRICE


def money_court(court: Referee) -> Referee:
    """The court with the bonds of a deployed contract."""
    court.prover_bond, court.challenger_bond = DEFAULT_PROVER_BOND, DEFAULT_CHALLENGER_BOND
    return court
