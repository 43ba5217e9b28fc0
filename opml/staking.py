"""How much a prover's daemon may have at stake: what keeps others from having it bond more than it can defend."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

ETHER: Final = 10**18
# What one side can be made to spend in a game (docs/protocol.md: 844,005), and then to deliver and to be paid.
DEFENCE_GAS: Final = 1_100_000
# Prices rise while a claim stands, and whoever attacks a claim chooses when.
DEARER: Final = 5


@dataclass(frozen=True)
class ServeLimits:
    """Wei in bonds at once; wei in bonds lost on this contract, in all, after which none is made (None: one bond)."""

    stake: int = 10 * ETHER
    loss: int | None = None


@dataclass
class Stakes:
    """Whether one more bond may be made, at one look: `out` bonds stand or are under way, `lost` ones are lost.

    `balance` is asked for when it is needed, and then stays: all that was sent since then has to fit into it, too.
    """

    limits: ServeLimits
    bond: int
    gas_price: int
    lost: int
    out: Callable[[], int]
    flying: Callable[[], int]
    balance: Callable[[], int]

    @property
    def reserve(self) -> int:
        """What stays for gas: the whole defence of each claim that stands and of a new one, at a much higher price."""
        return (self.out() + 1) * DEFENCE_GAS * DEARER * self.gas_price

    def refusal(self) -> str | None:
        """What keeps us from one more bond."""
        most = self.bond if self.limits.loss is None else self.limits.loss
        if self.lost * self.bond >= most:
            return "max-loss"
        if (self.out() + 1) * self.bond > self.limits.stake:
            return "max-stake"
        return "balance" if self.balance() < (self.flying() + 1) * self.bond + self.reserve else None
