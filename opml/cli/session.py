"""What a command needs of a chain: the chain, the contract on it, and the account that signs."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opml.chain import Chain, connect
from opml.chain.accounts import KEY_VARIABLE, dev_accounts, load_account
from opml.chain.client import OpmlClient
from opml.chain.deploy import dev_contract, ensure_dev_contract
from opml.cli.options import max_fee
from opml.dispute.keeper import Sleep
from opml.errors import ChainError, InputError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


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
    # Without the block of its deployment, the contract's events are searched for from the chain's beginning.
    named, _, block = (contract or "").partition("@")
    if not block.isdecimal() and "@" in (contract or ""):
        raise InputError(f"--contract {contract}: {block!r} is no block number", "write ADDRESS or ADDRESS@BLOCK")
    address_found = named or dev_contract(chain)
    if address_found is None:
        raise ChainError(
            f"chain {chain.chain_id} has no opml contract where a devnet has it",
            "name it with --contract, or deploy one with `opml devnet`",
        )
    return Session(chain, OpmlClient(chain, address_found, int(block or 0)), None, False, keystore, key_env)


def parse_id(text: str, what: str = "claim") -> bytes:
    """A 32-byte id from hexadecimal text. Raises InputError where it is none."""
    digits = text.removeprefix("0x")
    try:
        value = bytes.fromhex(digits)
    except ValueError:
        value = b""
    if len(value) != 32:
        raise InputError(f"{text!r} is no {what} id", "an id is 0x and 64 hexadecimal digits; `opml claims` lists them")
    return value


def receipt_json(receipt: Any) -> dict[str, Any] | None:
    """What a program wants of a receipt."""
    if receipt is None:
        return None
    return {"tx": receipt.tx_hash, "block": receipt.block, "gas": receipt.gas_used, "cost_wei": receipt.cost}
