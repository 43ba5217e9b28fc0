"""`opml vm`: the step machine by itself, for any static RV64IM program."""

import sys
from pathlib import Path
from typing import Any

import click

from opml.cli.options import console, emit, json_option, progress
from opml.errors import InputError
from opml.lockstep import Difference, Report, compare, instruction_at
from vm.constants import HALTED, REG_A0, RUNNING, TRAPPED
from vm.elf import read_elf
from vm.isa import REGISTER_NAMES
from vm.run import MAX_STEPS, run
from vm.state import State, StateHeader
from vm.step import DirectAccess, prove_step, step

STATUS = {RUNNING: "running", HALTED: "halted", TRAPPED: "trapped"}
# Exit statuses that are not the guest's: as `timeout` has it, and as shells report an illegal instruction.
OUT_OF_STEPS, TRAP = 124, 132
DIFFERENT = 1
_CHUNK = 1 << 26

_program = click.argument("program", type=click.Path(path_type=Path))
_max_steps = click.option(
    "--max-steps", type=click.IntRange(1, MAX_STEPS), default=MAX_STEPS, metavar="N", help="Stop after N steps."
)


@click.group("vm")
def command() -> None:
    """Run any static, freestanding RV64IM program in the step machine, off chain or beside the contract.

    A program ends by `ecall` with a7 = 93 and its exit code in a0; every other call traps. Build one, for example, with
    `riscv64-unknown-elf-gcc -march=rv64im -mabi=lp64 -nostdlib -static`.

    \b
    Examples:
      opml vm run program.elf
      opml vm run program.elf --state-at 1000 --json
      opml vm lockstep program.elf --max-steps 500
    """


@command.command("run")
@_program
@_max_steps
@click.option("--trace", is_flag=True, help="Print each instruction before it is executed.")
@click.option(
    "--state-at", type=click.IntRange(0, MAX_STEPS), metavar="N", help="Stop after N steps; print hash and witness."
)
@json_option
def run_command(program: Path, max_steps: int, trace: bool, state_at: int | None, as_json: bool) -> None:
    """Run PROGRAM, a static ELF file, and exit with its exit code (the low 8 bits of a0).

    With --state-at, print the hash of the state after N steps and the witness of the step from it, and exit with 0.

    \b
    Examples:
      opml vm run program.elf
      opml vm run program.elf --max-steps 100 --trace
      opml vm run program.elf --state-at 1000 --json | jq -r .witness

    Exit status: the program's; 124 if it was still running after --max-steps, 132 if it trapped, 2 if it is no program
    that the machine can run.
    """
    state = _load(program)
    limit = max_steps if state_at is None else min(max_steps, state_at)
    steps = _trace(state, limit, as_json) if trace else _run(state, limit, program.name)
    at_state = state_at is not None and (steps == state_at or state.status != RUNNING)
    body: dict[str, Any] = {
        "status": STATUS[state.status],
        "exit_code": state.registers[REG_A0] if state.status == HALTED else None,
        "steps": steps,
        **_state_body(state.header()),
    }
    if at_state:
        body["witness"] = prove_step(state)
    if as_json:
        emit(body)
    elif at_state:
        click.echo(f"step {steps}: {body['status']}, pc {state.pc:#x}: {instruction_at(state)}")
        click.echo(f"hash    0x{body['hash'].hex()}")
        click.echo(f"witness 0x{body['witness'].hex()}")
    elif state.status == TRAPPED:
        click.echo(f"trapped after {steps:,} steps at pc {state.pc:#x}: {instruction_at(state)}", err=True)
    elif state.status == RUNNING:
        click.echo(f"still running after {steps:,} steps, at pc {state.pc:#x}: {instruction_at(state)}", err=True)
    else:
        console.print(f"exit code {body['exit_code']} after {steps:,} steps")
    if not at_state:
        sys.exit({HALTED: state.registers[REG_A0] & 0xFF, TRAPPED: TRAP, RUNNING: OUT_OF_STEPS}[state.status])


@command.command("lockstep")
@_program
@_max_steps
@click.option(
    "--every", type=click.IntRange(1), default=1, show_default=True, help="Ask the contract about each Nth step only."
)
@json_option
def lockstep_command(program: Path, max_steps: int, every: int, as_json: bool) -> None:
    """Run PROGRAM in the definition, the fast loop and the contract on an embedded EVM, and compare the hashes after
    every step. Stops at the first difference and shows the states on both sides.

    \b
    Examples:
      opml vm lockstep program.elf
      opml vm lockstep program.elf --every 1000 --max-steps 1000000
      opml vm lockstep program.elf --json

    Exit status: 0 if there is no difference, whatever the program's exit code; 1 if there is one.
    """
    from opml.chain.verifier import EvmVerifier

    start = _load(program)
    with progress() as bar:
        task = bar.add_task(program.name, total=None)

        def show(report: Report) -> None:
            bar.update(task, description=f"{program.name}: {report.steps:,} steps, {report.evm_steps:,} on the EVM")

        report = compare(start, EvmVerifier(), max_steps, every, show)
    if as_json:
        emit(
            {
                "steps": report.steps,
                "evm_steps": report.evm_steps,
                "status": STATUS[report.status],
                "instructions": dict(sorted(report.instructions.items())),
                "difference": _difference_body(report.difference) if report.difference else None,
            }
        )
    else:
        click.echo(
            f"{report.steps:,} steps, {report.evm_steps:,} different ones on the EVM, {STATUS[report.status]}: "
            f"{'a difference' if report.difference else 'no difference'}"
        )
        if report.difference:
            _show_difference(report.difference)
    if report.difference:
        sys.exit(DIFFERENT)


def _load(program: Path) -> State:
    try:
        data = program.read_bytes()
    except OSError as error:
        raise InputError(f"{program} cannot be read: {error.strerror}") from None
    return read_elf(data).start()


def _run(state: State, limit: int, name: str) -> int:
    """In parts, so that an interrupt is heard and the bar moves."""
    steps = 0
    with progress() as bar:
        task = bar.add_task(name, total=None)
        while steps < limit and state.status == RUNNING:
            steps += run(state, min(_CHUNK, limit - steps))
            bar.update(task, description=f"{name}: {steps:,} steps")
    return steps


def _trace(state: State, limit: int, to_stderr: bool) -> int:
    """By the definition, each instruction printed before it is executed."""
    steps = 0
    while steps < limit and state.status == RUNNING:
        click.echo(f"{steps:>8} {state.pc:>10x}  {instruction_at(state)}", err=to_stderr)
        step(DirectAccess(state))
        steps += 1
    return steps


def _state_body(header: StateHeader) -> dict[str, Any]:
    return {
        "pc": header.pc,
        "registers": dict(zip(REGISTER_NAMES, header.registers, strict=True)),
        "root": header.root,
        "hash": header.hash(),
    }


def _difference_body(difference: Difference) -> dict[str, Any]:
    return {
        "engine": difference.engine,
        "step": difference.step,
        "instruction": difference.instruction,
        "before": _state_body(difference.before),
        "expected": _state_body(difference.expected),
        "actual": _state_body(difference.actual) if difference.actual else {"hash": difference.actual_hash},
    }


def _show_difference(difference: Difference) -> None:
    click.echo(f"first difference: {difference.engine}, step {difference.step}: {difference.instruction}")
    click.echo(f"  before   0x{difference.before.hash().hex()}")
    click.echo(f"  expected 0x{difference.expected_hash.hex()}")
    click.echo(f"  actual   0x{difference.actual_hash.hex()}")
    states = [("before", difference.before), ("expected", difference.expected)]
    if difference.actual:
        states.append(("actual", difference.actual))
    for name, header in states:
        values = {"pc": header.pc, "status": header.status, **dict(zip(REGISTER_NAMES, header.registers, strict=True))}
        click.echo(f"  {name}: root 0x{header.root.hex()}")
        click.echo("    " + " ".join(f"{key}={value:x}" for key, value in values.items() if value))
