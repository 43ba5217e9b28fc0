"""The fused multiply-add where the CPU has none: rounding to odd in binary64, and no call of the C library's."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).with_name("ops_fma_cases.py")


def run_cases(features: str | None, cache: Path) -> dict[str, str]:
    """The lines `key value` that `ops_fma_cases.py` prints, compiled for this CPU with its features changed."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("NUMBA_")}
    environment |= {"XDG_CACHE_HOME": str(cache), "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    if features is not None:
        environment["NUMBA_CPU_FEATURES"] = features
    done = subprocess.run([sys.executable, str(CASES)], env=environment, capture_output=True, text=True, check=True)
    return dict(line.split(" ", 1) for line in done.stdout.splitlines())


@pytest.fixture(scope="module")
def native(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run_cases(None, tmp_path_factory.mktemp("native"))


@pytest.fixture(scope="module")
def masked(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return run_cases("-fma", tmp_path_factory.mktemp("masked"))


def test_without_the_unit_it_is_emulated_and_calls_nothing(masked: dict[str, str]) -> None:
    assert masked["emulates"] == "True"
    assert masked["fmaf"] == "0", "no call of the C library"
    assert masked["vfmadd"] == "0", "the unit is not used"


def test_the_case_that_a_sum_rounded_twice_gets_wrong(masked: dict[str, str]) -> None:
    assert masked["counterexample"] == "0x1.000002p+0"
    assert masked["naive"] == "0x1.000000p+0", "so the case tests what it should"


def test_special_values_and_random_ones_are_exact(masked: dict[str, str], native: dict[str, str]) -> None:
    assert masked["wrong"] == native["wrong"] == "0"


def test_kernels_give_the_bits_of_a_cpu_with_the_unit(masked: dict[str, str], native: dict[str, str]) -> None:
    assert masked["kernels"] == native["kernels"]
