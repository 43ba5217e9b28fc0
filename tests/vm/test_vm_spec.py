"""SPEC.md says what the code does."""

import re

import pytest

from vm import spec
from vm.constants import DEPTH, LEAF_BYTES, STATE_BYTES
from vm.isa import FORMATS, TABLE
from vm.merkle import MASK_BYTES, ZERO
from vm.step import replay

TEXT = spec.FILE.read_text(encoding="utf-8")


def test_the_tables_are_up_to_date():
    assert spec.regenerate(TEXT) == TEXT, "run `python -m vm.spec`"
    assert spec.main(["--check"]) == 0


@pytest.mark.parametrize("section", spec.SECTIONS)
def test_a_changed_table_is_noticed(section, tmp_path, monkeypatch):
    marker = f"<!-- generated: {section} -->\n"
    stale = TEXT.replace(marker, marker + "x")
    monkeypatch.setattr(spec, "FILE", tmp_path / "SPEC.md")
    spec.FILE.write_text(stale)
    assert spec.main(["--check"]) == 1
    assert spec.main([]) == 0
    assert spec.FILE.read_text(encoding="utf-8") == TEXT


def test_every_instruction_and_format_is_described_once():
    assert list(spec.MEANING) == [line.name for line in TABLE]
    assert list(spec.IMMEDIATES) == [form.name for form in FORMATS]
    assert all(TEXT.count(f"| `{line.name}` |") == 1 for line in TABLE)


def test_the_numbers_in_the_prose():
    longest = STATE_BYTES + 2 * LEAF_BYTES + 3 * MASK_BYTES + 2 * 32 * (DEPTH - 1)
    assert f"{longest:,} bytes" in TEXT
    assert f"exactly {STATE_BYTES} bytes" in TEXT
    assert f"fixed depth {DEPTH}" in TEXT


def test_the_vectors_replay():
    vectors = re.findall(r"witness \((\d+) bytes\): `(\w+)`\n  - before: `(\w+)`\n  - after: `(\w+)`", TEXT)
    assert len(vectors) == len(spec.example_states()) == 6
    for size, witness, before, after in vectors:
        assert len(witness) == 2 * int(size)
        assert tuple(node.hex() for node in replay(bytes.fromhex(witness))) == (before, after)
        assert before != after


def test_the_zero_subtrees_are_all_there():
    assert all(node.hex() in TEXT for node in ZERO)
