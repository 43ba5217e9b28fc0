"""Tables in documentation that programs write: lines between two markers of a name."""

from collections.abc import Iterable
from pathlib import Path

PROTOCOL = Path(__file__).parent.parent / "docs" / "protocol.md"


def read_table(name: str, page: Path = PROTOCOL) -> list[str]:
    """The lines of a table, without its markers. Raises ValueError where the page has none of this name."""
    _, table, _ = _split(name, page)
    return table.strip("\n").split("\n")


def write_table(name: str, lines: Iterable[str], page: Path = PROTOCOL) -> None:
    """Puts these lines in a table's place. Raises ValueError where the page has none of this name."""
    before, _, after = _split(name, page)
    page.write_text(before + "\n".join(["", *lines, "", ""]) + after, encoding="utf-8")


def markdown(heads: list[str], rows: Iterable[Iterable[str]]) -> list[str]:
    """A table's lines."""
    return ["| " + " | ".join(cells) + " |" for cells in (heads, ["---"] * len(heads), *rows)]


def _split(name: str, page: Path) -> tuple[str, str, str]:
    start, end = f"<!-- table {name} -->\n", f"<!-- end {name} -->"
    text = page.read_text(encoding="utf-8")
    if text.count(start) != 1 or text.count(end) != 1:
        raise ValueError(f"{page} has no table {name!r}")
    before, rest = text.split(start)
    table, after = rest.split(end)
    return before + start, table, end + after
