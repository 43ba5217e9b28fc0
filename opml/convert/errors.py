"""How a conversion fails."""

from importlib.metadata import PackageNotFoundError, requires

from opml.errors import InputError, ModelError


class ConversionError(ModelError):
    """A model cannot be converted, or what was converted does not compute the same."""

    code = "conversion"


def needs(what: str, extra: str) -> InputError:
    """What to say where the packages of one of opml's extras are not installed."""
    return InputError(f"{what} needs packages that are not installed", f"pip install {_packages(extra)}")


def _packages(extra: str) -> str:
    """An extra's packages at their versions, as pip's arguments. Not by opml's name, which is another's on PyPI."""
    try:
        entries = [entry.partition(";") for entry in requires("opml") or []]
    except PackageNotFoundError:
        entries = []
    marks = (f"extra == '{extra}'", f'extra == "{extra}"')
    found = [f"'{package.strip()}'" for package, _, mark in entries if mark.strip() in marks]
    return " ".join(found) or f"'.[{extra}]', in opml's repository"


def first_line(error: Exception) -> str:
    """What a framework's error says, without pages of advice."""
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:200]
