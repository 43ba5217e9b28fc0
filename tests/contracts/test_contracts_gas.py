"""Gas: the figures that are promised, and those of the last version."""

import json

import pytest
from contracts_evm import TX_GAS
from contracts_gas import INSTRUCTIONS, SNAPSHOT, Dispute, dense_machine, snapshot

from opml.chain.deploy import DEFAULT_K
from vm.step import prove_step


@pytest.fixture(scope="module")
def figures():
    return snapshot()


def test_figures_are_those_of_the_snapshot(figures):
    hint = "gas has changed: python tests/contracts/contracts_gas.py --write"
    assert json.loads(SNAPSHOT.read_text()) == figures, hint


def disputes(figures):
    return {name: case for name, case in figures.items() if "step" in case}


def test_a_step_is_within_its_bounds(figures):
    """A transaction that calls the verifier alone, for a machine of a small network and for the longest witness."""
    assert figures["StepVerifier.step"].keys() == INSTRUCTIONS.keys()
    assert max(figures["StepVerifier.step"].values()) < 75_000
    (longest,) = figures["StepVerifier.step, longest witness"].values()
    assert longest < 130_000


def test_the_longest_witness_is_the_longest():
    assert len(prove_step(dense_machine())) == 2_544


def test_a_dispute_is_within_its_bounds(figures):
    """2^21 tiles of 2^20 instructions, both sides together, whoever wins; a small network costs less."""
    assert len(disputes(figures)) == 4
    for name, case in disputes(figures).items():
        small = name.startswith("2^11")
        assert case["total"] <= (1_100_000 if small else 1_300_000)
        assert case["transactions"] <= (16 if small else 22)


def test_no_dispute_is_cheap(figures):
    """Claim and withdrawal together; without the input on chain it is cheaper still."""
    whole, by_root = figures["no dispute"], figures["no dispute, input not on chain"]
    assert whole["total"] < 120_000
    assert by_root["total"] < whole["total"]


def test_i18_every_call_fits_a_transaction_many_times(figures):
    """With room for the 63/64 rule when a player is a contract."""
    for case in disputes(figures).values():
        assert max(gas for name, gas in case.items() if name not in ("transactions", "total")) < TX_GAS // 10


def test_i18_the_largest_k_and_the_largest_ranges_fit():
    dispute = Dispute(64, tiles=1 << 34, steps=(1 << 64) - 1)
    assert max(gas for _, gas in dispute.world.gas) < 250_000


def test_rounds_do_not_depend_on_the_place():
    """With the k that is recommended, 2^21 tiles and 2^20 instructions take four rounds each, wherever the fault is."""
    for length in (1 << 21, 1 << 20):
        rounds = 0
        while length > 1:
            rounds, length = rounds + 1, -(-length // min(DEFAULT_K, length))  # the longer of its parts
        assert rounds <= 4
