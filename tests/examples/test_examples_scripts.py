"""The numbered examples run, and end as they say."""

import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
LAST_LINES = {
    "01_run.py": "a 9 looks like a 9",
    "02_claim.py": "so the digit is a 3",
    "03_dispute.py": "the challenger wins, the claim is rejected",
}


def test_every_example_is_here() -> None:
    # The liar needs a chain and a watcher: test_examples_liar.py.
    assert {file.name for file in EXAMPLES.glob("*.py")} == {*LAST_LINES, "04_liar.py"}


@pytest.mark.parametrize("name", LAST_LINES)
def test_example(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    assert capsys.readouterr().out.splitlines()[-1].startswith(LAST_LINES[name])
