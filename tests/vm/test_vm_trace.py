"""Traces answer for any step what a run from the start would, in any order of questions."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from vm_asm import EXIT, program
from vm_programs import random_state

from vm import trace as trace_module
from vm.constants import HALTED, RUNNING, TRAPPED
from vm.errors import VmError
from vm.run import run
from vm.step import prove_step, replay
from vm.trace import MachineTrace


def counter(count: int):
    return program(
        "loop",
        ("addi", "a0", "a0", 1),
        ("sd", "a0", 1024, "zero"),
        ("blt", "a0", "a1", "loop"),
        *EXIT,
    ), {11: count}


def start(count: int):
    state, registers = counter(count)
    for register, number in registers.items():
        state.registers[register] = number
    return state


def at(state, t):
    state = state.fork()
    run(state, t)
    return state


@settings(max_examples=40)
@given(st.integers(0, 1 << 32), st.lists(st.integers(0, 250), max_size=12), st.integers(0, 250), st.booleans())
def test_states_in_any_order(seed, questions, limit, count_first):
    state = random_state(random.Random(seed))
    trace = MachineTrace(state, limit)
    reference = state.fork()
    steps = run(reference, limit)
    if count_first:
        assert trace.steps == steps
    for t in questions:
        expected = at(state, min(t, limit))
        assert trace.hash(t) == expected.hash()
        assert trace.state(t).hash() == expected.hash()
    assert trace.steps == steps
    assert trace.hash(steps + 100) == reference.hash()


@pytest.mark.parametrize("interval", [1, 7, 64])
def test_even_states_are_thinned_out(monkeypatch, interval):
    monkeypatch.setattr(trace_module, "_FIRST_INTERVAL", interval)
    monkeypatch.setattr(trace_module, "_EVEN_KEPT", 6)
    monkeypatch.setattr(trace_module, "_ASKED_KEPT", 4)
    state = start(300)
    trace = MachineTrace(state, 1 << 30)
    assert trace.steps == 902
    assert len(trace._order) <= 8
    for t in [901, 0, 450, 451, 13, 902, 5000, 449, 1, 700, 450]:
        assert trace.hash(t) == at(state, t).hash()
        assert len(trace._order) <= 13
        assert sorted(trace._states) == trace._order
    assert trace.state(902).status == HALTED


def test_k_section_runs_each_range_about_once(monkeypatch):
    executed = []

    def counted(state, steps):
        done = run(state, steps)
        executed.append(done)
        return done

    monkeypatch.setattr(trace_module, "run", counted)
    trace, k = MachineTrace(start(20000), 1 << 30), 16
    total = trace.steps
    low, high, rng = 0, total, random.Random(1)
    while high - low > 1:
        count = min(k, high - low)
        bounds = [low + i * (high - low) // count for i in range(count + 1)]
        hashes = [trace.hash(t) for t in bounds]
        assert len(set(hashes)) == len(hashes)
        j = rng.randrange(count)
        low, high = bounds[j], bounds[j + 1]
    assert sum(executed) < 3 * total
    assert replay(prove_step(trace.state(low))) == (trace.hash(low), trace.hash(high))


def test_the_limit_cuts_a_run_that_does_not_end():
    trace = MachineTrace(program("loop", ("addi", "a0", "a0", 1), ("jal", "zero", "loop")), 1001)
    assert trace.steps == 1001
    assert trace.state(5000).registers[10] == 501
    assert trace.state(5000).status == RUNNING
    assert trace.hash(5000) == trace.hash(1001) != trace.hash(1000)


def test_pitfall_17_beyond_the_end_the_state_is_the_last():
    for state, status in ((start(3), HALTED), (program(("addi", "a0", "a0", 1), 0), TRAPPED)):
        trace = MachineTrace(state, 1 << 62)
        end = trace.steps
        assert trace.state(end).status == status
        assert trace.state(end - 1).status == RUNNING
        assert trace.hash(end) == trace.hash(end + 1) == trace.hash(1 << 62) == trace.hash(1 << 70)


def test_a_trace_is_not_changed_from_outside():
    state = start(50)
    trace = MachineTrace(state, 1000)
    first = trace.hash(0)
    state.memory.write(0, bytes(64))
    state.registers[11] = 0
    taken = trace.state(30)
    taken.memory.write(0, bytes(64))
    taken.registers[10] = 12345
    assert trace.hash(0) == first
    assert trace.steps == 152
    assert trace.hash(30) == at(start(50), 30).hash()


def test_a_machine_that_has_stopped_before_it_began():
    state = start(1)
    state.status = TRAPPED
    trace = MachineTrace(state, 100)
    assert trace.steps == 0
    assert trace.hash(7) == state.hash()


def test_no_steps_at_all():
    assert MachineTrace(start(1), 0).steps == 0


def test_negative_numbers_are_refused():
    with pytest.raises(VmError):
        MachineTrace(start(1), -1)
    with pytest.raises(VmError):
        MachineTrace(start(1), 10).state(-1)
