"""examples/cheque: its forge tests, and its run past a liar with the real model."""

import importlib.util
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

CHEQUE = Path(__file__).parents[2] / "examples" / "cheque"
SOURCES = ("foundry.toml", "package.json", "src", "test")


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the project beside the contracts, with its one dependency installed."""
    folder = tmp_path_factory.mktemp("repository")
    (folder / "contracts").symlink_to(CHEQUE.parents[1] / "contracts")
    target = folder / "examples" / "cheque"
    target.mkdir(parents=True)
    for name in SOURCES:
        copy = shutil.copytree if (CHEQUE / name).is_dir() else shutil.copy
        copy(CHEQUE / name, target / name)
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    subprocess.run(install, cwd=target, check=True, capture_output=True)
    return target


@pytest.mark.slow
def test_forge_tests_pass(project: Path, forge: str) -> None:
    done = subprocess.run([forge, "test"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "6 passed" in done.stdout


def test_a_cheque_is_read_past_a_liar(project: Path, forge: str) -> None:
    done = subprocess.run([forge, "build", "--skip", "test"], cwd=project, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    paid = end_to_end().main(project / "out" / "ChequeReader.sol" / "ChequeReader.json", digit=4)
    assert paid == 4 * 10**17


def end_to_end() -> Any:
    spec = importlib.util.spec_from_file_location("cheque_end_to_end", CHEQUE / "end_to_end.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
