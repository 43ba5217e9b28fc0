"""`opml challenge`: re-run a claim, and play if it is wrong."""

from pathlib import Path

import click

from opml.challenger import Verdict, challenge_claim
from opml.cli.moves import describe
from opml.cli.options import (
    console,
    contract_option,
    emit_verdict,
    inputs_option,
    json_option,
    key_options,
    load_region,
    model_options,
    party_option,
    poll_option,
    progress,
    rpc_option,
)
from opml.cli.session import open_session, parse_id
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.moves import Move
from opml.errors import DisputeError
from opml.model import load
from opml.pins import Pins


@click.command("challenge")
@click.argument("claim")
@click.option(
    "--model", "-m", required=True, type=click.Path(path_type=Path), help="The claim's model: ONNX file or image."
)
@rpc_option
@contract_option
@key_options
@model_options
@inputs_option
@party_option
@click.option(
    "--salt", type=click.IntRange(0, 2**256 - 1), default=0, help="Tells several games of one challenger apart."
)
@poll_option
@json_option
def command(
    claim: str,
    model: Path,
    rpc: str,
    contract: str | None,
    key_env: str,
    keystore: Path | None,
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    input_files: tuple[str, ...],
    party: str | None,
    salt: int,
    poll: float,
    as_json: bool,
) -> None:
    """Re-run CLAIM, compare, and if it differs play the game to the verdict and withdraw what was won.

    Stopped at any moment, it goes on where it was when it is started again.

    \b
    Examples:
      opml challenge 0x2c21… --model model.opml --rpc http://127.0.0.1:8545
      opml challenge 0x2c21… --model model.onnx --rpc http://127.0.0.1:8545 --json
      opml challenge 0x2c21… --model model.opml --input image.npy --rpc http://127.0.0.1:8545

    --input is for a claim whose input is not on chain: the arrays, or a file with the input region's bytes; they are
    checked against the claim. With --for, a delegate goes on with a game that another account has begun.

    Exit status 0: the claim is right, or it was wrong and we won. 6: it is wrong and can no longer be challenged, or
    we lost.
    """
    claim_id = parse_id(claim)
    session = open_session(rpc, contract, keystore, key_env)
    account = session.account()
    with progress() as bar:
        task = bar.add_task(f"loading {model.name}", total=None)
        loaded = load(model, window=window, clock=clock, one_phase=one_phase, dims=dims)
        bar.update(task, description="running the claim again")

        def show(game: GameView, move: Move) -> None:
            bar.update(task, description="playing")
            console.print(f"game 0x{game.game_id.hex()[:8]}: challenger {describe(loaded.image, game, move)}")

        verdict = challenge_claim(
            session.client,
            account,
            claim_id,
            loaded,
            salt=salt,
            party=party,
            posted=load_region(input_files, loaded),
            progress=show,
            sleep=session.sleep,
            poll=poll,
        )
    problem = _problem(verdict)
    if as_json:
        body = {
            "claim_id": claim_id,
            "right": verdict.right,
            "game_id": verdict.game_id,
            "winner": verdict.winner.value if verdict.winner else None,
            "status": verdict.status.name.lower(),
        }
        emit_verdict(body, problem)
    elif problem:
        raise problem
    elif verdict.right:
        click.echo("the claim is right; there is nothing to challenge")
    else:
        click.echo(
            f"the claim was wrong and is {verdict.status.name.lower()}; game 0x{(verdict.game_id or b'').hex()} is won"
        )


def _problem(verdict: Verdict) -> DisputeError | None:
    """What makes the command fail: a wrong claim that we have not beaten."""
    if verdict.right or verdict.winner is Role.CHALLENGER:
        return None
    if verdict.winner is None:
        known = {ClaimStatus.REJECTED: "rejected already", ClaimStatus.FINAL: "final"}
        return DisputeError(f"the claim is wrong, but it is {known.get(verdict.status, 'past its window')}")
    return DisputeError("we lost the game")
