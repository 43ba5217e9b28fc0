"""What `opml watch` and `opml market serve` have in common: their options, and how they are ended."""

import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click

from opml.cli.numbers import Size
from opml.cli.options import dims_option
from opml.watch.log import LEVELS

F = TypeVar("F", bound=Callable[..., Any])

# How long transactions may take that are under way when it is to stop.
GRACE_SECONDS = 30.0
# With --once: how often in a row the chain may fail to answer.
PATIENCE_ONCE = 5


def library_options(what_for: str, asker: str) -> Callable[[F], F]:
    """The models that the daemon has: `what_for` it has them, and whose request makes it look for new ones."""
    return _all(
        click.option(
            "--model",
            "-m",
            "models",
            multiple=True,
            type=click.Path(path_type=Path),
            help=f"A model to {what_for}: ONNX file or image. May be given several times.",
        ),
        click.option(
            "--models",
            "folders",
            multiple=True,
            type=click.Path(exists=True, file_okay=False, path_type=Path),
            help=f"A folder of such files; new ones are found when a {asker} asks for them.",
        ),
        dims_option,
        click.option("--one-phase", is_flag=True, help="The ONNX files were registered in one phase."),
    )


def terms_options(window_help: str) -> Callable[[F], F]:
    """The windows and clocks on which a bond is put."""
    return _all(
        click.option(
            "--min-clock",
            type=click.IntRange(0),
            metavar="SECONDS",
            show_default="3600, or as in your file if that is less",
            help="Least clock of a model that is yours but for window and clock.",
        ),
        click.option(
            "--min-window",
            type=click.IntRange(0),
            metavar="SECONDS",
            show_default="600, or as in your file if that is less",
            help="Least window of such a model.",
        ),
        click.option(
            "--max-window",
            type=click.IntRange(1),
            metavar="SECONDS",
            show_default="30 days, or as in your file if that is more",
            help=window_help,
        ),
    )


memory_option = click.option(
    "--memory", type=Size(), default="4G", show_default=True, help="Memory for the traces of games."
)
once_option = click.option("--once", is_flag=True, help="Catch up, do what there is to do now, and leave.")


def log_options(function: F) -> F:
    """How events are written."""
    return _all(
        click.option("--log-format", type=click.Choice(["text", "json"]), default="text", show_default=True),
        click.option("--log-level", type=click.Choice(list(LEVELS)), default="info", show_default=True),
    )(function)


def stop_on_signals(stop: Callable[[], None]) -> None:
    """SIGTERM and Ctrl-C call `stop`."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop())


def _all(*options: Callable[[Any], Any]) -> Callable[[F], F]:
    """These options, in this order of the help."""

    def decorate(function: F) -> F:
        for option in reversed(options):
            function = option(function)
        return function

    return decorate
