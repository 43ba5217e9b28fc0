"""What a transaction offers for gas: the first price, and the higher one of a transaction that replaces it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opml.chain.hexa import from_quantity, quantity
from opml.chain.units import GWEI
from opml.errors import ChainError

if TYPE_CHECKING:
    from opml.chain.base import Chain

DEFAULT_MAX_FEE: Final = 500 * GWEI
_HISTORY: Final = 10


@dataclass(frozen=True)
class Fees:
    """Wei for a unit of gas: at most `limit`, of which `tip` is for the block's maker.

    `tip=None` is a plain gas price, for chains without a base fee.
    """

    limit: int
    tip: int | None

    def fields(self) -> dict[str, int]:
        """The transaction's fields."""
        if self.tip is None:
            return {"gasPrice": self.limit}
        return {"type": 2, "maxFeePerGas": self.limit, "maxPriorityFeePerGas": self.tip}


@dataclass(frozen=True)
class FeePolicy:
    """Twice the base fee and the tip that half of the transactions of the last blocks paid, up to `max_fee`.

    Twice the base fee stays good for six full blocks. `max_fee` is in wei for a unit of gas, tip included: nothing that
    is signed offers more, however long it waits.
    """

    max_fee: int = DEFAULT_MAX_FEE

    def suggest(self, chain: "Chain", head: Mapping[str, Any]) -> Fees:
        """Fees for a transaction that is sent after the block `head`."""
        base_fee = base_fee_of(head)
        if base_fee is None:
            return Fees(min(from_quantity(chain.request("eth_gasPrice")), self.max_fee), None)
        tip = _tip(chain)
        limit = min(2 * base_fee + tip, self.max_fee)
        return Fees(limit, min(tip, limit))

    def raised(self, old: Fees, suggested: Fees) -> Fees | None:
        """Fees that replace `old`: an eighth more of both, which all nodes accept, and no less than is suggested.

        None where `max_fee` does not allow that.
        """
        least = _eighth_more(old.limit)
        if least > self.max_fee:
            return None
        limit = min(max(least, suggested.limit), self.max_fee)
        if old.tip is None:
            return Fees(limit, None)
        return Fees(limit, min(max(_eighth_more(old.tip), suggested.tip or 0), limit))


def base_fee_of(head: Mapping[str, Any]) -> int | None:
    """A block's base fee (EIP-1559); None on chains without."""
    value = head.get("baseFeePerGas")
    return None if value is None else from_quantity(value)


def _eighth_more(fee: int) -> int:
    return max(fee + 1, -(-fee * 9 // 8))


def _tip(chain: "Chain") -> int:
    """The median of the last blocks' median tips; where none was paid, what the node proposes."""
    try:
        rewards = chain.request("eth_feeHistory", quantity(_HISTORY), "latest", [50]).get("reward") or []
        paid = sorted(tip for tip in (from_quantity(reward[0]) for reward in rewards) if tip)
        if paid:
            return paid[len(paid) // 2]
    except (ChainError, ValueError, AttributeError, IndexError, TypeError):
        pass  # not every node keeps a history of fees
    try:
        return from_quantity(chain.request("eth_maxPriorityFeePerGas"))
    except (ChainError, ValueError):
        return GWEI
