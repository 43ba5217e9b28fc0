"""The chain's logs, found by address: a query costs what it returns, not the length of the chain."""

from bisect import bisect_left
from collections.abc import Sequence

from opml.chain.records import LogRecord


class LogIndex:
    """All logs in the order of the chain."""

    def __init__(self) -> None:
        self._all: list[LogRecord] = []
        self._of: dict[bytes, list[LogRecord]] = {}

    def add(self, logs: Sequence[LogRecord]) -> None:
        """Adds the logs of the newest block."""
        self._all += logs
        for log in logs:
            self._of.setdefault(log.address, []).append(log)

    def find(
        self, first: int, last: int, addresses: Sequence[bytes] | None, topics: Sequence[Sequence[bytes] | None]
    ) -> list[LogRecord]:
        """Logs of blocks first..last, in order, from these addresses and with one of these values for each topic.

        None stands for any address and for any value.
        """
        if addresses is None:
            sources = [self._all]
        else:
            sources = [self._of.get(address, []) for address in dict.fromkeys(addresses)]
        found = []
        for source in sources:
            for log in source[bisect_left(source, first, key=lambda log: log.block) :]:
                if log.block > last:
                    break
                if _matches(log, topics):
                    found.append(log)
        return sorted(found, key=lambda log: (log.block, log.index)) if len(sources) > 1 else found


def _matches(log: LogRecord, topics: Sequence[Sequence[bytes] | None]) -> bool:
    return len(log.topics) >= len(topics) and all(
        wanted is None or topic in wanted for wanted, topic in zip(topics, log.topics, strict=False)
    )
