"""The games that forge plays again are those that are played here."""

import json

import pytest
from contracts_vectors import FOLDER, VECTORS, render


@pytest.mark.parametrize("name", VECTORS)
def test_vectors_are_those_of_today(name):
    hint = "it has changed: python tests/contracts/contracts_vectors.py"
    assert (FOLDER / f"{name}.json").read_text() == render(name), hint


def test_every_move_is_in_them_and_every_file_is_one():
    files = {file.stem: json.loads(file.read_text()) for file in FOLDER.glob("*.json")}
    assert files.keys() == VECTORS.keys()
    moves = {name for game in files.values() for name in game["name"]}
    assert moves == {"registerModel", "claim", "challenge", "open", "choose", "post", "enter", "step", "withdraw"}
