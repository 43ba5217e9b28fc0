"""`opml watch`: a challenger's daemon."""

import logging
import signal
import sys
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any

import click

from opml.cli.options import contract_option, dims_option, emit, json_option, key_options, poll_option, rpc_option
from opml.cli.session import Session, open_session
from opml.errors import DisputeError, InputError
from opml.watch.library import Library
from opml.watch.log import LEVELS, EventLog, NodeLog
from opml.watch.metrics import Metrics
from opml.watch.terms import TermsPolicy
from opml.watch.watcher import ETHER, Limits, Opinion, Watcher

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
# How long transactions may take that are under way when it is to stop.
GRACE_SECONDS = 30.0


class Size(click.ParamType):  # type: ignore[type-arg]
    """Bytes: 500M, 4G, or a plain number."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).upper().removesuffix("B").removesuffix("I")
        number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
        if not number.isascii() or not number.isdigit():
            self.fail(f"{value!r} is no size such as 500M or 4G", param, ctx)
        return int(number) * unit


class Ether(click.ParamType):  # type: ignore[type-arg]
    """An amount of ether, as wei."""

    name = "ETHER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            wei = Decimal(str(value)) * ETHER
        except InvalidOperation:
            wei = Decimal(-1)
        if not wei.is_finite() or wei < 0 or wei != int(wei):
            self.fail(f"{value!r} is no amount of ether such as 0.5", param, ctx)
        return int(wei)


@dataclass(frozen=True)
class Nobody:
    """Who only looks needs no key."""

    address: str = "0x" + 40 * "0"


@click.command("watch")
@rpc_option
@contract_option
@key_options
@click.option(
    "--model",
    "-m",
    "models",
    multiple=True,
    type=click.Path(path_type=Path),
    help="A model to watch over: ONNX file or image. May be given several times.",
)
@click.option(
    "--models",
    "folders",
    multiple=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="A folder of such files; new ones are found when a claim asks for them.",
)
@dims_option
@click.option("--one-phase", is_flag=True, help="The ONNX files were registered in one phase.")
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
@click.option(
    "--min-clock",
    type=click.IntRange(0),
    metavar="SECONDS",
    show_default="3600, or as in your file if that is less",
    help="Least clock of a model that is yours but for window and clock.",
)
@click.option(
    "--min-window",
    type=click.IntRange(0),
    metavar="SECONDS",
    show_default="600, or as in your file if that is less",
    help="Least window of such a model.",
)
@click.option(
    "--max-window",
    type=click.IntRange(1),
    metavar="SECONDS",
    show_default="30 days, or as in your file if that is more",
    help="Greatest window of such a model.",
)
@click.option("--memory", type=Size(), default="4G", show_default=True, help="Memory for the traces of games.")
@click.option("--defend", is_flag=True, help="Also answer challenges of claims that this account has made.")
@click.option("--dry-run", is_flag=True, help="Check every claim, send nothing; needs no key.")
@click.option("--once", is_flag=True, help="Catch up, do what there is to do now, and leave.")
@click.option("--metrics", metavar="HOST:PORT", help="Serve Prometheus metrics there, for example 127.0.0.1:9464.")
@click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True)
@click.option("--log-level", type=click.Choice(list(LEVELS)), default="info", show_default=True)
@poll_option
@json_option
def command(
    rpc: str,
    contract: str | None,
    key_env: str,
    keystore: Path | None,
    models: tuple[Path, ...],
    folders: tuple[Path, ...],
    dims: dict[str, int],
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
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: watcher.stop())
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

    watcher.run(looked, patience=None if not once else 5)
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
