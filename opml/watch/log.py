"""One line per event: for people as `name key=value`, for programs as JSON."""

import json
import logging
import threading
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from opml.dispute.errands import Emit

LEVELS: Final = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class EventLog:
    """Writes events to a stream. Safe for threads."""

    def __init__(self, stream: TextIO, *, as_json: bool = False, level: str = "info") -> None:
        self._stream = stream
        self._as_json = as_json
        self._least = LEVELS[level]
        self._lock = threading.Lock()

    def __call__(self, event: str, /, level: str = "info", **fields: Any) -> None:
        """Writes an event, unless it is below the level."""
        if LEVELS[level] < self._least:
            return
        moment = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        if self._as_json:
            line = json.dumps({"time": moment, "level": level, "event": event, **fields}, default=_plain)
        else:
            words = [f"{name}={_text(value)}" for name, value in fields.items()]
            line = " ".join([moment, level.upper().ljust(7), event, *words])
        with self._lock:
            self._stream.write(line + "\n")
            self._stream.flush()


class NodeLog(logging.Handler):
    """Passes on, as events `node`, what the chain's back end says about the node and about waiting transactions."""

    def __init__(self, emit: Emit) -> None:
        super().__init__(logging.INFO)
        self._emit = emit

    def emit(self, record: logging.LogRecord) -> None:
        """Passes on a record."""
        level = "warning" if record.levelno >= logging.WARNING else "info"
        self._emit("node", level, message=record.getMessage())


def _plain(value: Any) -> Any:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, float):
        return f"{value:.6g}"
    words = str(value)
    plain = words.isprintable() and not any(c.isspace() or c in '"=' for c in words)
    return words if words and plain else json.dumps(words)
