"""The tensors of a long run of a program that is repeated, without the large ones that do not outlive an iteration.

Of these only the roots of their pages are kept. All that an iteration reads of earlier ones does last: when somebody
wants the bytes of a large tensor, its iteration alone is run again.
"""

from collections.abc import Mapping
from typing import Any, cast

import numpy as np

from opml.engine import Engine
from opml.graph import Array
from opml.program import Kind
from opml.regions import PAGE_LEAVES, Bytes
from vm.constants import LEAF_BYTES, PAGE_BYTES, PAGE_LEVEL
from vm.keccak import hash_subtrees

# Iterations whose bytes are kept: a dispute asks for those of one tile, and of the one before it.
KEPT = 2


class LeanRun:
    """A run, natively, on inputs by name. `tensors` has what `Engine.run_full` gives of all values and outputs."""

    def __init__(self, engine: Engine, inputs: Mapping[str, Array]) -> None:
        program = engine.program
        self._engine, self._inputs = engine, dict(inputs)
        values = [t for t in program.tensors.values() if t.kind is Kind.VALUE and t.level >= PAGE_LEVEL]
        self._large = {t.name: t.stride // PAGE_BYTES for t in values if t.name not in program.lasting}
        times = program.iterations(self._inputs)
        roots = {name: np.empty((times, pages, LEAF_BYTES), np.uint8) for name, pages in self._large.items()}
        rows = iter(range(times))

        def each(rooms: Mapping[str, Bytes]) -> None:
            row = next(rows)
            for name, room in rooms.items():
                roots[name][row] = hash_subtrees(room, PAGE_LEAVES)

        self._kept = engine.run_lean(inputs, self._large, each)
        self._again: dict[int, dict[str, Bytes]] = {}
        forgotten = {name: Forgotten(self, name, rows.reshape(-1, LEAF_BYTES)) for name, rows in roots.items()}
        # They are read by slices of a page, and else only their size is asked for.
        self.tensors: dict[str, Bytes] = self._kept | cast(dict[str, Any], forgotten)

    def instance(self, name: str, iteration: int) -> Bytes:
        """The bytes of a large tensor in an iteration."""
        if iteration not in self._again:
            while len(self._again) >= KEPT:
                del self._again[next(iter(self._again))]
            self._again[iteration] = self._engine.rerun(self._inputs, self._kept, self._large, iteration)
        return self._again[iteration][name]


class Forgotten:
    """The instances of a large tensor, one after the other. The bytes are not kept; `roots` are those of the pages."""

    def __init__(self, run: LeanRun, name: str, roots: Bytes) -> None:
        self._run, self._name = run, name
        self.roots = roots
        self.size = len(roots) * PAGE_BYTES
        self.nbytes = roots.nbytes

    def __getitem__(self, part: slice) -> Bytes:
        """Bytes of one instance."""
        start, stop, _ = part.indices(self.size)
        stride = self._run._engine.program.tensors[self._name].stride
        iteration, first = divmod(start, stride)
        if stop <= start:
            return np.zeros(0, np.uint8)
        if first + stop - start > stride:
            raise IndexError(f"bytes {start} to {stop} are not of one iteration")
        return self._run.instance(self._name, iteration)[first : first + stop - start]
