"""`opml withdraw`: everything that an account has won."""

from pathlib import Path

import click

from opml.cli.options import contract_option, emit, json_option, key_options, party_option, rpc_option
from opml.cli.session import open_session, receipt_json
from opml.payout import pay_out


@click.command("withdraw")
@rpc_option
@contract_option
@key_options
@party_option
@json_option
def command(
    rpc: str, contract: str | None, key_env: str, keystore: Path | None, party: str | None, as_json: bool
) -> None:
    """Make claims final whose window has passed, and take all bonds and winnings that can be taken.

    `opml prove` and `opml challenge` do this for what they play; this finds what was left by those that were stopped.

    \b
    Examples:
      opml withdraw --rpc http://127.0.0.1:8545
      opml withdraw --for 0x7099… --rpc http://127.0.0.1:8545    # as a delegate; it is paid to 0x7099…
    """
    session = open_session(rpc, contract, keystore, key_env)
    paid = pay_out(session.client, session.account(), party)
    if as_json:
        sent = [receipt_json(receipt) for receipt in paid.receipts]
        emit({"party": paid.party, "wei": paid.amount, "claims": paid.claims, "games": paid.games, "sent": sent})
    elif paid.receipts:
        click.echo(f"{paid.party} was paid {paid.amount} wei: {len(paid.claims)} claims, {len(paid.games)} games")
    else:
        click.echo(f"there is nothing to be paid to {paid.party}")
