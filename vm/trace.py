"""The states of one run of the machine, by step number, without running from the start for each.

States are kept as forks of the memory: on a first pass over the run at even intervals, afterwards where somebody
asked. So a k-section, whose questions lie closer and closer together, runs each range about once.
"""

from bisect import bisect_right
from typing import Final

from vm.constants import RUNNING
from vm.errors import VmError
from vm.run import run
from vm.state import State

_FIRST_INTERVAL: Final = 1 << 16
_EVEN_KEPT: Final = 128
_ASKED_KEPT: Final = 128
# What a kept state takes in this process, without its pages: itself, and an entry for each of its nodes.
_STATE_BYTES: Final = 8192
_NODE_BYTES: Final = 100


class MachineTrace:
    """The run of a machine from `start` until it halts or traps, but for at most `limit` steps. Computed on demand."""

    def __init__(self, start: State, limit: int) -> None:
        if limit < 0:
            raise VmError(f"a run cannot have {limit} steps")
        self._limit = limit
        # Kept states by step number; the same numbers in order.
        self._states = {0: start.fork()}
        self._order = [0]
        self._asked: list[int] = []
        self._hashes: dict[int, bytes] = {}
        self._steps: int | None = None

    @property
    def nbytes(self) -> int:
        """Bytes that the kept states take, about; a page that several share is counted once."""
        memories = [state.memory for state in self._states.values()]
        pages = {id(page): page.nbytes for memory in memories for page in memory.own_pages}
        return sum(pages.values()) + sum(_STATE_BYTES + _NODE_BYTES * memory.own_nodes for memory in memories)

    @property
    def steps(self) -> int:
        """Steps until the machine has halted or trapped, the step into that state included; at most the limit."""
        if self._steps is None:
            self._steps = self._first_pass()
        return self._steps

    def _first_pass(self) -> int:
        state, t, interval = self._states[0].fork(), 0, _FIRST_INTERVAL
        while state.status == RUNNING and t < self._limit:
            t += run(state, min(interval - t % interval, self._limit - t))
            self._keep(t, state.fork())
            if len(self._order) - len(self._asked) > _EVEN_KEPT:
                interval *= 2
                for dropped in [kept for kept in self._order if kept % interval and kept != t]:
                    self._drop(dropped)
        return t

    def state(self, t: int) -> State:
        """The state after `t` steps, the caller's to change; after more than there are, the last one."""
        return self._at(t).fork()

    def hash(self, t: int) -> bytes:
        """The hash of `state(t)`."""
        t = self._clamp(t)
        if t not in self._hashes:
            self._hashes[t] = self._at(t).hash()
        return self._hashes[t]

    def _clamp(self, t: int) -> int:
        if t < 0:
            raise VmError(f"there is no step {t}")
        return min(t, self._limit if self._steps is None else self._steps)

    def _at(self, t: int) -> State:
        t = self._clamp(t)
        start = self._order[bisect_right(self._order, t) - 1]
        if start == t:
            return self._states[t]
        state = self._states[start].fork()
        run(state, t - start)
        self._keep(t, state)
        self._asked.append(t)
        if len(self._asked) > _ASKED_KEPT:
            self._drop(self._asked[0])
        return state

    def _keep(self, t: int, state: State) -> None:
        if t not in self._states:
            self._order.insert(bisect_right(self._order, t), t)
        self._states[t] = state

    def _drop(self, t: int) -> None:
        if t and t in self._states:
            del self._states[t]
            self._order.remove(t)
        if t in self._asked:
            self._asked.remove(t)
