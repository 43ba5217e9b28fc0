"""One place that turns a node's refusal into opml's errors, whatever the node's dialect."""

from collections.abc import Iterable, Mapping
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final

from opml.chain.abi import Abi, known_abis
from opml.chain.hexa import from_hex, from_quantity, quantity, to_hex
from opml.errors import ChainError, RevertError

if TYPE_CHECKING:
    from opml.chain.base import Chain

_ERROR = bytes.fromhex("08c379a0")  # Error(string)
_PANIC = bytes.fromhex("4e487b71")  # Panic(uint256)
_REVERT_WORDS = ("revert", "vm exception", "invalid opcode", "out of gas")

# What a person can do about the refusals that are not a program's mistake.
HINTS: Final = {
    "UnknownModel": "publish it first, with `opml prove` or `opml market publish`; another --window, --clock or --dim"
    " makes another model id",
    "UnknownClaim": "check the claim's id, and that contract and chain are the right ones",
    "UnknownGame": "check the game's id, and that contract and chain are the right ones",
    "ClaimExists": "the same claim was posted before: use another nonce",
    "GameExists": "the same challenge was made before: use another salt",
    "BadInputPath": "the model's input region is not empty: the image was not made by `opml compile`",
    "ClockExpired": "the time for this side's moves is used up",
    "ClockRunning": "the other side still has time to move",
    "StaleMove": "the game has moved on: look at it again",
    "WindowClosed": "the time in which the claim could be challenged is over",
    "WindowOpen": "wait until the claim's deadline has passed",
    "GamesOpen": "a game against the claim is still being played",
    "NothingToWithdraw": "the contract owes this account nothing (yet)",
    "AlreadyPublished": "this account has published the model before, and a royalty is for good",
    "NotPublished": "the registrant has not published this model: name who has, or leave --registrant out",
    "BadTerms": "the deadline has to be in the future, the lowest price at most the highest, and not 0x0 be refunded",
    "RequestClosed": "the request has been delivered or refunded already: look at it with `opml market list`",
    "TooEarly": "a request is given back once its deadline has passed: `opml market list` shows it",
}


class Refusal(Enum):
    """Why a node does not take a transaction now, although it may take it later, or at another price or nonce."""

    KNOWN = auto()
    NONCE_LOW = auto()
    NONCE_HIGH = auto()
    OUTBID = auto()
    FEE_LOW = auto()
    POOL_FULL = auto()
    NO_ANSWER = auto()


# geth, Erigon, Nethermind, Besu, reth, anvil and Hardhat, in lower case. The first line that fits decides.
_REFUSALS: Final = (
    (Refusal.KNOWN, ("already known", "known transaction", "already imported", "alreadyknown", "already exists")),
    (Refusal.OUTBID, ("replacement", "could not replace")),
    (Refusal.NONCE_LOW, ("nonce too low", "nonce is too low", "invalid nonce", "oldnonce", "old nonce")),
    (Refusal.NONCE_HIGH, ("nonce too high", "nonce is too high", "nonce gap", "noncegap", "nonce too distant")),
    (
        Refusal.FEE_LOW,
        ("underpriced", "base fee", "basefee", "feetoolow", "fee too low", "feecap", "fee cap less", "gas price below"),
    ),
    (
        Refusal.POOL_FULL,
        ("pool is full", "txpool full", "queue limit", "limit exceeded for", "transaction limit reached"),
    ),
)


def refusal_kind(error: ChainError) -> Refusal | None:
    """What a refusal to take a signed transaction means; None where waiting and paying do not help."""
    if isinstance(error, RevertError):
        return None
    words = error.message.lower()
    return next((kind for kind, texts in _REFUSALS if any(text in words for text in texts)), None)


def mined_revert(
    chain: "Chain", message: Mapping[str, Any], receipt: Mapping[str, Any], gas: int | None
) -> RevertError:
    """Why a mined transaction failed: the same call again on the state it met (or nearly: that of the block before)."""
    if from_quantity(receipt["gasUsed"]) == gas:
        return RevertError("out of gas", f"the transaction ran out of gas ({gas})")
    try:
        chain.request("eth_call", message, quantity(from_quantity(receipt["blockNumber"]) - 1))
    except RevertError as error:
        return error
    except ChainError:
        pass
    return RevertError("reverted", f"transaction {receipt['transactionHash']} reverted; its reason is not known")


def revert_error(data: bytes, abis: Iterable[Abi] | None = None) -> RevertError:
    """The error in revert data: `reason` is the custom error's name, a `require`'s text, `Panic(0x…)` or `reverted`.

    `abis` are searched for the name; by default those of all contracts of this package.
    """
    for abi in known_abis() if abis is None else abis:
        error = abi.decode_error(data)
        if error is not None:
            args = ", ".join(f"{name}={_show(value)}" for name, value in error.args.items())
            return RevertError(error.name, f"the contract refused: {error.name}({args})", HINTS.get(error.name))
    if data[:4] == _ERROR:
        text = _string(data[4:])
        if text is not None:
            return RevertError(text)
    if data[:4] == _PANIC and len(data) == 36:
        return RevertError(f"Panic({hex(int.from_bytes(data[4:], 'big'))})")
    if data:
        return RevertError(to_hex(data[:4]), f"the contract refused with an unknown error: {to_hex(data[:68])}")
    return RevertError("reverted", "the contract refused without a reason")


def node_error(error: Any, abis: Iterable[Abi] | None = None) -> ChainError:
    """The error member of a JSON-RPC answer: a RevertError where it is one, else a ChainError with the node's words."""
    if not isinstance(error, dict):
        return ChainError(f"the node refused: {error}")
    message = str(error.get("message", "no message"))
    reverted = error.get("code") == 3 or any(word in message.lower() for word in _REVERT_WORDS)
    data = _find_data(error.get("data"))
    if data is not None and (reverted or len(data) >= 4):
        return revert_error(data, abis)
    if reverted:
        return RevertError("reverted", f"the contract refused: {message}")
    return ChainError(f"the node refused: {message}", _hint(message.lower()))


def _find_data(data: Any) -> bytes | None:
    """Revert data: a string (geth, anvil), one after a word (Nethermind), or within an object (Hardhat, Ganache)."""
    if isinstance(data, dict):
        found = (_find_data(value) for key, value in data.items() if key not in ("txHash", "transactionHash", "hash"))
        return next((item for item in found if item is not None), None)
    if not isinstance(data, str) or "0x" not in data:
        return None
    try:
        return from_hex(data[data.index("0x") :])
    except ValueError:
        return None


def _hint(message: str) -> str | None:
    if "insufficient funds" in message:
        return "send some ether to the account; on a devnet use one of its accounts"
    if "chain id" in message or "chainid" in message:
        return "the transaction was signed for another chain"
    return None


def _string(data: bytes) -> str | None:
    if len(data) < 64:
        return None
    size = int.from_bytes(data[32:64], "big")
    return data[64 : 64 + size].decode(errors="replace") if 64 + size <= len(data) else None


def _show(value: Any) -> str:
    return to_hex(value) if isinstance(value, bytes) else str(value)
