"""The command line: a thin layer over the Python API. Each command is a file, imported only when it is called."""

import importlib
import json
import sys
import traceback
from collections.abc import Sequence
from typing import Any

import click

from opml.errors import OpmlError
from vm.errors import ElfError

# name: (module, one line for `opml --help`), in the order of the work
COMMANDS = {
    "compile": ("opml.cli.compile", "Compile an ONNX model to an image that can be claimed and disputed."),
    "convert": ("opml.cli.convert", "Make an ONNX model of a PyTorch, TensorFlow or GGUF model."),
    "inspect": ("opml.cli.inspect", "Show a model's operators, memory map, roots and tiles."),
    "run": ("opml.cli.run", "Run a model natively; nothing is claimed."),
    "prove": ("opml.cli.prove", "Run a model, post the claim with its bond, and defend it until it is final."),
    "challenge": ("opml.cli.challenge", "Re-run a claim and, if it is wrong, play the game to the verdict."),
    "audit": ("opml.cli.audit", "Check a receipt, and run any of its operators again."),
    "watch": ("opml.cli.watch", "Watch a chain: re-run every claim on given models, challenge what is wrong."),
    "claims": ("opml.cli.claims", "List the claims on a chain and what became of them."),
    "market": ("opml.cli.market", "Pay for inferences, or answer requests and be paid."),
    "withdraw": ("opml.cli.withdraw", "Take all bonds and winnings that an account can take."),
    "delegate": ("opml.cli.delegate", "Let another account play for this one."),
    "deploy": ("opml.cli.deploy", "Deploy the contracts on any chain, with bonds of your choice."),
    "devnet": ("opml.cli.devnet", "Serve a local chain over JSON-RPC, for a prover and a challenger to meet on."),
    "vm": ("opml.cli.vm", "Run any RV64IM program in the step machine, or compare its implementations on it."),
    "demo": ("opml.cli.demo", "Watch honest and lying parties meet on an embedded chain."),
}


class _LazyGroup(click.Group):
    """Imports a command's module only to run it, so that `opml --help` stays fast; turns errors into exit statuses."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(COMMANDS[cmd_name][0]).command  # type: ignore[no-any-return]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            # Here, since click would make it exit status 1.
            click.echo("stopped", err=True)
            sys.exit(130)

    def main(self, args: Sequence[str] | None = None, *rest: Any, **options: Any) -> Any:
        arguments = list(sys.argv[1:] if args is None else args)
        try:
            if "--json" in arguments:
                return self._main_for_programs(arguments, *rest, **options)
            return super().main(arguments, *rest, **options)
        except OpmlError as error:
            _report(error.to_json(), "--json" in arguments)
            sys.exit(error.exit_status)
        except ElfError as error:
            _report({"code": error.code, "message": str(error)}, "--json" in arguments)
            sys.exit(2)
        except (KeyboardInterrupt, BrokenPipeError):
            sys.exit(130)
        except MemoryError as error:
            hint = "the model's tensors do not fit into this computer's memory"
            _report({"code": "memory", "message": f"out of memory: {error}", "hint": hint}, "--json" in arguments)
            sys.exit(8)
        except Exception as error:
            if "--traceback" in arguments:
                traceback.print_exc()
            message = f"{type(error).__name__}: {error}"
            hint = "this is a defect of opml; run again with `opml --traceback …` and report what it prints"
            _report({"code": "internal", "message": message, "hint": hint}, "--json" in arguments)
            sys.exit(70)

    def _main_for_programs(self, arguments: list[str], *rest: Any, **options: Any) -> Any:
        """As `main`, but what click says of bad usage is JSON too."""
        try:
            status = super().main(arguments, *rest, **{**options, "standalone_mode": False})
        except click.ClickException as error:
            _report({"code": "usage", "message": error.format_message(), "hint": "see --help"}, as_json=True)
            sys.exit(error.exit_code)
        except click.Abort:
            sys.exit(130)
        sys.exit(status if isinstance(status, int) else 0)


def _report(body: dict[str, str], as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"error": body}))
        return
    click.echo(f"error[{body['code']}]: {body['message']}", err=True)
    if "hint" in body:
        click.echo(f"  hint: {body['hint']}", err=True)


@click.group(cls=_LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--traceback", is_flag=True, help="On an internal error, print where it happened.")
@click.version_option(package_name="opml")
def main(traceback: bool) -> None:
    """Optimistic machine learning: run a model off chain, claim its result with a bond, and let a dispute be settled by
    one RISC-V instruction on chain.

    \b
    Examples:
      opml demo
      opml compile model.onnx -o model.opml
      opml run model.opml --input image.npy
      opml devnet                                          # in one terminal
      opml prove model.opml --input image.npy --rpc http://127.0.0.1:8545
      opml challenge CLAIM --model model.opml --rpc http://127.0.0.1:8545

    Exit status: 0 good, 2 bad usage or input, 3 bad model, 4 bad image, 5 chain or key, 6 dispute, 7 self-check,
    8 out of memory, 9 evidence that does not hold, 70 internal, 130 stopped by Ctrl-C.
    """
