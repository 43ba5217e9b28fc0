"""Work that takes long, done beside the players' loop: the most urgent job first.

The loop offers, each time it looks, all that it wants done now; what it no longer wants is simply not offered again.
So there is no queue to grow, and a job that has become urgent overtakes those offered before it.
"""

import heapq
import itertools
import queue
import threading
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

Report = Callable[[Any], None]


@dataclass(frozen=True)
class Job:
    """`work` is called with a function to which it gives its results, any number of them, when it has them.

    Jobs with the same `key` are the same job. The smallest `urgency` is done first.
    """

    key: Hashable
    urgency: tuple[int, float]
    work: Callable[[Report], None]


@dataclass(frozen=True)
class Failed:
    """The result of a job that raised."""

    key: Hashable
    error: Exception


class Workshop:
    """`threads` threads that do jobs; with none, `offer` does all of them before it returns.

    `done` is called, from those threads, whenever there is a new result. Use as a context manager, or `close` it.
    """

    def __init__(self, threads: int, done: Callable[[], None] = lambda: None) -> None:
        self._done = done
        self._results: queue.SimpleQueue[tuple[Hashable, Any, bool]] = queue.SimpleQueue()
        self._offered: list[tuple[tuple[int, float], int, Job]] = []
        # From the moment in which a job is begun until the loop has fetched its end.
        self._begun: set[Hashable] = set()
        self._numbers = itertools.count()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    def offer(self, jobs: Iterable[Job]) -> None:
        """What is to be done now, in place of what was offered before. Jobs that are being done are not begun anew."""
        with self._changed:
            self._offered = [(job.urgency, next(self._numbers), job) for job in jobs if job.key not in self._begun]
            heapq.heapify(self._offered)
            self._changed.notify_all()
        while not self._threads and (job := self._take()):
            self._do(job)

    def results(self) -> list[Any]:
        """All results since the last call; a job that raised gave a `Failed`."""
        found: list[Any] = []
        while True:
            try:
                key, result, last = self._results.get_nowait()
            except queue.Empty:
                return found
            if last:
                with self._changed:
                    self._begun.discard(key)
            if result is not None:
                found.append(result)

    @property
    def busy(self) -> bool:
        """Whether anything is being done, waits to be, or has been done and was not fetched."""
        with self._changed:
            return bool(self._begun or self._offered)

    def close(self) -> None:
        """Begins no more jobs. Threads in the middle of one are left to it: they die with the process."""
        with self._changed:
            self._closed = True
            self._offered = []
            self._changed.notify_all()

    def __enter__(self) -> "Workshop":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _take(self) -> Job | None:
        with self._changed:
            if not self._offered:
                return None
            job = heapq.heappop(self._offered)[2]
            self._begun.add(job.key)
            return job

    def _serve(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._closed or self._offered)
                if self._closed:
                    return
            job = self._take()
            if job:
                self._do(job)

    def _do(self, job: Job) -> None:
        def report(result: Any) -> None:
            self._results.put((job.key, result, False))
            self._done()

        failure = None
        try:
            job.work(report)
        except Exception as error:  # whatever it is, it must not end the thread, nor the other games
            failure = Failed(job.key, error)
        self._results.put((job.key, failure, True))
        self._done()
