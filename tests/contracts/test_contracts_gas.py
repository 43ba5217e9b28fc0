"""Gas: the figures that are promised, and those of the last version."""

import json

import pytest
from contracts_evm import TX_GAS
from contracts_gas import SNAPSHOT, Dispute, snapshot


@pytest.fixture(scope="module")
def figures():
    return snapshot()


def test_figures_are_those_of_the_snapshot(figures):
    hint = "gas has changed: python tests/contracts/contracts_gas.py --write"
    assert json.loads(SNAPSHOT.read_text()) == figures, hint


def test_a_small_networks_dispute_is_within_its_bounds(figures):
    for case in figures.values():
        assert case["total"] < 1_500_000
        assert case["transactions"] <= 24


def test_every_call_fits_a_transaction_many_times(figures):
    """With room for the 63/64 rule when a player is a contract."""
    for case in figures.values():
        assert max(gas for name, gas in case.items() if name not in ("transactions", "total")) < TX_GAS // 10


def test_the_largest_k_and_the_largest_ranges_fit(figures):
    dispute = Dispute(64, tiles=1 << 34, steps=(1 << 64) - 1)
    assert max(gas for _, gas in dispute.world.gas) < 250_000
