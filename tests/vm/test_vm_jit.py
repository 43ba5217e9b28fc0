"""The kernel cache: its key holds everything that compiled code depends on, and compilation follows our rules."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import opml.ops.softmax
import vm.jit
from vm.jit import cache_root, imports, jit, source_key, sources_of


@jit
def divide(a, b):
    return a // b if b != 0 else -1


def test_the_key_changes_with_every_source(tmp_path):
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "a.py").write_text("x = 1")
    first = source_key([folder])
    assert source_key([folder]) == first
    (folder / "notes.txt").write_text("no source")
    assert source_key([folder]) == first
    (folder / "a.py").write_text("x = 2")
    second = source_key([folder])
    (folder / "b.py").write_text("")
    third = source_key([folder])
    (folder / "b.py").rename(folder / "c.py")
    assert len({first, second, third, source_key([folder])}) == 4


def test_the_key_changes_with_the_compiler(tmp_path, monkeypatch):
    (tmp_path / "a.py").write_text("")
    before = source_key([tmp_path])
    monkeypatch.setattr("numba.__version__", "0.0")
    assert source_key([tmp_path]) != before


def test_the_sources_of_a_file_are_what_it_imports_at_any_distance(tmp_path):
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").write_text("")
    for name in "abcd":
        (package / f"{name}.py").write_text("")
    (package / "a.py").write_text("from package.b import (\n    x,  # a comment, with a comma\n    y,\n)\nimport sys")
    (package / "b.py").write_text("def f():\n    from package import c as other, a\nfrom vm.constants import DEPTH")
    a, b, c = (package / f"{name}.py" for name in "abc")
    constants = Path(vm.jit.__file__).parent / "constants.py"
    assert imports(a) == {b}
    assert sources_of(a) == {a, b, c, constants}
    assert sources_of(c) == {c}


def test_every_kernel_depends_on_the_numerics_it_calls():
    sources = {path.name for path in sources_of(Path(opml.ops.softmax.__file__))}
    assert {"softmax.py", "rows.py", "native.py", "base.py", "numerics.py", "intrinsics.py", "record.py"} <= sources
    assert not sources & {"conv.py", "cast.py", "reader.py"}


def test_the_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_root() == tmp_path / "opml"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_root().name == "opml"


def test_without_a_folder_to_write_to_the_cache_is_of_one_process(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("no folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    (tmp_path / "increment.py").write_text("from vm.jit import jit\n\n\n@jit\ndef increment(x):\n    return x + 1\n")
    code = f"import sys; sys.path.append({str(tmp_path)!r})\nfrom increment import increment"
    code += "\nfrom vm.jit import cache_root\nprint(cache_root(), increment(2), len(list(cache_root().rglob('*.nbi'))))"
    folder, three, cached = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert (three, cached) == ("3", "1")
    assert not os.path.exists(folder)


def test_numbas_own_setting_is_left_alone():
    import numba

    before = numba.config.CACHE_DIR
    jit(lambda: 0)
    assert before == numba.config.CACHE_DIR


def test_a_function_compiles_and_runs():
    assert divide(7, 2) == 3
    assert divide(7, 0) == -1


def test_arithmetic_raises_nothing():
    @jit
    def quotient(a, b):
        return a / b

    assert np.isinf(quotient(1.0, 0.0))


@pytest.mark.slow
def test_everything_compiles_for_a_processor_without_extras(tmp_path):
    """Neither keccak's vectors nor the loop depend on what the host has beyond the architecture's baseline."""
    environment = dict(os.environ, NUMBA_CPU_NAME="generic", NUMBA_CPU_FEATURES="", XDG_CACHE_HOME=str(tmp_path))
    here = os.path.dirname(__file__)
    files = [os.path.join(here, f"test_vm_{name}.py") for name in ("keccak", "merkle", "step", "run")]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files],
        env=environment,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 0, result.stdout[-2000:]
