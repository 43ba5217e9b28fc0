"""`opml market serve`: a prover's daemon."""

import sys
from pathlib import Path
from typing import Any

import click

from opml.chain.market import Request
from opml.cli.daemon import (
    GRACE_SECONDS,
    PATIENCE_ONCE,
    library_options,
    log_options,
    memory_option,
    once_option,
    stop_on_signals,
    terms_options,
)
from opml.cli.market_session import market_option, open_market
from opml.cli.numbers import Ether
from opml.cli.options import emit, json_option, key_options, poll_option, rpc_option
from opml.errors import InputError
from opml.pins import Pins
from opml.serving import Server
from opml.staking import ServeLimits
from opml.watch.library import Library
from opml.watch.log import EventLog
from opml.watch.terms import TermsPolicy


@click.command("serve")
@rpc_option
@market_option
@key_options
@library_options("answer for", "request")
@click.option(
    "--min-profit",
    type=Ether(),
    default="0",
    show_default=True,
    help="What has to be left of a price after royalty and gas.",
)
@click.option(
    "--margin",
    type=click.IntRange(0),
    default=30,
    show_default=True,
    help="Seconds before its deadline from which a request is left alone.",
)
@click.option("--max-stake", type=Ether(), default="10", show_default=True, help="Ether in bonds at once.")
@click.option(
    "--max-loss",
    type=Ether(),
    show_default="one bond",
    help="Ether in lost bonds, in all, after which nothing new is claimed.",
)
@terms_options("Greatest window of such a model: so long your bond is locked.")
@click.option(
    "--inputs",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder with the bytes of inputs that are not on chain, in files named by their root: 0x….bin",
)
@memory_option
@once_option
@log_options
@poll_option
@json_option
def serve_command(
    rpc: str,
    market: str | None,
    key_env: str,
    keystore: Path | None,
    models: tuple[Path, ...],
    folders: tuple[Path, ...],
    dims: Pins,
    one_phase: bool,
    min_profit: int,
    margin: int,
    max_stake: int,
    max_loss: int | None,
    min_clock: int | None,
    min_window: int | None,
    max_window: int | None,
    inputs: Path | None,
    memory: int,
    once: bool,
    log_format: str,
    log_level: str,
    poll: float,
    as_json: bool,
) -> None:
    """Answer requests: run the model, claim, accept, defend the claim, deliver, withdraw.

    Killed at any moment, it reads the chain and goes on; it keeps no state. Run it until what it has accepted is
    delivered: a claim that nobody defends can be lost to anybody.

    Anybody may register your model with another clock and window, and ask for it. Bonds are put only on the models of
    your files as they are, and on variants within --min-clock, --min-window and --max-window; and only while the clock
    leaves twice the time that it takes here to run all that is claimed again. Ether for the gas of a whole defence of
    each claim stays in the account, at five times the present price. On what a bond was lost on, no other is put; nor
    where somebody else has claimed the same answer. An ONNX file's own terms are opml's defaults; an image has its own.

    \b
    Examples:
      opml market serve --model cnn.opml --rpc http://127.0.0.1:8545
      opml market serve --models ./models --min-profit 0.001 --rpc URL --market ADDRESS@BLOCK --log-format json
      opml market serve --model cnn.opml --once --json --rpc http://127.0.0.1:8545

    Events go to standard error, one a line. SIGTERM and Ctrl-C end it, once it knows what became of all that it has
    sent.
    """
    if not models and not folders:
        raise InputError("no models to answer for", "name some with --model or --models")
    log = EventLog(sys.stderr, as_json=log_format == "json", level=log_level)
    session = open_market(rpc, market, keystore, key_env)
    account = session.account()
    library = Library(models, folders, one_phase=one_phase, dims=dims, emit=log)

    def find_input(request: Request, uri: str) -> bytes | None:
        file = inputs / f"0x{request.input_root.hex()}.bin" if inputs else None
        return file.read_bytes() if file is not None and file.is_file() else None

    with Server(
        session.market,
        account,
        library,
        min_profit=min_profit,
        margin=margin,
        terms=TermsPolicy(min_clock, min_window, max_window),
        limits=ServeLimits(max_stake, max_loss),
        find_input=find_input,
        memory=memory,
        emit=log,
        poll=poll,
    ) as server:
        stop_on_signals(server.stop)
        log("started", market=session.market.address, account=account.address, models=len(library.ids))
        server.run(lambda: once and server.caught_up(), patience=PATIENCE_ONCE if once else None)
        server.finish(GRACE_SECONDS)
        log("stopped", accepted=len(server.accepted), games=len(server.board.ours), pending=len(server.errands))
        if once and as_json:
            emit(_summary(server))


def _summary(server: Server) -> dict[str, Any]:
    market, address = server.market, server.address
    return {
        "market": market.address,
        "prover": address,
        "head": server.follower.head,
        "open": server.open_requests,
        "accepted": server.accepted,
        "earned_wei": market.earned(address),
    }
