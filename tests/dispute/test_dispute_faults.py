"""One flipped bit anywhere in the tensors: who has it loses, and the game ends at the bit's first effect."""

import numpy as np
import pytest
from dispute_bench import Bench, referee_bench
from dispute_tiny import INPUT, INPUTS, MID, MIDDLE, OUTPUT, TILES, WEIGHT, WEIGHTS, tiny_memory, tiny_trace

from opml.dispute.faults import Bluff, with_fault
from opml.dispute.game import GameView, Phase, Role
from opml.dispute.moves import Step
from opml.dispute.player import player, should_challenge
from opml.dispute.trace import ModelTrace, Trace
from opml.errors import DisputeError

TRUTH = tiny_trace()
# (address, hidden, first tile whose root after it differs)
FAULTS = {
    "weight": (WEIGHT + 8 * 3, False, 0),
    "hidden weight": (WEIGHT + 8 * 3, True, 3),
    "hidden last weight": (WEIGHT + 8 * 7, True, 7),
    "input": (INPUT, False, 0),
    "hidden input": (INPUT, True, 0),
    "first intermediate": (MIDDLE, False, 0),
    "middle intermediate": (MIDDLE + 32 * 2, False, 2),
    "hidden intermediate": (MIDDLE + 32 * 2, True, 3),
    "last intermediate": (MIDDLE + 32 * (MID - 1), False, MID - 1),
    "output": (OUTPUT + 32, False, MID + 1),
    "last bit of the output": (OUTPUT + 95, False, TILES - 1),
}


def game(bench: Bench, faulty: ModelTrace, lying: Role) -> GameView:
    traces = {lying: faulty, lying.other: tiny_trace(faulty.tiles == 1)}
    claim_id = bench.claim(traces[Role.PROVER].output_root, one_phase=faulty.tiles == 1)
    assert should_challenge(bench.court.claim_view(claim_id), traces[Role.CHALLENGER], bench.court.now())
    game_id = bench.challenge(claim_id)
    view, _, _ = bench.play_out(game_id, {role: player(trace, role) for role, trace in traces.items()})
    assert view.winner is lying.other
    return view


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("name", FAULTS)
def test_a_flipped_bit_loses_at_the_tile_where_it_first_matters(name: str, lying: Role, bench: Bench) -> None:
    address, hidden, tile = FAULTS[name]
    faulty = with_fault(TRUTH, address, hidden=hidden)
    assert faulty.output_root != TRUTH.output_root
    view = game(bench, faulty, lying)
    if name == "weight" and lying is Role.PROVER:
        # His memory is not the model's: he cannot even show where the input goes.
        assert (view.lo, view.length) == (bytes(32), 0)
    else:
        assert (view.tile, view.length) == (tile, 1)


@pytest.mark.parametrize("lying", Role)
def test_in_one_phase_the_machine_itself_speaks_against_the_faulty_kernels(lying: Role) -> None:
    """A prover cannot show an end state with his output; a challenger finds nothing to point at."""
    for bit in range(8):
        faulty = with_fault(tiny_trace(one_phase=True), MIDDLE + 32, bit=bit)
        view = game(referee_bench(), faulty, lying)
        assert view.phase is (Phase.TILE if lying is Role.PROVER else Phase.INSTRUCTION)


@pytest.mark.parametrize("lying", Role)
def test_a_bluff_brings_the_game_down_to_the_chosen_instruction(lying: Role) -> None:
    for address, tile in ((WEIGHT + 24, 3), (MIDDLE + 64, 2), (OUTPUT, MID)):
        bluff = Bluff(with_fault(TRUTH, address, hidden=address < MIDDLE), step=11)
        bench = referee_bench()
        traces: dict[Role, Trace] = {lying: bluff, lying.other: TRUTH}
        game_id = bench.challenge(bench.claim(traces[Role.PROVER].output_root))
        view, moves, refused = bench.play_out(game_id, {role: player(trace, role) for role, trace in traces.items()})
        assert (view.winner, view.phase, view.tile, view.position) == (lying.other, Phase.INSTRUCTION, tile, 11)
        assert isinstance(moves[-1], Step)
        assert refused == []


def test_the_faulty_memory_is_what_a_native_run_on_the_flipped_bit_gives() -> None:
    weights, inputs = WEIGHTS.copy(), INPUTS.copy()
    weights[16] ^= 4
    inputs[5] ^= 128
    by_weight = with_fault(TRUTH, WEIGHT + 16, bit=2).memory
    by_input = with_fault(TRUTH, INPUT + 5, bit=7).memory
    for m in range(TILES + 1):
        assert by_weight.root(m) == tiny_memory(weights=weights).root(m)
        assert by_input.root(m) == tiny_memory(inputs=inputs).root(m)
    hidden = with_fault(TRUTH, WEIGHT + 16, bit=2, hidden=True).memory
    assert hidden.model_root == TRUTH.memory.model_root != by_weight.model_root
    assert hidden.output_root == by_weight.output_root
    assert np.array_equal(TRUTH.memory.regions[1].data, WEIGHTS)


def test_a_bit_that_nobody_reads_changes_no_output() -> None:
    """Only the first word of the input is used: the claim stays true, and nobody should challenge it."""
    faulty = with_fault(TRUTH, INPUT + 9)
    assert faulty.output_root == TRUTH.output_root
    assert faulty.tile_root(TILES) != TRUTH.tile_root(TILES)


def test_faults_outside_of_all_tensors_or_fatal_to_the_guest_are_named() -> None:
    with pytest.raises(DisputeError, match="no tensor at 0x30000"):
        with_fault(TRUTH, 0x30000)
    with pytest.raises(DisputeError, match="does not end well"):
        with_fault(TRUTH, 0, bit=1)
