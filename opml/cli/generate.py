"""The options with which `run` and `prove` let a model generate, and what is shown of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opml.cli.options import console
from opml.errors import InputError

if TYPE_CHECKING:
    from opml.generation import Generation
    from opml.model import Model

NEW_TOKENS = 64


@dataclass(frozen=True)
class Prompt:
    """What is to be generated, if anything: a prompt of token ids, from the command line or a file."""

    wanted: bool
    ids: str | None
    max_tokens: int

    def __bool__(self) -> bool:
        return self.wanted

    def check(self, input_files: tuple[str, ...]) -> None:
        """Before a model is loaded. Raises InputError where options do not go together."""
        if not self.wanted and self.ids is not None:
            raise InputError("--prompt-ids is for a model that generates", "add --generate")
        if self.wanted and (input_files or self.ids is None):
            raise InputError("--generate takes a prompt, and no --input", "give it with --prompt-ids")

    def tokens(self) -> list[int]:
        """The prompt's token ids. Raises InputError."""
        text = self.ids or ""
        path = Path(text)
        if not text[:1].isdigit() and path.is_file():
            text = path.read_text(errors="replace")
        words = text.replace(",", " ").split()
        if not words or not all(word.isascii() and word.isdigit() and len(word) < 11 for word in words):
            raise InputError(f"{self.ids!r} is neither a list of token ids nor a file with one", "for example 1,15,7")
        return [int(word) for word in words]

    def run(self, model: "Model", threads: int | None = None, *, show: bool = False) -> "Generation":
        """Generates; with `show` each token is written to standard output as soon as it is known. Raises InputError."""

        def each(token: int) -> None:
            if show:
                click.echo(f"{token} ", nl=False)

        done = model.generate(self.tokens(), self.max_tokens, each, threads)
        if show:
            click.echo()
        why = "the model ended" if done.ended else "as many as were asked for, or as fit"
        console.print(f"{len(done.tokens)} tokens ({why}), {done.seconds:.2f} s, {done.speed:.1f} tokens/s")
        return done


def generate_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands them over, checked, as `prompt`."""

    @click.option("--generate", "wanted", is_flag=True, help="Let the model go on with a prompt, token by token.")
    @click.option("--prompt-ids", "ids", metavar="IDS", help="The prompt as token ids, 1,15,7, or a file with them.")
    @click.option(
        "--max-tokens",
        type=click.IntRange(1, 2**31 - 1),
        default=NEW_TOKENS,
        show_default=True,
        help="Most new tokens; an end token ends the answer before.",
    )
    @wraps(function)
    def command(*, wanted: bool, ids: str | None, max_tokens: int, **rest: Any) -> Any:
        prompt = Prompt(wanted, ids, max_tokens)
        prompt.check(rest["input_files"])
        return function(prompt=prompt, **rest)

    return command


__all__ = ["Prompt", "generate_options"]
