"""`opml watch`: a challenger's daemon."""

import logging
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from opml.chain.views import NOBODY
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
from opml.cli.numbers import Ether
from opml.cli.options import contract_option, emit, json_option, key_options, poll_option, rpc_option
from opml.cli.session import Session, open_session
from opml.errors import DisputeError, InputError
from opml.pins import Pins
from opml.watch.library import Library
from opml.watch.log import EventLog, NodeLog
from opml.watch.metrics import Metrics
from opml.watch.terms import TermsPolicy
from opml.watch.watcher import Limits, Opinion, Watcher


@dataclass(frozen=True)
class Nobody:
    """Who only looks needs no key."""

    address: str = NOBODY


@click.command("watch")
@rpc_option
@contract_option
@key_options
@library_options("watch over", "claim")
@click.option("--max-games", type=click.IntRange(0), default=1000, show_default=True, help="Own games open at once.")
@click.option("--max-stake", type=Ether(), default="10", show_default=True, help="Ether in bonds at once.")
@click.option(
    "--reserve",
    type=Ether(),
    default="0.01",
    show_default=True,
    help="Ether that stays for gas, and never less than all open games may still need.",
)
@click.option(
    "--max-loss",
    type=Ether(),
    show_default="three bonds",
    help="Ether in lost bonds, in all, after which no new games are begun.",
)
@terms_options("Greatest window of such a model.")
@memory_option
@click.option("--defend", is_flag=True, help="Also answer challenges of claims that this account has made.")
@click.option("--dry-run", is_flag=True, help="Check every claim, send nothing; needs no key.")
@once_option
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there, for example 127.0.0.1:9464.")
@log_options
@poll_option
@json_option
def command(
    rpc: str,
    contract: str | None,
    key_env: str,
    keystore: Path | None,
    models: tuple[Path, ...],
    folders: tuple[Path, ...],
    dims: Pins,
    one_phase: bool,
    max_games: int,
    max_stake: int,
    reserve: int,
    max_loss: int | None,
    min_clock: int | None,
    min_window: int | None,
    max_window: int | None,
    memory: int,
    defend: bool,
    dry_run: bool,
    once: bool,
    metrics: str | None,
    log_format: str,
    log_level: str,
    poll: float,
    as_json: bool,
) -> None:
    """Watch a chain: re-run every claim about the models given, and challenge what is wrong.

    All games are played at once, those with the least time left first. What is won is withdrawn. Killed at any moment,
    it reads the chain and goes on; it keeps no state. A model's id depends on its window and clock: they are taken from
    the chain, so a model is found whatever they are; but no bond is put on claims about variants whose clock or window
    is outside the limits (--min-clock, --min-window, --max-window). Your own files' terms are yours to choose.

    \b
    Examples:
      opml watch --models ./models --rpc http://127.0.0.1:8545
      opml watch -m cnn.onnx -m mlp.opml --rpc URL --contract ADDRESS@BLOCK --metrics 127.0.0.1:9464 --log-format json
      opml watch --models ./models --rpc URL --max-games 50 --max-stake 2.5
      opml watch --models ./models --rpc URL --once --dry-run --json

    Events go to standard error, one a line. SIGTERM and Ctrl-C end it with status 0, once it knows what became of all
    that it has sent. With --once the exit status is 6 if wrong claims stand. As a service, metrics, events:
    docs/watch.md.
    """
    if not models and not folders:
        raise InputError("no models to watch over", "name some with --model or --models")
    log = EventLog(sys.stderr, as_json=log_format == "json", level=log_level)
    figures = Metrics()

    def tell(event: str, /, level: str = "info", **fields: Any) -> None:
        figures(event, level, **fields)
        log(event, level, **fields)

    node_log = logging.getLogger("opml")
    node_log.setLevel(logging.INFO)
    node_log.addHandler(NodeLog(tell))
    session = open_session(rpc, contract, keystore, key_env)
    account = Nobody() if dry_run else session.account()
    library = Library(models, folders, one_phase=one_phase, dims=dims, emit=tell)
    if metrics:
        _serve(figures, metrics, tell)
    limits = Limits(max_games, max_stake, reserve, max_loss, send=not dry_run)
    terms = TermsPolicy(min_clock, min_window, max_window)
    with Watcher(
        session.client, account, library, limits=limits, terms=terms, memory=memory, defend=defend, emit=tell, poll=poll
    ) as watcher:
        stop_on_signals(watcher.stop)
        tell("started", contract=session.client.address, account=account.address, models=len(library.ids))
        _run(watcher, figures, once)
        tell("stopped", games=len(watcher.board.ours), pending=len(watcher.errands))
    if once:
        _report(session, watcher, as_json)


def _run(watcher: Watcher, figures: Metrics, once: bool) -> None:
    """Until a signal, or, with `once`, until nothing is left to be done now."""

    def looked() -> bool:
        figures.measure(watcher)
        return once and watcher.caught_up()

    watcher.run(looked, patience=PATIENCE_ONCE if once else None)
    watcher.finish(GRACE_SECONDS)


def _serve(figures: Metrics, place: str, tell: Any) -> None:
    host, _, port = place.rpartition(":")
    if not host or not port.isdecimal() or int(port) > 65535:
        raise InputError(f"--metrics {place}: no HOST:PORT", "for example 127.0.0.1:9464")
    try:
        tell("metrics", host=host, port=figures.serve(host.strip("[]"), int(port)))
    except OSError as error:
        raise InputError(f"--metrics {place}: {error.strerror or error}", "choose another address or port") from None


def _report(session: Session, watcher: Watcher, as_json: bool) -> None:
    """The summary of `--once`; wrong claims that stand are an error."""
    standing = watcher.standing
    if as_json:
        count = {opinion.value: list(watcher.opinions.values()).count(opinion) for opinion in Opinion}
        emit(
            {
                "contract": session.client.address,
                "head": watcher.follower.head,
                "claims": count,
                "standing": standing,
                "games": len(watcher.board.ours),
            }
        )
        if standing:
            raise click.exceptions.Exit(DisputeError.exit_status)
    elif standing:
        raise DisputeError(f"wrong claims stand: {', '.join('0x' + claim_id.hex() for claim_id in standing)}")
