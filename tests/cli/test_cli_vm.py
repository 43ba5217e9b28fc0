"""`opml vm`: programs, traces, states, lockstep, and how bad files are refused."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from vm_asm import EXIT
from vm_elf_files import BASE, elf

from opml import lockstep
from opml.cli import main
from vm.elf import read_elf
from vm.run import run
from vm.step import replay

# Sums 10..1 into bss and exits with the sum.
SUM = elf(
    ("lui", "a2", 2 * BASE),
    ("addi", "a1", "zero", 10),
    "loop",
    ("ld", "a0", 8, "a2"),
    ("add", "a0", "a0", "a1"),
    ("sd", "a0", 8, "a2"),
    ("addi", "a1", "a1", -1),
    ("bne", "a1", "zero", "loop"),
    *EXIT,
    bss=64,
)
SUM_STEPS = 2 + 5 * 10 + 2
TRAPS = elf(("addi", "a0", "zero", 5), 0)
WRITES = elf(("addi", "a7", "zero", 64), ("ecall",))
FOREVER = elf("loop", ("jal", "zero", "loop"))


@pytest.fixture
def vm(tmp_path: Path) -> Any:
    def call(command: str, data: bytes, *arguments: str) -> Result:
        file = tmp_path / "program.elf"
        file.write_bytes(data)
        return CliRunner().invoke(main, ["vm", command, str(file), *arguments])

    return call


def body(result: Result) -> Any:
    return json.loads(result.stdout)


@pytest.mark.parametrize("name", ["run", "lockstep"])
def test_help_has_examples(name: str) -> None:
    text = CliRunner().invoke(main, ["vm", name, "--help"]).stdout
    assert f"opml vm {name} program.elf" in text.split("Examples:")[1]


def test_the_exit_code_is_the_programs(vm: Any) -> None:
    assert vm("run", SUM).exit_code == 55
    result = vm("run", SUM, "--json")
    assert result.exit_code == 55
    assert {key: body(result)[key] for key in ("status", "exit_code", "steps")} == {
        "status": "halted", "exit_code": 55, "steps": SUM_STEPS,
    }  # fmt: skip


def test_only_the_low_8_bits_of_the_exit_code_reach_the_shell(vm: Any) -> None:
    result = vm("run", elf(("addi", "a0", "zero", -1), *EXIT), "--json")
    assert (result.exit_code, body(result)["exit_code"]) == (255, 2**64 - 1)


@pytest.mark.parametrize("program", [TRAPS, WRITES], ids=["word 0", "write"])
def test_a_trap_is_told_from_an_exit(vm: Any, program: bytes) -> None:
    result = vm("run", program)
    assert result.exit_code == 132
    assert f"trapped after 2 steps at pc {BASE + 4:#x}" in result.stderr
    result = vm("run", program, "--json")
    assert (body(result)["status"], body(result)["exit_code"], body(result)["pc"]) == ("trapped", None, BASE + 4)


def test_a_program_that_goes_on_is_stopped(vm: Any) -> None:
    result = vm("run", FOREVER, "--max-steps", "1000")
    assert result.exit_code == 124
    assert "still running after 1,000 steps" in result.stderr
    assert body(vm("run", FOREVER, "--max-steps", "7", "--json"))["steps"] == 7
    assert vm("run", SUM, "--max-steps", str(SUM_STEPS)).exit_code == 55
    assert vm("run", SUM, "--max-steps", str(SUM_STEPS - 1)).exit_code == 124


def test_a_trace_names_every_instruction(vm: Any) -> None:
    result = vm("run", SUM, "--trace")
    lines = result.stdout.splitlines()
    assert result.exit_code == 55
    assert len(lines) == SUM_STEPS
    assert lines[0].split() == ["0", "10000", "lui", "a2,", "0x20"]
    assert lines[-1].split() == [str(SUM_STEPS - 1), "10020", "ecall"]
    traced = vm("run", SUM, "--trace", "--json")
    assert body(traced) == body(vm("run", SUM, "--json"))
    assert len(traced.stderr.splitlines()) == SUM_STEPS


@pytest.mark.parametrize("at", [0, 1, 5, SUM_STEPS - 1, SUM_STEPS])
def test_a_state_and_its_witness(vm: Any, at: int) -> None:
    result = vm("run", SUM, "--state-at", str(at), "--json")
    assert result.exit_code == 0
    state = read_elf(SUM).start()
    assert run(state, at) == at == body(result)["steps"]
    before, after = replay(bytes.fromhex(body(result)["witness"][2:]))
    assert body(result)["hash"] == "0x" + before.hex() == "0x" + state.hash().hex()
    run(state, 1)
    assert after == state.hash()
    words = vm("run", SUM, "--state-at", str(at)).stdout
    assert body(result)["hash"] in words
    assert body(result)["witness"] in words


def test_a_state_after_the_end_is_the_last_one(vm: Any) -> None:
    late = vm("run", SUM, "--state-at", "1000000", "--json")
    assert late.exit_code == 0
    assert body(late) == body(vm("run", SUM, "--state-at", str(SUM_STEPS), "--json"))


def test_a_state_beyond_max_steps_is_not_reached(vm: Any) -> None:
    result = vm("run", SUM, "--state-at", "20", "--max-steps", "10", "--json")
    assert result.exit_code == 124
    assert "witness" not in body(result)


def test_lockstep_finds_no_difference(vm: Any) -> None:
    result = vm("lockstep", SUM, "--json")
    assert result.exit_code == 0
    report = body(result)
    assert (report["steps"], report["evm_steps"]) == (SUM_STEPS, SUM_STEPS)
    assert (report["status"], report["difference"]) == ("halted", None)
    assert report["instructions"]["ld"] == 10
    assert "no difference" in vm("lockstep", TRAPS).stdout


def test_lockstep_samples_the_contract(vm: Any) -> None:
    report = body(vm("lockstep", SUM, "--every", "10", "--json"))
    assert (report["steps"], report["evm_steps"]) == (SUM_STEPS, -(-SUM_STEPS // 10) + 1)
    report = body(vm("lockstep", SUM, "--every", "3", "--max-steps", "4", "--json"))
    assert (report["steps"], report["evm_steps"], report["status"]) == (4, 2, "running")


def test_lockstep_asks_about_a_state_once(vm: Any) -> None:
    report = body(vm("lockstep", FOREVER, "--max-steps", "9", "--json"))
    assert (report["steps"], report["evm_steps"], report["status"]) == (9, 1, "running")


@pytest.mark.parametrize("engine", ["fast loop", "contract"])
def test_lockstep_shows_the_first_difference(vm: Any, monkeypatch: pytest.MonkeyPatch, engine: str) -> None:
    """Each engine in turn adds wrongly as soon as a1 has come down to 7."""
    if engine == "fast loop":

        def wrong(state: Any, steps: int) -> int:
            taken = run(state, steps)
            state.registers[10] += state.registers[11] == 7 and state.pc == BASE + 16
            return taken

        monkeypatch.setattr(lockstep, "run", wrong)
    else:
        from opml.chain.verifier import EvmVerifier

        right = EvmVerifier.step
        count = iter(range(10**6))

        def answer(self: Any, witness: bytes) -> tuple[bytes, bytes]:
            before, after = right(self, witness)
            return before, bytes(32) if next(count) == 18 else after

        monkeypatch.setattr(EvmVerifier, "step", answer)
    result = vm("lockstep", SUM, "--json")
    assert result.exit_code == 1
    difference = body(result)["difference"]
    assert (difference["engine"], difference["step"]) == (engine, 18)
    assert difference["instruction"] == "add a0, a0, a1"
    assert difference["before"]["registers"]["a1"] == 7
    assert difference["expected"]["registers"]["a0"] == 10 + 9 + 8 + 7
    if engine == "fast loop":
        assert difference["actual"]["registers"]["a0"] == 10 + 9 + 8 + 7 + 1
        words = vm("lockstep", SUM)
        assert words.exit_code == 1
        assert "first difference: fast loop, step 18: add a0, a0, a1" in words.stdout
        assert "actual: root" in words.stdout
    else:
        assert difference["actual"] == {"hash": "0x" + "00" * 32}


def damaged(offset: int, form: str, value: int) -> bytes:
    data = bytearray(SUM)
    struct.pack_into(form, data, offset, value)
    return bytes(data)


@pytest.mark.parametrize("command", ["run", "lockstep"])
@pytest.mark.parametrize(
    ("data", "code"),
    [
        *((b"text", "elf-format"), (b"", "elf-format"), (SUM[:100], "elf-truncated"), (SUM[:-1], "elf-truncated")),
        *((damaged(4, "B", 1), "elf-machine"), (damaged(5, "B", 2), "elf-machine")),
        *((damaged(18, "<H", 62), "elf-machine"), (damaged(48, "<I", 4), "elf-machine")),
        *((damaged(48, "<I", 1), "elf-compressed"), (damaged(16, "<H", 3), "elf-dynamic")),
        *((damaged(64, "<I", 3), "elf-dynamic"), (damaged(64 + 56 + 16, "<Q", BASE), "elf-overlap")),
        *((damaged(64 + 56 + 40, "<Q", 1 << 40), "elf-range"), (damaged(24, "<Q", 2), "elf-entry")),
    ],
)  # fmt: skip
def test_bad_files_are_refused(vm: Any, command: str, data: bytes, code: str) -> None:
    result = vm(command, data, "--json")
    assert result.exit_code == 2
    assert body(result)["error"]["code"] == code
    assert f"error[{code}]: " in vm(command, data).stderr


def test_a_file_that_is_not_there() -> None:
    result = CliRunner().invoke(main, ["vm", "run", "/no/such/file", "--json"])
    assert (result.exit_code, body(result)["error"]["code"]) == (2, "bad-input")
