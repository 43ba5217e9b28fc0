"""Native execution of a program: the same bits as the machine, at native speed.

Constants and, where they fit as they are, inputs are used in place; values live in one arena in which bytes are used
again after their last reader (`opml.plan`). A node's tiles are divided over threads where there is enough to do.
In a program that is repeated, only what outlives its iteration has memory for all of them.
"""

import itertools
import os
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from threading import Lock

import numpy as np
from numpy.typing import NDArray

from opml import fpenv
from opml.errors import InputError
from opml.graph import Array, DType
from opml.ops import OPS
from opml.plan import ALIGNMENT, make_plan
from opml.program import Kind, Port, Program, Tensor
from vm.constants import LEAF_BYTES
from vm.guest.record import RECORD_WORDS, WORD_INPUT, WORD_ITERATION, WORD_OUT, WORD_STRIDE

Bytes = NDArray[np.uint8]
Kernel = Callable[[int, int, int], None]
# Is told of an iteration and its outputs; that it returns true ends the run.
Watcher = Callable[[int, dict[str, Array]], object]

# A node whose bound of machine instructions is lower runs on one thread: waking others takes tens of microseconds.
PARALLEL_COST = 1 << 30


@dataclass(frozen=True)
class _Step:
    """A node to run: its kernel over ranges of tiles, the index of its record, and where to cut the range."""

    kernel: Kernel
    record: int
    tiles: int
    grain: int
    parallel: bool


def aligned(size: int) -> Bytes:
    """`size` zero bytes, aligned to a cache line."""
    room = np.zeros(size + ALIGNMENT, np.uint8)
    start = -room.ctypes.data % ALIGNMENT
    return room[start : start + size]


def default_threads() -> int:
    """The processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


class Engine:
    """Runs one program any number of times. May be called from several threads; runs follow one another.

    `constants` replaces the program's own arrays (for instance by those of a mapped image), with the same types.
    With `definition_only` every tile is computed by its scalar definition: slow, and the reference.
    """

    def __init__(
        self,
        program: Program,
        constants: Mapping[str, Array] | None = None,
        *,
        threads: int | None = None,
        definition_only: bool = False,
    ) -> None:
        self.program = program
        self.threads = threads or default_threads()
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self._constants = {
            name: np.asarray(value, order="C") for name, value in (constants or program.constants).items()
        }
        plan = make_plan(program)
        self._arena = aligned(plan.size)
        base = self._arena.ctypes.data
        addresses = {name: base + offset for name, offset in plan.offsets.items()}
        addresses |= {name: value.ctypes.data for name, value in self._constants.items()}
        addresses |= dict.fromkeys(program.lasting, 0)

        self._records = np.zeros((len(program.nodes), RECORD_WORDS), np.int64)
        # Words of the records that hold an address of a tensor: indices into the flat records.
        self._uses: dict[str, list[int]] = {name: [] for name in program.tensors}
        self._steps: list[_Step] = []
        for index, node in enumerate(program.nodes):
            self._records[index] = node.record
            words = [(WORD_OUT, node.output), *enumerate(node.inputs, WORD_INPUT)]
            for word, name in words:
                if name:
                    self._uses[name].append(index * RECORD_WORDS + word)
                    self._records[index, word] = addresses[name]
            op = OPS[node.op]
            kernel = _by_tiles(op.tile) if definition_only or op.fast is None else op.fast
            grain = op.grain(node.types, node.out_type, node.attrs) if op.grain else 1
            parallel = node.tiles > grain and node.tiles * node.cost >= PARALLEL_COST
            record = self._records[index].ctypes.data
            self._steps.append(_Step(kernel, record, node.tiles, grain, parallel))
        self._flat = self._records.reshape(-1)
        self._moving = np.zeros(0, np.intp)
        self._starts = self._strides = np.zeros(0, np.int64)
        self._written = [tensor for tensor in program.tensors.values() if tensor.kind in (Kind.VALUE, Kind.OUTPUT)]
        self._fresh = [t for t in self._written if t.kind is Kind.OUTPUT or t.name in program.lasting]

    def run(
        self, inputs: Mapping[str, Array], threads: int | None = None, watch: Watcher | None = None
    ) -> dict[str, Array]:
        """The outputs by name. Raises InputError where an input is missing, unknown, or has another dtype or shape.

        In a program that is repeated, `watch` is told the outputs of every iteration, and may end the run.
        """
        arrays = self.check(inputs)
        times = self.program.iterations(arrays)
        with self._lock:
            rooms = self._place(arrays, self._fresh, times)
            tell = partial(self._tell, watch, rooms) if watch and self.program.repeat else None
            self._execute(threads or self.threads, times, watch=tell)
        return {port.name: shown(self.program, port, rooms[port.tensor]) for port in self.program.outputs}

    def run_full(self, inputs: Mapping[str, Array], threads: int | None = None) -> dict[str, Bytes]:
        """The final bytes of every tensor, constants and inputs included, each one-dimensional.

        In a program that is repeated, the instances of a tensor lie `Tensor.stride` bytes apart, as in memory, and
        those of iterations that did not take place are left out.
        """
        arrays = self.check(inputs)
        return self._full(arrays, {}, threads) | {name: _bytes(a) for name, a in (self._constants | arrays).items()}

    def resume(self, tensors: Mapping[str, Bytes], tile: int, threads: int | None = None) -> dict[str, Bytes]:
        """As `run_full`, but only tiles from `tile` on are computed: what is before them is taken from `tensors`.

        Those are what `run_full` returned, perhaps with bytes changed, and are not changed here: what a computer with
        a fault goes on to compute.
        """
        arrays = {port.tensor: np.ascontiguousarray(tensors[port.tensor]) for port in self.program.inputs}
        return {**tensors, **self._full(arrays, tensors, threads, tile)}

    def run_lean(
        self,
        inputs: Mapping[str, Array],
        large: Collection[str],
        each: Callable[[Mapping[str, Bytes]], object],
        threads: int | None = None,
    ) -> dict[str, Bytes]:
        """As `run_full` of a program that is repeated, without the tensors `large`, which must not last.

        Their bytes are shown to `each` after every iteration, in memory that the next one writes to.
        """
        arrays = self.check(inputs)
        times = self.program.iterations(arrays)
        with self._lock, self._pointed():
            kept = self._place(arrays, [t for t in self._written if t.name not in large], times)
            rooms = self._place_once(large)
            self._execute(threads or self.threads, times, watch=lambda _: each(rooms) and False)
        return kept

    def rerun(
        self, inputs: Mapping[str, Array], kept: Mapping[str, Bytes], large: Collection[str], iteration: int
    ) -> dict[str, Bytes]:
        """The tensors `large` in an iteration of a run, of which `kept` is what `run_lean` returned."""
        arrays = self.check(inputs)
        with self._lock, self._pointed():
            self._point(arrays, kept)
            rooms = self._place_once(large)
            self._execute(self.threads, iteration + 1, iteration * self.program.body_tiles)
        return rooms

    def _full(
        self, arrays: Mapping[str, Array], given: Mapping[str, Bytes], threads: int | None, first: int = 0
    ) -> dict[str, Bytes]:
        """All values and outputs after the tiles from `first` on, where they begin as zeros or as `given`."""
        times = self.program.iterations(arrays)
        with self._lock, self._pointed():
            full = self._place(arrays, self._written, times)
            for name, room in full.items():
                if name in given:
                    room[: given[name].size] = given[name]
            self._execute(threads or self.threads, times, first)
        if self.program.repeat is not None:
            return full
        return {name: data[: self.program.tensors[name].type.nbytes] for name, data in full.items()}

    def close(self) -> None:
        """Ends the threads that were started; a later run starts them again."""
        pool, self._pool = self._pool, None
        if pool is not None:
            pool.shutdown()

    def check(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """The inputs by tensor name, each contiguous. Raises InputError as `run` does."""
        unknown = sorted(set(inputs) - {port.name for port in self.program.inputs})
        if unknown:
            raise InputError(f"the model has no input {unknown[0]!r}", f"it has {self._names()}")
        arrays: dict[str, Array] = {}
        for port in self.program.inputs:
            if port.name not in inputs:
                raise InputError(f"input {port.name!r} is missing", f"the model takes {self._names()}")
            value = np.asarray(inputs[port.name])
            if port.type.dtype is DType.BFLOAT16 and value.dtype == np.dtype("V2"):
                value = value.view(port.type.dtype.numpy)  # numpy's files do not know the type
            if value.dtype != port.type.dtype.numpy or value.shape != port.type.shape:
                wanted = f"{port.type.dtype.value} {list(port.type.shape)}"
                raise InputError(f"input {port.name!r} must be {wanted}, not {value.dtype} {list(value.shape)}")
            array = np.asarray(value, order="C")
            # A vector may be loaded only from where numpy's own alignment holds.
            arrays[port.tensor] = array if array.flags.aligned else array.copy()
        return arrays

    def _names(self) -> str:
        return ", ".join(repr(port.name) for port in self.program.inputs) or "none"

    def _tell(self, watch: Watcher, rooms: Mapping[str, Bytes], iteration: int) -> object:
        outputs = {}
        for port in self.program.outputs:
            tensor = self.program.tensors[port.tensor]
            data = rooms[port.tensor][iteration * tensor.stride :][: tensor.type.nbytes].copy()
            outputs[port.name] = data.view(port.type.dtype.numpy).reshape(port.type.shape[1:])
        return watch(iteration, outputs)

    @contextmanager
    def _pointed(self) -> Iterator[None]:
        """Within it the records may point anywhere; afterwards they are as before."""
        before = self._flat.copy()
        try:
            yield
        finally:
            self._flat[:] = before

    def _place(self, arrays: Mapping[str, Array], written: Sequence[Tensor], times: int) -> dict[str, Bytes]:
        """Points the records at the inputs, and at new memory for some of the written tensors, which is returned."""
        repeated = self.program.repeat is not None
        fresh = {t.name: aligned(t.stride * times if repeated else t.leaves * LEAF_BYTES) for t in written}
        self._point(arrays, fresh)
        return fresh

    def _point(self, arrays: Mapping[str, Array], rooms: Mapping[str, Bytes]) -> None:
        """Points the records at inputs and at written tensors, in a program that is repeated at all their instances."""
        for name, room in (*arrays.items(), *rooms.items()):
            self._flat[self._uses[name]] = room.ctypes.data
        if self.program.repeat:
            words = np.array(sorted(word for name in rooms for word in self._uses[name]), np.intp)
            self._moving, self._starts, self._strides = words, self._flat[words], self._flat[_stride_words(words)]

    def _place_once(self, names: Collection[str]) -> dict[str, Bytes]:
        """Points the records at new memory for one instance of each tensor, which is returned."""
        rooms = {name: aligned(self.program.tensors[name].stride) for name in names}
        for name, room in rooms.items():
            self._flat[self._uses[name]] = room.ctypes.data
        return rooms

    def _turn(self, iteration: int) -> None:
        """The records for an iteration: it reads and writes its own instances of what outlives it."""
        self._records[:, WORD_ITERATION] = iteration
        self._flat[self._moving] = self._starts + iteration * self._strides

    def _execute(self, threads: int, times: int, first: int = 0, watch: Callable[[int], object] | None = None) -> None:
        """All tiles from number `first` of the program on, unless `watch` ends it."""
        start, first = divmod(first, self.program.body_tiles)
        with fpenv.standard():
            for iteration in range(start, times):
                if self.program.repeat:
                    self._turn(iteration)
                for node, step in zip(self.program.nodes, self._steps, strict=True):
                    skip = max(first - node.first_tile, 0)
                    if skip >= step.tiles:
                        continue
                    if threads > 1 and step.parallel and not skip:
                        self._divide(step, threads)
                    else:
                        step.kernel(step.record, skip, step.tiles - skip)
                first = 0
                if watch and watch(iteration):
                    break

    def _divide(self, step: _Step, threads: int) -> None:
        """One node on several threads, this one among them."""
        if self._pool is None or self._pool._max_workers < threads - 1:
            self._pool = ThreadPoolExecutor(threads - 1, "opml")
        units = -(-step.tiles // step.grain)
        cuts = sorted({min(units * i // threads * step.grain, step.tiles) for i in range(threads)} | {step.tiles})
        ranges = [(start, end - start) for start, end in itertools.pairwise(cuts)]
        others = [self._pool.submit(_task, step.kernel, step.record, *cut) for cut in ranges[1:]]
        step.kernel(step.record, *ranges[0])
        for other in others:
            other.result()


def shown(program: Program, port: Port, data: Bytes) -> Array:
    """What a user sees of an output whose bytes `run_full` gives; iterations that did not take place are zero."""
    tensor = program.tensors[port.tensor]
    if program.repeat is None:
        return data[: port.type.nbytes].view(port.type.dtype.numpy).reshape(port.type.shape)
    values = np.zeros((tensor.count, tensor.type.nbytes), np.uint8)
    lines = data.reshape(-1, tensor.stride)
    values[: len(lines)] = lines[:, : tensor.type.nbytes]
    return values.reshape(-1).view(port.type.dtype.numpy).reshape(port.type.shape)


def _stride_words(words: NDArray[np.intp]) -> NDArray[np.intp]:
    """Where the strides of the tensors are whose addresses are in these words of the flat records."""
    return words + (WORD_STRIDE - WORD_OUT)


def _task(kernel: Kernel, record: int, first: int, count: int) -> None:
    """A share of a node, in a thread whose floating-point environment is not known."""
    with fpenv.standard():
        kernel(record, first, count)


def _by_tiles(tile: Callable[[int, int], None]) -> Kernel:
    """The kernel that follows the definition tile by tile."""

    def kernel(record: int, first: int, count: int) -> None:
        for t in range(first, first + count):
            tile(record, t)

    return kernel


def _bytes(array: Array) -> Bytes:
    return array.reshape(-1).view(np.uint8)
