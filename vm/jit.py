"""Compilation of numba functions, with a cache that cannot be stale.

numba's own `cache=True` looks at one source file only, and returned old code after a helper in another file had
changed. Here the cache folder's name is a hash of every source that may be inlined and of the compilers' versions;
numba adds the CPU's name and features to each entry.
"""

import atexit
import hashlib
import os
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


def make_jit(sources: Iterable[Path]) -> Callable[[Function], Function]:
    """A decorator like `numba.njit` for functions whose code depends on nothing but `sources`.

    Total arithmetic as the machine has it: no exceptions (`error_model="numpy"`), no fast-math, the GIL released.
    """
    folder = str(cache_root() / source_key(sources))

    def jit(function: Function) -> Function:
        config = cast(Any, numba.config)
        previous = config.CACHE_DIR
        config.CACHE_DIR = folder
        try:
            compiled: Function = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath=False)(function)
            return compiled
        finally:
            config.CACHE_DIR = previous

    return jit


jit = make_jit([Path(__file__).parent])
