"""Prompts and answers as text: a `tokenizer.json`, and the chat template beside it."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from opml.convert.errors import needs
from opml.errors import InputError

if TYPE_CHECKING:
    from tokenizers import Tokenizer as Base

SUFFIX = ".tokenizer.json"
REPLACEMENT = "\ufffd"  # what bytes decode to that are not yet a whole character


class Tokenizer:
    """Text to token ids and back. `template` is the Jinja template of a conversation, "" where there is none."""

    def __init__(self, base: "Base", template: str = "") -> None:
        self.base, self.template = base, template

    def __repr__(self) -> str:
        return f"Tokenizer({self.base.get_vocab_size()} tokens{', a chat template' if self.template else ''})"

    def encode(self, text: str, *, raw: bool = False) -> list[int]:
        """The ids of a user's message as the model was trained to be asked, or with `raw` of the text alone.

        Raises InputError where the template makes no sense.
        """
        if not raw and self.template:
            text = self.ask(text)
        return list(self.base.encode(text, add_special_tokens=raw or not self.template).ids)

    def decode(self, ids: Sequence[int]) -> str:
        """The text of ids, without control tokens."""
        return str(self.base.decode(list(ids), skip_special_tokens=True))

    def stream(self) -> "Stream":
        """Text as its tokens come."""
        return Stream(self)

    def ask(self, message: str) -> str:
        """The conversation of one message, up to where the answer begins. Raises InputError."""
        try:
            from jinja2 import TemplateError
            from jinja2.sandbox import ImmutableSandboxedEnvironment
        except ImportError:
            raise needs("the tokenizer's template", "text") from None

        def raise_exception(reason: str) -> None:
            raise TemplateError(reason)

        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
        environment.globals["raise_exception"] = raise_exception
        special = {"bos_token": "", "eos_token": ""}
        messages = [{"role": "user", "content": message}]
        try:
            template = environment.from_string(self.template)
            return template.render(messages=messages, add_generation_prompt=True, **special)
        except (TemplateError, ArithmeticError, LookupError, TypeError, ValueError) as error:
            raise InputError(f"the chat template makes no sense: {error}", "use --raw") from None


class Stream:
    """The text of tokens that come one after the other: `add` gives what has become readable."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.ids: list[int] = []
        self.shown = ""

    def add(self, token: int) -> str:
        """The text that one more token completes."""
        self.ids.append(token)
        text = self.tokenizer.decode(self.ids)
        if text.endswith(REPLACEMENT) or not text.startswith(self.shown):
            return ""
        new, self.shown = text[len(self.shown) :], text
        return new


def load_tokenizer(path: str | os.PathLike[str]) -> Tokenizer:
    """Reads a `tokenizer.json`, with the chat template that lies beside it. Raises InputError.

    The template is NAME.jinja beside NAME.tokenizer.json, chat_template.jinja, or in tokenizer_config.json.
    """
    try:
        from tokenizers import Tokenizer as Base
    except ImportError:
        raise needs("a prompt of text", "text") from None
    file = Path(path)
    try:
        base = Base.from_str(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{file}: {error.strerror}") from None
    except Exception as error:  # the package raises no class of its own
        raise InputError(f"{file} is no tokenizer: {error}") from None
    return Tokenizer(base, _template(file))


def _template(file: Path) -> str:
    names = [file.name.removesuffix(SUFFIX) + ".jinja"] if file.name.endswith(SUFFIX) else []
    for name in (*names, "chat_template.jinja"):
        if (beside := file.with_name(name)).is_file():
            return beside.read_text(encoding="utf-8")
    try:
        config: Any = json.loads(file.with_name("tokenizer_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ""
    template = config.get("chat_template", "") if isinstance(config, dict) else ""
    return template if isinstance(template, str) else ""


__all__ = ["Stream", "Tokenizer", "load_tokenizer"]
