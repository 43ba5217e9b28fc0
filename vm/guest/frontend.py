"""From numba functions to LLVM IR that depends on nothing but their source and the pinned versions.

The IR that numba makes depends on the host's CPU, on its optimiser and on environment variables. So functions are
compiled by name in a fresh process (`python -m vm.guest.frontend`) for a generic CPU with everything switched off.
"""

import importlib
import json
import os
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vm.guest.errors import GuestError
from vm.guest.fma import Target

_SETTINGS = {
    "NUMBA_CPU_NAME": "generic",
    "NUMBA_CPU_FEATURES": "",
    "NUMBA_LOOP_VECTORIZE": "0",
    "NUMBA_SLP_VECTORIZE": "0",
    "NUMBA_OPT": "0",
    "PYTHONHASHSEED": "0",
}


@dataclass(frozen=True)
class Source:
    """A jitted function by name. Its arguments are `arguments` int64."""

    module: str
    name: str
    arguments: int

    @classmethod
    def of(cls, dispatcher: Any) -> "Source":
        """The source of a dispatcher; raises GuestError if another process could not import it."""
        function = dispatcher.py_func
        module, name = function.__module__, function.__qualname__
        if getattr(sys.modules.get(module), name, None) is not dispatcher or module == "__main__":
            raise GuestError(f"{module}.{name} cannot be imported by that name: define it in a module of its own")
        return cls(module, name, function.__code__.co_argcount)


@dataclass(frozen=True)
class Compiled:
    """LLVM IR of a function with all that it calls, and the function's name in it.

    The function has numba's calling convention: status (pointer to the result, pointer to exception, arguments...).
    """

    ir: str
    entry: str


def compile_functions(sources: Sequence[Source]) -> list[Compiled]:
    """Compiles in a fresh process, in the given order; raises GuestError with the compiler's message."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("NUMBA_", "PYTHON"))}
    with tempfile.TemporaryDirectory() as folder:
        request, answer = Path(folder, "request"), Path(folder, "answer")
        request.write_text(json.dumps([(s.module, s.name, s.arguments) for s in sources]))
        # Compiled in a folder of its own: numba reads its configuration and caches from there.
        environment |= _SETTINGS | {"XDG_CACHE_HOME": folder}
        environment["PYTHONPATH"] = os.pathsep.join(os.path.abspath(path) for path in sys.path)
        command = [sys.executable, "-m", "vm.guest.frontend", str(request), str(answer)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise GuestError(f"not compiled: {done.stderr.strip()}")
        return [Compiled(**item) for item in json.loads(answer.read_text())]


def _main(request: Path, answer: Path) -> None:
    warnings.simplefilter("ignore")  # numba cannot cache some functions, which does not matter here
    import numba

    Target.guest = True
    compiled = []
    for module, name, arguments in json.loads(request.read_text()):
        dispatcher = getattr(importlib.import_module(module), name)
        signature = (numba.int64,) * arguments
        try:
            dispatcher.compile(signature)
        except numba.core.errors.NumbaError as error:
            raise SystemExit(f"{module}.{name}: {error}") from error
        result = dispatcher.overloads[signature]
        compiled.append({"ir": result.library.get_llvm_str(), "entry": result.fndesc.llvm_func_name})
    answer.write_text(json.dumps(compiled))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), Path(sys.argv[2]))
