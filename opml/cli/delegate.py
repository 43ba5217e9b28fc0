"""`opml delegate`: let another account play."""

from pathlib import Path

import click

from opml.cli.options import ADDRESS, contract_option, emit, json_option, key_options, rpc_option
from opml.cli.session import open_session, receipt_json
from opml.errors import InputError


@click.command("delegate")
@click.argument("delegate", metavar="ADDRESS", type=ADDRESS)
@click.option("--remove", is_flag=True, help="It may no longer.")
@rpc_option
@contract_option
@key_options
@json_option
def command(
    delegate: str, remove: bool, rpc: str, contract: str | None, key_env: str, keystore: Path | None, as_json: bool
) -> None:
    """Let ADDRESS play the games of the key's account, and withdraw for it.

    For a key that is kept away from the machine that plays. The delegate cannot take anything: it makes moves, and what
    is withdrawn is paid to the party. It could lose games on purpose.

    \b
    Examples:
      opml delegate 0x7099… --rpc http://127.0.0.1:8545
      opml prove model.opml --claim 0x2c21… --for 0xf39f… --rpc http://127.0.0.1:8545    # with the key of 0x7099…
      opml delegate 0x7099… --remove --rpc http://127.0.0.1:8545
    """
    session = open_session(rpc, contract, keystore, key_env)
    account = session.account()
    if delegate == account.address and not remove:
        raise InputError(f"{delegate} is the key's own account: it plays for itself", "name another account")
    receipt = session.client.set_delegate(delegate, not remove, account)
    if as_json:
        emit({"party": account.address, "delegate": delegate, "allowed": not remove, "sent": receipt_json(receipt)})
    else:
        click.echo(f"{delegate} {'may no longer' if remove else 'may now'} play and withdraw for {account.address}")
