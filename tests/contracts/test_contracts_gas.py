"""Gas: the figures that are promised, and those of the last version."""

import json

import pytest
from contracts_evm import TX_GAS
from contracts_gas import INSTRUCTIONS, SNAPSHOT, Dispute, dense_machine, snapshot

from vm.step import prove_step


@pytest.fixture(scope="module")
def figures():
    return snapshot()


def test_figures_are_those_of_the_snapshot(figures):
    hint = "gas has changed: python tests/contracts/contracts_gas.py --write"
    assert json.loads(SNAPSHOT.read_text()) == figures, hint


def disputes(figures):
    return [case for case in figures.values() if "total" in case]


def test_a_step_is_within_its_bounds(figures):
    """A transaction that calls the verifier alone, for a machine of a small network and for the longest witness."""
    assert figures["StepVerifier.step"].keys() == INSTRUCTIONS.keys()
    assert max(figures["StepVerifier.step"].values()) < 75_000
    (longest,) = figures["StepVerifier.step, longest witness"].values()
    assert longest < 130_000


def test_the_longest_witness_is_the_longest():
    assert len(prove_step(dense_machine())) == 2_544


def test_a_small_networks_dispute_is_within_its_bounds(figures):
    assert len(disputes(figures)) == 2
    for case in disputes(figures):
        assert case["total"] < 1_500_000
        assert case["transactions"] <= 24


def test_every_call_fits_a_transaction_many_times(figures):
    """With room for the 63/64 rule when a player is a contract."""
    for case in disputes(figures):
        assert max(gas for name, gas in case.items() if name not in ("transactions", "total")) < TX_GAS // 10


def test_the_largest_k_and_the_largest_ranges_fit(figures):
    dispute = Dispute(64, tiles=1 << 34, steps=(1 << 64) - 1)
    assert max(gas for _, gas in dispute.world.gas) < 250_000
