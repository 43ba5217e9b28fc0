"""Whole games as transactions, for the forge tests to make again in another EVM.

python tests/contracts/contracts_vectors.py        writes contracts/test/vectors/*.json, which a test compares

Sender, value, time, data, and what came of it: output and gas to the unit. The contracts' addresses are part of every
id, so forge deploys from the same account.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

sys.path.insert(0, str(Path(__file__).parent))

import contracts_gas
from contracts_driver import World, play
from contracts_evm import Receipt
from contracts_runs import Lie, Run

from opml.dispute.game import Stage

COLUMNS = ("name", "sender", "value", "time", "data", "output", "gas")
FOLDER = Path(__file__).parents[2] / "contracts" / "test" / "vectors"


class Scribe(World):
    """A world that writes down each transaction to the contract."""

    def __init__(self, k: int = 4) -> None:
        super().__init__(k)
        self.calls: dict[str, list[Any]] = {column: [] for column in COLUMNS}

    def send(self, sender: bytes, name: str, *args: Any, value: int = 0) -> Receipt:
        receipt = super().send(sender, name, *args, value=value)
        row = (name, sender, value, self.evm.now, self.evm.abi.encode(name, args), receipt.output, receipt.gas)
        for column, item in zip(self.calls.values(), row, strict=True):
            column.append("0x" + item.hex() if isinstance(item, bytes) else item)
        return receipt

    def transcript(self) -> dict[str, Any]:
        """All that it takes to do the same again, and what the contract holds in the end."""
        return {
            "deployer": "0x" + self.other.hex(),
            "verifier": "0x" + self.verifier.hex(),
            "opml": "0x" + self.opml.hex(),
            "proverBond": self.view("proverBond"),
            "challengerBond": self.view("challengerBond"),
            "k": self.k,
            "balance": self.evm.balance(self.opml),
        } | self.calls


def small_game(claimed: Run, other: Run, winner: Stage) -> dict[str, Any]:
    """Real players to the end, each from its own run, and the winner's withdrawal."""
    world = Scribe()
    claim_id, game_id = world.game_against(claimed)
    assert play(world, claimed, other, game_id) == winner
    if winner == Stage.PROVER_WON:
        world.evm.now += 2000
        world.collect(world.prover, [claim_id], [game_id])
    else:
        world.collect(world.challenger, games=[game_id])
    return world.transcript()


def large_game() -> dict[str, Any]:
    """A dispute of the size for which gas is promised."""
    with patch.object(contracts_gas, "World", Scribe):
        scene = contracts_gas.Dispute(contracts_gas.K, *contracts_gas.LARGE)
    assert isinstance(scene.world, Scribe)
    return scene.world.transcript()


VECTORS: dict[str, Callable[[], dict[str, Any]]] = {
    "challenger_wins": lambda: small_game(Lie(9, wrong=6), Run(9), Stage.CHALLENGER_WON),
    "prover_wins": lambda: small_game(Run(9), Lie(9, wrong=6), Stage.PROVER_WON),
    "one_phase": lambda: small_game(Lie(1, 9, wrong=6, at=80), Run(1, 9), Stage.CHALLENGER_WON),
    "one_tile": lambda: small_game(Run(1), Lie(1), Stage.PROVER_WON),
    "large": large_game,
}


def render(name: str) -> str:
    """The file's content."""
    return json.dumps(VECTORS[name](), indent=1) + "\n"


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name in VECTORS:
        (FOLDER / f"{name}.json").write_text(render(name))


if __name__ == "__main__":
    main()
