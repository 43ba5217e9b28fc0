"""The invariants of contracts/README.md: the lines that uphold one and the tests of it have its number."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SECTION = (ROOT / "contracts" / "README.md").read_text().split("## Invariants")[1].split("\n## ")[0]
NUMBERS = [int(n) for n in re.findall(r"^(\d+)\. \*\*", SECTION, re.MULTILINE)]
SOLIDITY = "\n".join(file.read_text() for file in (ROOT / "contracts" / "src").glob("*.sol"))
TESTS = {file.name: file.read_text() for file in Path(__file__).parent.glob("test_*.py") if file != Path(__file__)}


def in_comments(source: str) -> set[int]:
    comments = "\n".join(re.findall(r"//.*", source))
    return {int(n) for n in re.findall(r"\bI(\d+)\b", comments)}


def in_tests(source: str) -> set[int]:
    """Numbers in names (`test_i7_...`) and in docstrings (`(I7)`, `(I7 to I11)`, `(I2, I4)`)."""
    found = {int(n) for n in re.findall(r"def test_i(\d+)_", source)}
    for inside in re.findall(r"\((I\d+[^)]*)\)", source):
        for part in inside.split(", "):
            numbers = [int(n) for n in re.findall(r"I(\d+)", part)]
            found |= set(range(numbers[0], numbers[-1] + 1)) if numbers else set()
    return found


def test_they_are_counted_from_one():
    assert list(range(1, len(NUMBERS) + 1)) == NUMBERS
    assert len(NUMBERS) == 18


@pytest.mark.parametrize("number", NUMBERS)
def test_each_is_upheld_by_a_line_and_by_a_test(number):
    assert number in in_comments(SOLIDITY), f"no comment in contracts/src names I{number}"
    assert any(number in in_tests(source) for source in TESTS.values()), f"no test names I{number}"


def test_no_number_is_unknown():
    known = set(NUMBERS)
    assert in_comments(SOLIDITY) <= known
    for name, source in TESTS.items():
        assert in_tests(source) <= known, name
    assert not {99} <= known
    assert in_comments("uint256 a; // I99: nobody knows") == {99}
    assert in_tests("def test_i99_is_unknown(): ...") == {99}
    assert in_tests("# as in (I1, I3 to I5)") == {1, 3, 4, 5}
