"""`opml devnet`: a chain for several processes on this computer."""

import sys
from pathlib import Path

import click

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import DEFAULT_K, ensure_dev_contract, ensure_dev_market
from opml.chain.devnet import DEFAULT_PORT, Devnet, serve
from opml.cli.options import console, emit, json_option


@click.command("devnet")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=DEFAULT_PORT, show_default=True, help="0 takes a free one."
)
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path(".opml-devnet"),
    show_default=True,
    help="Folder with the chain; it goes on from there after a restart.",
)
@click.option(
    "-k", type=click.IntRange(2, 64), default=DEFAULT_K, show_default=True, help="Parts per round, if deployed now."
)
@json_option
def command(port: int, data: Path, k: int, as_json: bool) -> None:
    """Serve a local chain over JSON-RPC on 127.0.0.1, with the contracts deployed and ten funded accounts.

    Everybody knows the accounts' keys: never use them for anything of value. Stop with Ctrl-C; nothing is lost.

    \b
    Examples:
      opml devnet
      opml devnet --port 9000 --data /tmp/chain
    """

    def ready(devnet: Devnet) -> None:
        with connect(devnet.url) as chain:
            address, chain_id = ensure_dev_contract(chain, k=k), chain.chain_id
            market = ensure_dev_market(chain)
        accounts = [{"address": a.address, "key": "0x" + bytes(a.key).hex()} for a in dev_accounts()]
        if as_json:
            body = {"url": devnet.url, "chain_id": chain_id, "contract": address, "market": market}
            emit(body | {"accounts": accounts, "data": data})
        else:
            click.echo(f"{devnet.url}  chain {chain_id}  contract {address}  market {market}")
            for account in accounts:
                click.echo(f"  OPML_KEY={account['key']}  # {account['address']}")
            console.print(f"the chain is kept in {data}; Ctrl-C stops")
        sys.stdout.flush()

    try:
        serve(data, port, ready)
    except KeyboardInterrupt:
        console.print("stopped")
