"""The machine's benchmarks, on little data."""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from vm.constants import HALTED
from vm.elf import read_elf
from vm.run import run

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    monkeypatch.syspath_prepend(str(BENCHMARKS))

    def measure(name: str, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", [name, "--json", *arguments])
        __import__(name).main()
        results: list[dict[str, Any]] = json.loads(capsys.readouterr().out)["results"]
        return results

    return measure


@pytest.mark.parametrize("n", [1, 8, 20])
def test_the_program_multiplies(monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    import matmul_program

    state = read_elf(matmul_program.matmul_elf(n)).start()
    run(state, 1 << 24)
    assert state.status == HALTED
    cell = np.arange(n * n, dtype=np.uint32)
    mixed = (cell * cell) ^ (cell >> np.uint32(3))
    a, b = mixed.astype(np.int32).reshape(n, n), (mixed.astype(np.int32) >> 7).reshape(n, n)
    total = 0
    for product in (a @ b).reshape(-1).tolist():
        total = (total * 33 ^ product) & 0xFFFFFFFF
    at = matmul_program.MATRICES + 8 * n * n
    assert np.frombuffer(state.memory.read(at, 4 * n * n), np.int32).tolist() == (a @ b).reshape(-1).tolist()
    assert state.registers[10] == total >> 25


def test_interpreter(benchmark: Any, tmp_path: Path) -> None:
    """With the machine itself in the place of qemu, which need not be installed here."""
    stand_in = tmp_path / "emulator"
    stand_in.write_text(
        f'#!/bin/sh\n[ "$1" = --version ] && echo stand-in && exit\n'
        f'exec {sys.executable} -c "from opml.cli import main; main()" vm run "$1" 2>/dev/null\n'
    )
    stand_in.chmod(0o755)
    (result,) = benchmark("interpreter", "-n", "20", "--runs", "2", "--qemu", str(stand_in))
    assert result["qemu"] == "stand-in"
    assert result["instructions"] > 8 * 20**3
    assert result["ratio"]["runs"] == 2


def test_merkle(benchmark: Any) -> None:
    dense, sparse = benchmark("merkle", "--mebibytes", "2", "--pages", "64", "--runs", "1")
    assert dense["ratio"]["median"] > 0
    assert sparse["update_s"]["runs"] == 200
