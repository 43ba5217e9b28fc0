"""The options with which `run` and `prove` let a model generate, and what is shown of it."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opml.cli.options import console
from opml.errors import InputError

if TYPE_CHECKING:
    from opml.generation import Generation
    from opml.model import Model
    from opml.text import Tokenizer

NEW_TOKENS = 64


@dataclass(frozen=True)
class Prompt:
    """What is to be generated, if anything: a prompt of token ids, from the command line or a file, or as text."""

    wanted: bool
    ids: str | None
    max_tokens: int
    text: str | None = None
    tokenizer_file: Path | None = None
    raw: bool = False

    def __bool__(self) -> bool:
        return self.wanted

    def check(self, input_files: tuple[str, ...]) -> None:
        """Before a model is loaded. Raises InputError where options do not go together."""
        given = {"--prompt-ids": self.ids, "--prompt": self.text, "--tokenizer": self.tokenizer_file}
        if not self.wanted and any(value is not None for value in given.values()):
            name = next(name for name, value in given.items() if value is not None)
            raise InputError(f"{name} is for a model that generates", "add --generate")
        if self.wanted and (input_files or (self.ids is None) == (self.text is None)):
            raise InputError("--generate takes a prompt, and no --input", "give it with --prompt or --prompt-ids")
        if self.text is not None and self.tokenizer_file is None:
            raise InputError("--prompt needs a tokenizer", "name the model's tokenizer.json with --tokenizer")

    @cached_property
    def tokenizer(self) -> "Tokenizer | None":
        """What makes text of tokens, if one is named. Raises InputError."""
        if self.tokenizer_file is None:
            return None
        from opml.text import load_tokenizer  # here: most commands have to do with numbers

        return load_tokenizer(self.tokenizer_file)

    def said(self, tokens: list[int]) -> dict[str, Any]:
        """The answer for programs: its tokens, and its text where there is a tokenizer."""
        return {"tokens": tokens, **({"text": self.tokenizer.decode(tokens)} if self.tokenizer else {})}

    def tokens(self) -> list[int]:
        """The prompt's token ids. Raises InputError."""
        if self.text is not None and self.tokenizer is not None:
            return self.tokenizer.encode(self.text, raw=self.raw)
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
        readable = self.tokenizer.stream() if self.tokenizer else None

        def each(token: int) -> None:
            if show:
                click.echo(readable.add(token) if readable else f"{token} ", nl=False)

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
    @click.option("--prompt", "text", metavar="TEXT", help="The prompt as text; needs --tokenizer.")
    @click.option("--tokenizer", "tokenizer_file", type=click.Path(path_type=Path), help="The model's tokenizer.json.")
    @click.option("--raw", is_flag=True, help="The prompt as it is, not as a message in the model's chat template.")
    @click.option(
        "--max-tokens",
        type=click.IntRange(1, 2**31 - 1),
        default=NEW_TOKENS,
        show_default=True,
        help="Most new tokens; an end token ends the answer before.",
    )
    @wraps(function)
    def command(
        *,
        wanted: bool,
        ids: str | None,
        text: str | None,
        tokenizer_file: Path | None,
        raw: bool,
        max_tokens: int,
        **rest: Any,
    ) -> Any:
        prompt = Prompt(wanted, ids, max_tokens, text, tokenizer_file, raw)
        prompt.check(rest["input_files"])
        return function(prompt=prompt, **rest)

    return command


__all__ = ["Prompt", "generate_options"]
