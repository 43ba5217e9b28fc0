"""How models and claims look where they are printed, and in a notebook."""

from collections.abc import Iterable, Mapping
from html import escape

from opml.graph import TensorType

_LEFT = 'style="text-align:left"'


def ports_text(ports: Mapping[str, TensorType]) -> str:
    """As `image: float32[1, 64], mask: bool[64]`."""
    return ", ".join(f"{name}: {kind}" for name, kind in ports.items())


def short(value: bytes) -> str:
    """The beginning of an id or a root."""
    return f"0x{value.hex()[:12]}…"


def table(title: str, rows: Iterable[tuple[str, str]]) -> str:
    """An HTML table of two columns under a title. All text is escaped."""
    lines = "".join(
        f"<tr><th {_LEFT}>{escape(name)}</th><td {_LEFT}><code>{escape(value)}</code></td></tr>" for name, value in rows
    )
    return f"<table><caption {_LEFT}><b>{escape(title)}</b></caption>{lines}</table>"
