"""The rules of the house that a machine can check."""

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SOURCES = sorted([*ROOT.glob("opml/**/*.py"), *ROOT.glob("vm/**/*.py")])


def imports_of(file: Path) -> set[str]:
    """Full names of the modules that a file imports anywhere, also inside functions."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names |= {f"{node.module}.{alias.name}" for alias in node.names} | {str(node.module)}
    return names


def top(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def place(file: Path) -> str:
    return file.relative_to(ROOT).as_posix()


def test_there_are_sources() -> None:
    assert len(SOURCES) > 30


@pytest.mark.parametrize("file", SOURCES, ids=place)
def test_imports_run_one_way(file: Path) -> None:
    names = imports_of(file)
    if place(file).startswith("vm/"):
        assert "opml" not in top(names), "vm knows nothing of opml"
    if not place(file).startswith("opml/chain/"):
        assert not top(names) & {"web3", "eth_tester", "eth"}, "only opml/chain talks to a chain"
    if not place(file).startswith("opml/cli/"):
        assert not top(names) & {"click", "rich"}, "only the command line speaks to a person"
        assert not any(name.startswith("opml.cli") for name in names)
    if place(file) not in ("opml/convert/torch.py", "opml/convert/tensorflow.py"):
        assert not top(names) & {"torch", "tensorflow", "keras", "tf2onnx", "onnxscript"}, "only who converts them"
    assert not top(names) & {"onnxruntime", "sklearn"}, "not at run time"


@pytest.mark.parametrize("file", SOURCES, ids=place)
def test_only_entry_points_print(file: Path) -> None:
    if place(file).startswith("opml/cli/") or file.name in ("__main__.py",):
        return
    calls = [node for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("file", SOURCES, ids=place)
def test_files_stay_readable(file: Path) -> None:
    assert len(file.read_text().splitlines()) <= 420
    assert ast.get_docstring(ast.parse(file.read_text())), "every file says what it is"


def test_errors_have_their_own_codes() -> None:
    errors = importlib.import_module("opml.errors")
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.OpmlError)]
    codes = [kind.code for kind in kinds]
    assert len(codes) == len(set(codes))
    assert all(kind.exit_status != 0 for kind in kinds)


def test_everything_public_exists() -> None:
    opml = importlib.import_module("opml")
    assert sorted(opml.__all__) == opml.__all__
    for name in opml.__all__:
        assert getattr(opml, name) is not None
    with pytest.raises(AttributeError):
        _ = opml.no_such_name


def test_import_is_light() -> None:
    heavy = ["numba", "onnx", "web3", "eth_tester", "rich", "pydantic", "llvmlite"]
    code = f"import sys, opml; print([m for m in {heavy!r} if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.strip() == "[]"
