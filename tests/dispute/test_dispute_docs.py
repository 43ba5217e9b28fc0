"""The page about disputes names every liar there is, and no other."""

import re
from pathlib import Path

from opml.dispute.liars import LIARS, TURNS
from opml.dispute.schemers import SCHEMERS

PAGE = Path(__file__).parents[2] / "docs" / "dispute.md"


def test_the_page_names_every_liar() -> None:
    table = PAGE.read_text().split("## Liars")[1].split("## Tests")[0]
    rows = [line for line in table.splitlines() if line.startswith("| ") and "`" in line]
    names = [name for row in rows for name in re.findall(r"`([a-z0-9-]+)`", row)]
    silent = {f"silent-{turn}" for turn in range(TURNS)}
    assert {f"silent-{0}", f"silent-{TURNS - 1}"} <= set(names)
    assert {name for name in names if not name.startswith("silent")} == {*LIARS, *SCHEMERS} - silent
    assert len(names) == len(set(names))
