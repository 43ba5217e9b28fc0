"""What a command needs of a market: the chain, the market on it, and the account that signs."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from opml.chain import Chain, connect
from opml.chain.accounts import load_account
from opml.chain.deploy import dev_market
from opml.chain.market import MarketClient
from opml.cli.options import max_fee
from opml.cli.session import parse_place
from opml.errors import ChainError


@dataclass(frozen=True)
class MarketSession:
    """A chain, the market there, and where the key is."""

    chain: Chain
    market: MarketClient
    _keystore: Path | None
    _key_env: str

    def account(self) -> Any:
        """The account that signs."""
        return load_account(self._keystore, self._key_env)


def open_market(rpc: str, place: str | None, keystore: Path | None = None, key_env: str = "") -> MarketSession:
    """The chain at `rpc` and the market there. Raises ChainError where either is not to be found."""
    chain = connect(rpc, max_fee=max_fee())
    named, first = parse_place("--market", place, chain)
    address = named or dev_market(chain)
    if address is None:
        raise ChainError(
            f"chain {chain.chain_id} has no market where a devnet has it",
            "name it with --market, or deploy one: `opml deploy --rpc URL --market`",
        )
    return MarketSession(chain, MarketClient(chain, address, first), keystore, key_env)


def market_option(function: Any) -> Any:
    return click.option(
        "--market",
        metavar="ADDRESS[@BLOCK]",
        help="The market, and its first block, before which no event is looked for; on a devnet it is found.",
    )(function)
