"""What a command needs of a chain: the chain, the contract on it, and the account that signs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opml.chain import Chain, connect
from opml.chain.accounts import KEY_VARIABLE, dev_accounts, load_account
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract, ensure_dev_contract
from opml.chain.hexa import checksum
from opml.cli.options import max_fee
from opml.dispute.keeper import Sleep
from opml.errors import ChainError, InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

# What lists the ids of a kind.
LISTED = {"claim": "opml claims", "request": "opml market list"}


@dataclass(frozen=True)
class Session:
    """A chain, the contract there, how to wait on it if not by sleeping, and whether the chain is ours alone."""

    chain: Chain
    client: OpmlClient
    sleep: Sleep | None
    embedded: bool
    _keystore: Path | None
    _key_env: str

    def account(self) -> "LocalAccount":
        """The account that signs: the keystore's or the variable's; on the embedded chain a development account."""
        if self.embedded and self._keystore is None:
            return dev_accounts()[0]
        return load_account(self._keystore, self._key_env)


def open_session(
    rpc: str | None, contract: str | None, keystore: Path | None = None, key_env: str = KEY_VARIABLE
) -> Session:
    """The chain at `rpc` and the contract there; without a URL a new embedded chain with a new contract.

    Raises ChainError where either is not to be found.
    """
    chain = connect(rpc, max_fee=max_fee())
    if rpc is None:
        address = ensure_dev_contract(chain)

        def skip(seconds: float) -> None:
            """Nobody else can move on an embedded chain: time passes at once."""
            chain.advance(math.ceil(seconds))

        return Session(chain, OpmlClient(chain, address), skip, True, keystore, key_env)
    named, first = parse_place("--contract", contract, chain)
    address_found = named or dev_contract(chain)
    if address_found is None:
        raise ChainError(
            f"chain {chain.chain_id} has no opml contract where a devnet has it",
            "name it with --contract, or deploy one: `opml deploy --rpc URL`",
        )
    return Session(chain, OpmlClient(chain, address_found, first), None, False, keystore, key_env)


def parse_place(option: str, text: str | None, chain: Chain) -> tuple[str | None, int]:
    """A contract's address, None where it is not named, and its first block, before which no event is looked for.

    Without a block, events are searched for from the chain's beginning. Raises InputError.
    """
    named, at, block = (text or "").partition("@")
    problem = None
    if at and not block.isdecimal():
        problem = f"{block!r} is no block number"
    elif at and int(block) > (head := chain.block_number()):
        problem = f"block {int(block)} is beyond the chain's head ({head})"
    try:
        address = checksum(named) if named else None
    except ValueError:
        problem = f"{named!r} is not an address"
    if problem is not None:
        raise InputError(f"{option} {text}: {problem}", "write ADDRESS or ADDRESS@BLOCK")
    return address, int(block or 0)


def parse_id(text: str, what: str = "claim") -> bytes:
    """A 32-byte id from hexadecimal text. Raises InputError where it is none."""
    digits = text.removeprefix("0x")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InputError(
            f"{text!r} is no {what} id", f"an id is 0x and 64 hexadecimal digits; `{LISTED[what]}` lists them"
        )
    return value


def receipt_json(receipt: Any) -> dict[str, Any] | None:
    """What a program wants of a receipt."""
    if receipt is None:
        return None
    return {"tx": receipt.tx_hash, "block": receipt.block, "gas": receipt.gas_used, "cost_wei": receipt.cost}
