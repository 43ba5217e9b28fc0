"""`opml deploy`: the contracts on any chain, with the user's key."""

from pathlib import Path

import click

from opml.chain import connect
from opml.chain.accounts import load_account
from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_K, DEFAULT_PROVER_BOND, create, deploy
from opml.chain.units import ETHER
from opml.cli.numbers import Ether
from opml.cli.options import console, emit, json_option, key_options, max_fee, rpc_option
from opml.errors import InputError

_TOO_MUCH = 2**96


@click.command("deploy")
@rpc_option
@click.option(
    "--prover-bond",
    type=Ether(),
    default=f"{DEFAULT_PROVER_BOND / ETHER:g}",
    show_default=True,
    help="What a claim costs to post.",
)
@click.option(
    "--challenger-bond",
    type=Ether(),
    default=f"{DEFAULT_CHALLENGER_BOND / ETHER:g}",
    show_default=True,
    help="What a challenge costs.",
)
@click.option("-k", type=click.IntRange(2, 64), default=DEFAULT_K, show_default=True, help="Parts per round of a game.")
@click.option("--market", "with_market", is_flag=True, help="An InferenceMarket for the claims there, too.")
@key_options
@json_option
def command(
    rpc: str,
    prover_bond: int,
    challenger_bond: int,
    k: int,
    with_market: bool,
    key_env: str,
    keystore: Path | None,
    as_json: bool,
) -> None:
    """Deploy StepVerifier and Opml on the chain behind a node, and say how --contract (and --market) name them.

    The contracts have no owner: bonds and k are for good. How to choose them: docs/protocol.md.

    \b
    Examples:
      opml deploy --rpc http://127.0.0.1:8545
      opml deploy --rpc URL --prover-bond 0.5 --challenger-bond 0.05 --market
      opml deploy --rpc URL --keystore key.json --max-fee 20 --json

    The key is read from the environment variable OPML_KEY (or --key-env), or from a --keystore file. A devnet has the
    contracts already.
    """
    # Before anything is paid for: the contract would refuse, but only after its verifier was deployed.
    if not all(0 < bond < _TOO_MUCH for bond in (prover_bond, challenger_bond)):
        raise InputError("a bond is more than nothing, and less than all the ether there is", "give both in ether")
    with connect(rpc, max_fee=max_fee()) as chain:
        account = load_account(keystore, key_env)
        placed = deploy(chain, account, prover_bond, challenger_bond, k)
        contract, gas, market = f"{placed.address}@{placed.block}", placed.gas_used, None
        if not as_json:
            click.echo(f"verifier {placed.verifier}\ncontract {contract}")
        if with_market:
            receipt = create(chain, account, "InferenceMarket", placed.address)
            market, gas = f"{receipt.contract}@{receipt.block}", gas + receipt.gas_used
        chain_id = chain.chain_id
    if as_json:
        body = {"chain_id": chain_id, "verifier": placed.verifier, "contract": contract, "market": market}
        bonds = {"prover_bond_wei": prover_bond, "challenger_bond_wei": challenger_bond}
        emit(body | bonds | {"k": k, "deployer": account.address, "gas": gas})
        return
    if market:
        click.echo(f"market {market}")
    console.print(f"chain {chain_id}, {gas:,} gas; name it from now on:\n  --contract {contract}")
    if market:
        console.print(f"  --market {market}")
