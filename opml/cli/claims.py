"""`opml claims`: what has been claimed."""

from typing import Any

import click

from opml.chain.client import OpmlClient
from opml.cli.options import console, contract_option, emit, json_option, rpc_option
from opml.cli.session import open_session, parse_id
from opml.dispute.driver import existing_claim
from opml.dispute.game import ClaimView


@click.command("claims")
@click.argument("claim", required=False)
@rpc_option
@contract_option
@json_option
def command(claim: str | None, rpc: str, contract: str | None, as_json: bool) -> None:
    """List the claims on a chain, or show one CLAIM with its games.

    \b
    Examples:
      opml claims --rpc http://127.0.0.1:8545
      opml claims 0x2c21… --rpc http://127.0.0.1:8545 --json
    """
    client = open_session(rpc, contract).client
    views = client.claims() if claim is None else [existing_claim(client, parse_id(claim))]
    rows = [_row(client, view, full=claim is not None) for view in views]
    if as_json:
        emit({"contract": client.address, "time": client.now(), "claims": rows})
        return
    now = client.now()
    if not rows:
        console.print(f"no claims at {client.address}")
    for row in rows:
        left = row["deadline"] - now
        if row["status"] != "pending":
            window = f"{row['status']} for good"
        elif left >= 0:
            window = f"may be challenged for {left} s"
        elif row["open_games"] or row["lost_games"]:
            window = f"window closed {-left} s ago"
        else:
            window = f"window closed {-left} s ago, `opml prove MODEL --claim ID` makes it final"
        click.echo(f"0x{row['claim_id'].hex()} {row['status']}")
        click.echo(f"  model 0x{row['model_id'].hex()}, prover {row['prover']}")
        if not row["input_posted"]:
            click.echo(f"  its input is not on chain{', but at ' + row['input_uri'] if row.get('input_uri') else ''}")
        click.echo(f"  {window}; games: {row['open_games']} open, {row['lost_games']} lost by the prover")
        for game in row.get("games", []):
            click.echo(f"  game 0x{game['game_id'].hex()}: {game['stage']}, challenger {game['challenger']}")


def _row(client: OpmlClient, view: ClaimView, full: bool) -> dict[str, Any]:
    row: dict[str, Any] = {
        "claim_id": view.claim_id,
        "model_id": view.model_id,
        "prover": view.prover,
        "status": view.status.name.lower(),
        "deadline": view.deadline,
        "open_games": view.open_games,
        "lost_games": view.lost_games,
        "output_root": view.output_root,
        "input_root": view.input_root,
        "input_posted": view.input_posted,
        "nonce": view.nonce,
    }
    if full:
        row["input"] = view.input
        row["input_uri"] = view.input_uri
        games = [client.game_view(game_id) for game_id in client.claim_games(view.claim_id)]
        row["games"] = [
            {
                "game_id": game.game_id,
                "challenger": game.challenger,
                "stage": game.stage.name.lower(),
                "phase": game.phase.name.lower(),
                "position": game.position,
                "length": game.length,
                "tile": game.tile,
            }
            for game in games
        ]
    return row
