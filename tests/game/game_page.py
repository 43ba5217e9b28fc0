"""The tables of docs/protocol.md: lines between two markers, written by programs."""

from collections.abc import Iterable
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "protocol.md"


def read_table(name: str) -> list[str]:
    """The lines of a table, without its markers."""
    before, after = _markers(name)
    text = PAGE.read_text(encoding="utf-8")
    return text.partition(before)[2].partition(after)[0].strip("\n").split("\n")


def write_table(name: str, lines: Iterable[str]) -> None:
    """Puts these lines in a table's place. Raises ValueError where the page has no such table."""
    before, after = _markers(name)
    text = PAGE.read_text(encoding="utf-8")
    if before not in text or after not in text:
        raise ValueError(f"{PAGE} has no table {name!r}")
    head, tail = text.partition(before)[0], text.partition(after)[2]
    PAGE.write_text(head + before + "\n".join(lines) + "\n" + after + tail, encoding="utf-8")


def _markers(name: str) -> tuple[str, str]:
    return f"<!-- table {name} -->\n", f"<!-- end {name} -->"
