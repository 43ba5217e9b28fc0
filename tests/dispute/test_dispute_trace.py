"""The trace of a real model: native roots, and the real machine within a tile."""

import numpy as np
import pytest
from dispute_tiny import MID, OUTPUT, OUTPUT_PLACE, TILES, WEIGHTS, tiny_header, tiny_memory, tiny_regions, tiny_trace
from vm_asm import assemble

from opml.commitment import ModelMemory, Place, Region
from opml.dispute.selfcheck import self_check
from opml.dispute.trace import ModelTrace
from opml.errors import SelfCheckError
from vm.constants import HALTED, MODEL_LEVEL, REG_A0, REG_A1
from vm.keccak import keccak256
from vm.merkle import ZERO
from vm.state import decode_state
from vm.step import replay


@pytest.mark.parametrize("one_phase", [False, True])
def test_every_unit_starts_and_ends_where_the_contract_says(one_phase: bool) -> None:
    trace = tiny_trace(one_phase)
    assert trace.tiles == (1 if one_phase else TILES)
    for m in range(trace.tiles):
        run = trace.machine(m)
        start, end = decode_state(run.encode(0)), decode_state(run.encode(run.steps))
        assert start.root == keccak256(trace.tile_root(m) + ZERO[MODEL_LEVEL])
        assert (start.pc, start.registers[REG_A0], start.registers[REG_A1]) == (0, m, trace.header.stride)
        assert (end.status, end.registers[REG_A0]) == (HALTED, 0)
        assert end.root == keccak256(trace.tile_root(m + 1) + run.scratch_root)
        assert run.scratch_root != ZERO[MODEL_LEVEL]
        assert run.hash(run.steps) == keccak256(run.encode(run.steps)) == run.hash(run.steps + 7)


def test_every_step_has_a_witness_that_leads_to_the_next_state() -> None:
    trace = tiny_trace()
    for m in (0, MID, TILES - 1):
        run = trace.machine(m)
        for t in range(run.steps + 1):
            assert replay(run.witness(t)) == (run.hash(t), run.hash(t + 1))


def test_a_wrong_native_result_shows_in_the_machine() -> None:
    regions = tiny_regions()
    regions[3].data[32] ^= 4
    trace = ModelTrace(tiny_header(), ModelMemory(regions, Place(0x20000, 0), OUTPUT_PLACE))
    ends = [decode_state(trace.machine(m).encode(trace.machine(m).steps)).root for m in range(TILES)]
    roots = [keccak256(trace.tile_root(m + 1) + trace.machine(m).scratch_root) for m in range(TILES)]
    assert [a == b for a, b in zip(ends, roots, strict=True)] == [m not in (1, 2) for m in range(TILES)]


def test_machines_are_kept_and_let_go() -> None:
    trace = tiny_trace()
    first = trace.machine(0)
    assert trace.machine(0) is first
    for m in range(1, TILES):
        trace.machine(m)
    assert trace.machine(0) is not first
    assert trace.machine(0).hash(3) == first.hash(3)


@pytest.mark.parametrize("one_phase", [False, True])
def test_the_self_check_passes_on_good_results_and_names_a_bad_tile(one_phase: bool) -> None:
    header = tiny_header(one_phase)
    assert self_check(header, tiny_memory(), count=TILES) == list(range(TILES))
    assert len(self_check(header, tiny_memory(), count=3, seed=1)) == 3
    assert len(self_check(header, tiny_memory(), count=3)) == 3
    regions = tiny_regions()
    regions[4].data[-1] ^= 1
    bad = ModelMemory(regions, Place(0x20000, 0), OUTPUT_PLACE)
    with pytest.raises(SelfCheckError, match=f"tile {TILES - 1}: the machine and the native kernels disagree"):
        self_check(header, bad, count=TILES)


def test_the_self_check_refuses_a_guest_that_does_not_end_well() -> None:
    regions = tiny_regions()
    stuck = Region(0, 10, np.frombuffer((0x6F).to_bytes(4, "little"), np.uint8))
    trapped = Region(0, 10, np.zeros(4, np.uint8))
    failing = assemble(("addi", "a0", "zero", 7), ("addi", "a7", "zero", 93), ("ecall",))
    for guest in (stuck, trapped, Region(0, 10, np.frombuffer(failing, np.uint8))):
        memory = ModelMemory([guest, *regions[1:]], Place(0x20000, 0), OUTPUT_PLACE)
        with pytest.raises(SelfCheckError, match="did not end well"):
            self_check(tiny_header(), memory, count=1)


def test_another_weight_gives_another_model_and_another_output() -> None:
    other = WEIGHTS.copy()
    other[8] ^= 1
    assert tiny_memory(other).model_root != tiny_memory().model_root
    assert tiny_memory(other).output_root != tiny_memory().output_root
    assert tiny_memory(other).input_path() != tiny_memory().input_path()
    assert OUTPUT_PLACE.address == OUTPUT
