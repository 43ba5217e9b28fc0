"""How much gas a transaction may use."""

from typing import TYPE_CHECKING, Any, Final

from opml.chain.hexa import from_quantity, quantity
from opml.chain.records import TRANSACTION_GAS
from opml.errors import ChainError, RevertError, UnreachableError

if TYPE_CHECKING:
    from opml.chain.base import Chain

# What two storage slots cost more to write if they are empty (EIP-2929).
EMPTIED: Final = 2 * 17_100
_TRANSFER: Final = 21_000
_TOO_MUCH = ("out of gas", "outofgas", "exceeds allowance", "exceeds block gas limit", "gas limit too high")


def gas_limit(chain: "Chain", message: dict[str, Any], block_gas: int) -> int:
    """The node's estimate with a margin: when it is mined, slots that it writes may have become empty.

    Never more than a block has (`block_gas`), and EIP-7825 allows a transaction. Raises RevertError where it would
    revert; `out of gas` where it needs more than that.
    """
    allowed = min(TRANSACTION_GAS, block_gas)
    try:
        needed = _estimate(chain, message | {"gas": quantity(allowed)})
    except ChainError as error:
        if any(words in error.message.lower() for words in _TOO_MUCH):
            raise too_much(allowed) from error
        raise
    if needed > allowed:
        raise too_much(allowed)
    return needed if needed <= _TRANSFER else min(needed * 6 // 5 + EMPTIED, allowed)


def check_gas(gas: int | None) -> None:
    """Raises ChainError for a limit that no transaction may have."""
    if gas is not None and gas > TRANSACTION_GAS:
        raise ChainError(f"a transaction may use {TRANSACTION_GAS:,} gas at most (EIP-7825), not {gas:,}")


def too_much(allowed: int = TRANSACTION_GAS) -> RevertError:
    """The error of a transaction that does not fit."""
    return RevertError(
        "out of gas",
        f"it needs more than {allowed:,} gas, the most that a transaction may use here",
        "no transaction of Ethereum may use more than 16,777,216 gas (EIP-7825)",
    )


def try_call(chain: "Chain", message: dict[str, Any]) -> None:
    """Raises RevertError where a transaction would revert now."""
    _on_newest_state(chain, "eth_call", message)


def _estimate(chain: "Chain", message: dict[str, Any]) -> int:
    return from_quantity(_on_newest_state(chain, "eth_estimateGas", message))


def _on_newest_state(chain: "Chain", method: str, message: dict[str, Any]) -> Any:
    """After the transactions that wait, ours among them, and at the next block's time."""
    try:
        return chain.request(method, message, "pending")
    except (RevertError, UnreachableError):
        raise
    except ChainError:
        # There are nodes without a pending block.
        return chain.request(method, message, "latest")
