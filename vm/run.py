"""Runs a state fast: `vm.fast`'s loop, and here the answers to what it asks for (pages, code, rare instructions)."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from vm import fast, predecode
from vm.constants import MEMORY_BYTES, PAGE_BYTES, PAGE_LOG2, REGISTERS, RUNNING
from vm.handlers import CTX_ADDRESS, CTX_LEFT, CTX_PC, CTX_SIZE, CTX_WORDS, CTX_WRITE, TLB_LOG2
from vm.isa import WORD_BYTES
from vm.memory import ZERO_PAGE, Page
from vm.state import State
from vm.step import DirectAccess, step

# The loop counts in bytes of decoded code, in signed 64-bit numbers; nobody waits for more.
MAX_STEPS: Final = (1 << 58) - 1
_WINDOWS_KEPT: Final = 64
_SPARES_KEPT: Final = 4

# Windows in which nothing is decoded. To get and clear new memory takes longer than a short run.
_spare_windows: list[NDArray[np.int64]] = []


def run(state: State, max_steps: int) -> int:
    """Executes up to `max_steps` steps in place and returns how many it was.

    Stops early only when the machine has halted or trapped; the step into that state counts. A machine that has
    stopped already takes no step.
    """
    if state.status != RUNNING or max_steps <= 0:
        return 0
    machine = _Run(state)
    steps = machine.execute(min(max_steps, MAX_STEPS))
    machine.release()
    return steps


class _Run:
    """One call of `run`. The host addresses that the loop has been given stay valid as long as this lives."""

    def __init__(self, state: State) -> None:
        self._state = state
        self._memory = state.memory
        self._context = np.zeros(CTX_WORDS, np.int64)
        self._unsigned = self._context.view(np.uint64)
        self._tlb = np.full(fast.ENTRY_WORDS << TLB_LOG2, fast.NO_PAGE, np.int64)
        self._addresses = self._context.ctypes.data, self._tlb.ctypes.data
        # Host pages by guest page number, and the table in which the loop finds them.
        self._pages: dict[int, tuple[Page, bool]] = {}
        self._new_table(128)
        # Decoded code: windows with their host addresses, and the pages in them that are decoded.
        self._windows: dict[int, tuple[NDArray[np.int64], int]] = {}
        self._decoded: set[int] = set()

    def execute(self, steps: int) -> int:
        """As `run`, for at least one step of a running machine."""
        context, state = self._context, self._state
        context[CTX_LEFT] = steps
        self._load_registers()
        while context[CTX_LEFT] and state.status == RUNNING:
            reason = self._loop()
            if reason == fast.EXIT_FETCH:
                answered = self._fetch()
            elif reason == fast.EXIT_PAGE:
                answered = self._page()
            else:
                answered = reason == fast.EXIT_BUDGET
            if not answered:
                self._save_registers()
                step(DirectAccess(state))
                context[CTX_LEFT] -= 1
                self._load_registers()
        self._save_registers()
        return steps - int(context[CTX_LEFT])

    def release(self) -> None:
        """Gives the windows back, cleared."""
        for index in self._decoded:
            self._forget(index)
        spare = [window for window, _ in self._windows.values()]
        _spare_windows.extend(spare[: max(0, _SPARES_KEPT - len(_spare_windows))])
        self._windows.clear()
        self._decoded.clear()

    def _load_registers(self) -> None:
        self._unsigned[:REGISTERS] = self._state.registers
        self._unsigned[CTX_PC] = self._state.pc

    def _save_registers(self) -> None:
        self._state.registers[:] = self._unsigned[:REGISTERS].tolist()
        self._state.pc = int(self._unsigned[CTX_PC])

    def _loop(self) -> int:
        number = int(self._unsigned[CTX_PC]) >> predecode.WINDOW_LOG2
        if number not in self._windows:
            return fast.EXIT_FETCH
        context, tlb = self._addresses
        base, code = number << predecode.WINDOW_LOG2, self._windows[number][1]
        reason: int = fast.execute(context, code, base, tlb, self._table_address, self._entries)
        return reason

    def _fetch(self) -> bool:
        """Decodes the page of the pc. False if there is nothing to fetch: the definition will trap."""
        pc = int(self._unsigned[CTX_PC])
        if pc % WORD_BYTES or pc > MEMORY_BYTES - WORD_BYTES:
            return False
        number, index = pc >> predecode.WINDOW_LOG2, pc >> PAGE_LOG2
        if number not in self._windows:
            if len(self._windows) >= _WINDOWS_KEPT:
                self.release()
            try:
                window = _spare_windows.pop()
            except IndexError:
                window = np.zeros(predecode.WINDOW_WORDS, np.int64)
            self._windows[number] = window, window.ctypes.data
        if index not in self._decoded:
            # Its stores must be seen: from now on the loop may only read the page.
            page = self._map(index, False)
            predecode.decode_page(
                page.ctypes.data, self._windows[number][1], (index << PAGE_LOG2) % predecode.WINDOW_BYTES
            )
            self._decoded.add(index)
        return True

    def _page(self) -> bool:
        """Maps the page of an access. False if the access traps, or if it is a store into decoded code."""
        address, size = int(self._context[CTX_ADDRESS]), int(self._context[CTX_SIZE])
        if address % size or not 0 <= address < MEMORY_BYTES:
            return False
        index = address >> PAGE_LOG2
        if not self._context[CTX_WRITE]:
            self._map(index, False)
            return True
        self._map(index, True)
        if index not in self._decoded:
            return True
        # The store may hit the very page that the pc is in, so it is executed from the code as it was.
        self._decoded.remove(index)
        self._forget(index)
        return False

    def _forget(self, index: int) -> None:
        number, offset = divmod(index << PAGE_LOG2, predecode.WINDOW_BYTES)
        first = offset // WORD_BYTES
        self._windows[number][0][first : first + PAGE_BYTES // WORD_BYTES] = predecode.UNDECODED

    def _map(self, index: int, writable: bool) -> Page:
        """Gives the loop page `index`, for writing or for reading only."""
        if index in self._pages:
            self._tlb.fill(fast.NO_PAGE)
        page = self._memory.writable_page(index) if writable else self._memory.page(index)
        if page is None:
            page = ZERO_PAGE
        self._pages[index] = page, writable
        if 2 * len(self._pages) > self._entries:
            self._new_table(4 * self._entries)
        self._enter_page(index)
        return page

    def _new_table(self, entries: int) -> None:
        self._entries = entries
        self._table = np.full(entries * fast.ENTRY_WORDS, fast.NO_PAGE, np.int64)
        self._table_address = self._table.ctypes.data
        for index in self._pages:
            self._enter_page(index)

    def _enter_page(self, index: int) -> None:
        page, writable = self._pages[index]
        fast.map_page(self._table_address, self._entries, index << PAGE_LOG2, int(writable), page.ctypes.data)
