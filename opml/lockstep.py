"""Three machines side by side: the definition, the fast loop and the contract, compared after every step.

What one of them does wrong is found at the first step at which it does, with the states on both sides.
"""

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

from vm.constants import MEMORY_BYTES, RUNNING
from vm.isa import NUMBER, WORD_BYTES, disassemble
from vm.run import run
from vm.state import State, StateHeader
from vm.step import DirectAccess, prove_step, step


class Verifier(Protocol):
    """One step from its witness: the contract on an EVM, or `vm.step.replay`."""

    def step(self, witness: bytes) -> tuple[bytes, bytes]:
        """The state hashes before and after the step that a witness proves."""


@dataclass(frozen=True)
class Difference:
    """The first step, number `step` from 0, after which `engine` is in another state than the definition."""

    engine: str
    step: int
    instruction: str
    before: StateHeader
    expected: StateHeader
    expected_hash: bytes
    actual_hash: bytes
    actual: StateHeader | None
    """The engine's state; None for the contract, which tells only its hash."""


@dataclass
class Report:
    """What was compared."""

    steps: int = 0
    evm_steps: int = 0
    """Steps that the EVM took, each from another state: one that a loop comes back to is not asked about again."""
    instructions: Counter[str] = field(default_factory=Counter)
    """How often the EVM executed each instruction; `none` for words and addresses that are none."""
    gas: list[int] = field(default_factory=list)
    status: int = RUNNING
    difference: Difference | None = None


def instruction_at(state: State) -> str:
    """The disassembled instruction that a state takes next."""
    if state.pc % WORD_BYTES or state.pc > MEMORY_BYTES - WORD_BYTES:
        return f"no instruction at pc {state.pc:#x}"
    return disassemble(state.memory.load(state.pc, WORD_BYTES))


def _name(state: State) -> str:
    """The name of that instruction, `none` if it is none."""
    first = instruction_at(state).split()[0]
    return first if first in NUMBER else "none"


def compare(
    start: State,
    verifier: Verifier,
    max_steps: int,
    every: int = 1,
    progress: Callable[[Report], None] = lambda report: None,
) -> Report:
    """Runs all three from `start`, which is not changed, until they stop, differ, or have taken `max_steps`.

    The fast loop is compared after every step; the verifier is asked about each `every`-th step and the last one, but
    never twice about the same state.
    After the run the fast loop repeats it without a stop, and must end in the same state.
    """
    report, seen = Report(), set[bytes]()
    definition, single = start.fork(), start.fork()
    for before, before_hash in _walk(definition, max_steps):
        report.steps += 1
        expected = definition.hash()
        taken = run(single, 1)
        if taken != 1 or single.hash() != expected:
            report.difference = _difference("fast loop", report.steps - 1, before, definition, single)
            break
        last = definition.status != RUNNING or report.steps == max_steps
        if ((report.steps - 1) % every == 0 or last) and before_hash not in seen:
            seen.add(before_hash)
            pre, post = verifier.step(prove_step(before))
            report.evm_steps += 1
            report.instructions[_name(before)] += 1
            report.gas.append(getattr(verifier, "gas", 0))
            if (pre, post) != (before_hash, expected):
                wrong = pre if pre != before_hash else post
                report.difference = _difference("contract", report.steps - 1, before, definition, wrong)
                break
        progress(report)
    report.status = definition.status
    if report.difference is None:
        whole = start.fork()
        if run(whole, max_steps) != report.steps or whole.hash() != definition.hash():
            report.difference = _difference("fast loop, whole run", report.steps, definition, definition, whole)
    return report


def _walk(state: State, max_steps: int) -> Iterator[tuple[State, bytes]]:
    """Steps `state` by the definition; yields after each step the state before it, and that one's hash."""
    for _ in range(max_steps):
        if state.status != RUNNING:
            return
        before = state.fork()
        digest = before.hash()
        step(DirectAccess(state))
        yield before, digest


def _difference(engine: str, number: int, before: State, expected: State, actual: State | bytes) -> Difference:
    own = None if isinstance(actual, bytes) else actual.header()
    digest = actual if isinstance(actual, bytes) else actual.hash()
    header = expected.header()
    return Difference(engine, number, instruction_at(before), before.header(), header, header.hash(), digest, own)
