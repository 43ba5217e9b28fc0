"""Compilation of numba functions, with a cache that cannot be stale.

numba's own `cache=True` looks at one source file only, and returned old code after a helper in another file had
changed. Here the cache folder's name is a hash of every source that may be inlined (the function's own file and, over
and over, what that imports from its own package and from this one) and of the compilers' versions; numba adds the CPU's
name and features to each entry.
"""

import atexit
import hashlib
import os
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterable
from functools import cache
from pathlib import Path
from typing import Any, Final, cast

import llvmlite
import numba
import numba.extending
import numpy as np

Function = Callable[..., Any]

intrinsic: Final[Callable[[Function], Function]] = cast(Any, numba.extending.intrinsic)
"""numba's decorator, typed so that what it makes can be called."""


def cache_root() -> Path:
    """The folder under which compiled kernels are kept: `$XDG_CACHE_HOME/opml`, by default `~/.cache/opml`.

    Where nothing can be written there, a folder of this process alone, which is removed at its end.
    """
    try:
        root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "opml"
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError):  # RuntimeError: no home is known
        return _scratch()
    return root if os.access(root, os.W_OK | os.X_OK) else _scratch()


@cache
def _scratch() -> Path:
    """Not a folder that others could know before us: what is in a cache is executed."""
    folder = tempfile.mkdtemp(prefix="opml-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def source_key(sources: Iterable[Path]) -> str:
    """A hash over the given files (folders stand for the Python files below them), Python and the compilers."""
    digest = hashlib.sha256()
    for version in (sys.version, numba.__version__, llvmlite.__version__, np.__version__):
        digest.update(version.encode())
    for source in sources:
        for file in sorted(source.rglob("*.py")) if source.is_dir() else [source]:
            digest.update(file.name.encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()[:20]


_IMPORT: Final = re.compile(r"^[ \t]*(?:from[ \t]+([\w.]+)[ \t]+)?import[ \t]+(\([^)]*\)|[^\n(]*)", re.MULTILINE)


@cache
def imports(file: Path) -> frozenset[Path]:
    """The files that a file imports, anywhere in it, from packages whose folder is beside its own or beside ours."""
    roots = {Path(__file__).resolve().parents[1], _root(file)}
    found: set[Path] = set()
    for module, names in _IMPORT.findall(file.read_text()):
        words = [name.split()[0] for name in re.sub(r"#[^\n]*", "", names).strip("()").split(",") if name.strip()]
        targets = [module, *(f"{module}.{word}" for word in words)] if module else words
        paths = [root.joinpath(*target.split(".")).with_suffix(".py") for target in targets for root in roots]
        found.update(path for path in paths if path.is_file())
    return frozenset(found)


def _root(file: Path) -> Path:
    """The folder that holds the file's outermost package, or the file itself where it is in none."""
    folder = file.parent
    while (folder / "__init__.py").is_file():
        folder = folder.parent
    return folder


@cache
def sources_of(file: Path) -> frozenset[Path]:
    """A file and all that it imports, directly or not: everything that code of its functions can depend on.

    The `__init__.py` of a package on the way is not among them: a kernel takes nothing from it, except by name.
    """
    known: set[Path] = set()
    waiting = [file]
    while waiting:
        known.add(path := waiting.pop())
        waiting.extend(imports(path) - known)
    return frozenset(known)


@cache
def _folder(file: Path) -> str:
    return str(cache_root() / source_key(sorted(sources_of(file))))


def jit(function: Function) -> Function:
    """A decorator like `numba.njit`, whose cache knows every source the function can depend on.

    Total arithmetic as the machine has it: no exceptions (`error_model="numpy"`), no fast-math, the GIL released.
    """
    config = cast(Any, numba.config)
    previous = config.CACHE_DIR
    config.CACHE_DIR = _folder(Path(function.__code__.co_filename).resolve())
    try:
        compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
        return compiled
    finally:
        config.CACHE_DIR = previous
