"""`opml prove`: run, claim, defend."""

import shlex
from pathlib import Path

import click
import numpy as np

from opml.chain.units import GWEI
from opml.checked import ensure_checked
from opml.cli.generate import Prompt, generate_options
from opml.cli.moves import describe
from opml.cli.options import (
    VALUES,
    console,
    contract_option,
    emit,
    emit_verdict,
    inputs_option,
    json_option,
    key_options,
    load_inputs,
    load_region,
    max_fee,
    model_options,
    party_option,
    poll_option,
    progress,
)
from opml.cli.receipts import Wanted, receipt_options
from opml.cli.session import Session, open_session, parse_id, receipt_json
from opml.dispute.game import ClaimStatus, GameView
from opml.dispute.moves import Move
from opml.errors import DisputeError, InputError
from opml.model import Inference, Model, load
from opml.pins import Pins, split_values
from opml.prover import PostedClaim, defend_claim, input_of, own_claim, post_claim


@click.command("prove")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option
@click.option("--rpc", metavar="URL", help="JSON-RPC node; without it an embedded chain that ends with the command.")
@contract_option
@key_options
@model_options
@click.option("--detach", is_flag=True, help="Post the claim and leave; defend it later with --claim.")
@click.option("--claim", "claim_text", metavar="ID", help="Do not claim anew: go on defending this claim.")
@click.option("--nonce", type=click.IntRange(0, 2**256 - 1), help="Tells equal claims apart; random by default.")
@click.option("--uri", default="", help="Where the model can be had; announced when it is registered.")
@click.option(
    "--input-uri",
    metavar="URI",
    help="Put only the input's root on chain, and this as the place where its bytes can be had. Nobody without them "
    "can check the claim: it is for a consumer who has them.",
)
@party_option
@generate_options
@receipt_options
@poll_option
@json_option
def command(
    model: Path,
    input_files: tuple[str, ...],
    rpc: str | None,
    contract: str | None,
    key_env: str,
    keystore: Path | None,
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    detach: bool,
    claim_text: str | None,
    nonce: int | None,
    uri: str,
    input_uri: str | None,
    party: str | None,
    wanted: Wanted,
    prompt: Prompt,
    poll: float,
    as_json: bool,
) -> None:
    """Run a model, post the claim with its bond, and answer challenges until it is final.

    Stopped at any moment, it can be started again with --claim: all that matters is on chain. The model is run again
    first, and it warns loudly if the claim has another output; with --receipt it refuses then. Without --rpc the chain
    is embedded: the claim is posted, the window passes at once, and everything is gone when the command ends.

    \b
    Examples:
      opml prove model.opml --input image.npy
      opml prove model.opml --input image.npy --rpc http://127.0.0.1:8545
      opml prove model.opml --input image.npy --rpc http://127.0.0.1:8545 --detach
      opml prove model.opml --claim 0x2c21… --rpc http://127.0.0.1:8545
      opml prove model.opml --input image.npy --receipt claim.json
      opml prove decoder.opml --generate --prompt-ids 1,15,7 --max-tokens 20
      opml prove model.opml --input image.npy --input-uri https://example.org/image --rpc http://127.0.0.1:8545

    With --claim, --input is needed if the claim's input is not on chain; --for defends the claim of another account,
    which has made this one its delegate.

    The key is read from the environment variable OPML_KEY (or --key-env), or from a --keystore file.
    """
    if claim_text is None and not input_files and not prompt:
        raise InputError("give either --input or --generate, to claim, or --claim, to go on defending")
    if claim_text and prompt:
        raise InputError("--generate makes a new claim; --claim is about one that is there")
    if claim_text is None and party:
        raise InputError("a claim is posted by the prover itself", "--for goes with --claim, to defend it")
    if claim_text and input_uri is not None:
        raise InputError("--input-uri is announced with a new claim; --claim is about one that is there")
    if rpc is None and (detach or claim_text):
        raise InputError(
            f"{'--detach' if detach else '--claim'} needs a chain that outlives this command", "name one with --rpc"
        )
    session = open_session(rpc, contract, keystore, key_env)
    account = session.account()
    with progress() as bar:
        bar.add_task(f"loading {model.name}", total=None)
        loaded = load(model, window=window, clock=clock, one_phase=one_phase, dims=dims)
    wanted.check_model(loaded)
    posted, outputs, given, said = None, None, None, None
    if claim_text is None:
        uris = (uri, input_uri)
        if prompt:
            done = prompt.run(loaded, show=not as_json)
            inference, said = done.inference, done.tokens
        else:
            inference = _run(loaded, input_files, keep_tensors=bool(wanted))
        posted = _post(session, account, inference, nonce, uris)
        given = inference.posted
        claim_id, outputs = posted.claim_id, inference.results
        digest = wanted.write_claimed(inference, session.client, claim_id)
    else:
        claim_id, given = parse_id(claim_text), load_region(input_files, loaded)
        digest = _return_to(session, account, claim_id, loaded, party, given, wanted)
    resume = _resume(model, claim_id)
    body = {
        "claim_id": claim_id,
        "model_id": loaded.model_id,
        "contract": session.client.address,
        "prover": party or account.address,
        "outputs": outputs,
        **(prompt.said(said) if said else {}),
        "registered": receipt_json(posted.registered) if posted else None,
        "claimed": receipt_json(posted.claimed) if posted else None,
        "receipt": digest,
    }
    if not as_json:
        click.echo(f"claim 0x{claim_id.hex()}")
        for name, value in ({} if said else outputs or {}).items():
            click.echo(f"{name} {np.array2string(value, threshold=20)}")
    if detach:
        if as_json:
            emit(body | {"status": "pending"})
        else:
            click.echo("posted; nobody defends it until you run\n  " + resume, err=True)
        return
    try:
        status = _defend(session, account, claim_id, loaded, poll, party, given)
    except KeyboardInterrupt:
        if rpc is not None:
            click.echo("nobody defends the claim now; go on with\n  " + resume, err=True)
        raise
    lost = DisputeError("the claim was rejected: a game was lost, or a clock ran out")
    problem = None if status is ClaimStatus.FINAL else lost
    if as_json:
        emit_verdict(body | {"status": status.name.lower()}, problem)
    elif problem:
        raise problem
    else:
        console.print(f"the claim is {status.name.lower()}")


def _resume(model: Path, claim_id: bytes) -> str:
    """The command that goes on defending a claim: this one, without what is about posting."""
    context = click.get_current_context()
    words = ["opml", "prove", str(model), "--claim", f"0x{claim_id.hex()}"]
    given = click.core.ParameterSource.COMMANDLINE
    for name in ("rpc", "contract", "key_env", "keystore", "window", "clock", "poll"):
        if context.get_parameter_source(name) is given:
            words += [f"--{name.replace('_', '-')}", str(context.params[name])]
    if context.get_parameter_source("max_fee") is given:
        words += ["--max-fee", f"{max_fee() / GWEI:g}"]
    words += ["--for", context.params["party"]] if context.params["party"] else []
    if context.params["input_uri"] is not None or context.params["claim_text"]:
        for file in context.params["input_files"]:
            words += ["--input", file]
    words += ["--one-phase"] if context.params["one_phase"] else []
    for name, size in split_values(context.params["dims"])[0].items():
        words += ["--dim", f"{name}={size if isinstance(size, int) else ','.join(map(str, size))}"]
    for text in context.meta.get(VALUES, []):
        words += ["--value", text]
    return shlex.join(words)


def _run(loaded: Model, files: tuple[str, ...], *, keep_tensors: bool) -> Inference:
    with progress() as bar:
        bar.add_task("running the model", total=None)
        return loaded.infer(load_inputs(files, list(loaded.inputs)), keep_tensors=keep_tensors)


def _post(
    session: Session, account: object, inference: Inference, nonce: int | None, uris: tuple[str, str | None]
) -> PostedClaim:
    with progress() as bar:
        task = bar.add_task("first claim of this model here: comparing kernels with the machine", total=None)
        ensure_checked(inference)
        bar.update(task, description="posting the claim")
        posted = post_claim(session.client, account, inference, nonce=nonce, uri=uris[0], input_uri=uris[1])
    console.print(f"claimed with a bond of {session.client.prover_bond} wei, {posted.claimed.gas_used:,} gas")
    return posted


def _return_to(
    session: Session,
    account: object,
    claim_id: bytes,
    loaded: Model,
    party: str | None,
    given: bytes | None,
    wanted: Wanted,
) -> bytes | None:
    """Before a claim is defended that was posted earlier: it is run again, and its receipt written if one is wanted.

    Returns the receipt's digest. Raises DisputeError where the claim is not ours, or a receipt would say what is false.
    """
    claim = own_claim(session.client, account, claim_id, loaded, party)
    with progress() as bar:
        bar.add_task("running the model", total=None)
        inference = loaded.infer_posted(input_of(claim, loaded, given), keep_tensors=bool(wanted))
    if inference.output_root == claim.output_root:
        return wanted.write_claimed(inference, session.client, claim_id)
    roots = f"0x{claim.output_root.hex()}, not 0x{inference.output_root.hex()}"
    words = f"the claim has another output than this model gives here: {roots}"
    if wanted:
        raise DisputeError(f"{words}; no receipt is written", "without --receipt it is defended all the same")
    click.echo(f"WARNING: {words}. Whoever challenges it will win its bond", err=True)
    return None


def _defend(
    session: Session,
    account: object,
    claim_id: bytes,
    loaded: Model,
    poll: float,
    party: str | None,
    given: bytes | None,
) -> ClaimStatus:
    with progress() as bar:
        view = session.client.claim_view(claim_id)
        left = max(view.deadline - session.client.now(), 0)
        words = f"watching for challenges; the window closes in {left} s"
        bar.add_task(words, total=None)
        if not console.is_terminal:
            console.print(words)

        # Nobody can challenge on a chain that is ours alone: one wait until the window has passed.
        pause = left + 1 if session.embedded else poll

        def show(game: GameView, move: Move) -> None:
            console.print(f"game 0x{game.game_id.hex()[:8]}: prover {describe(loaded.image, game, move)}")

        return defend_claim(
            session.client,
            account,
            claim_id,
            loaded,
            party=party,
            posted=given,
            progress=show,
            sleep=session.sleep,
            poll=pause,
        )
