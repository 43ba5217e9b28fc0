"""The log file: one entry a line, runs one after another, never anything changed or taken away.

A run is its `RunEntry`, which holds the log's peaks before it, and its `NodeEntry`s. So a run reads no more than the
run before it, and whoever reads the whole file finds every change but one to the last run; that one a receipt shows.
"""

import fcntl
import mmap
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, cast

from opml.errors import EvidenceError, InputError, ReceiptError
from opml.evidence.receipt import NodeEntry, Receipt, RunEntry, canonical, parse_json, to_hex, unhex
from opml.evidence.tree import LogTree

LINE_MAX: Final = 1 << 17
# Keys are sorted, so this begins each run's first line; within a line a quotation mark stands behind a backslash.
_RUN_START: Final = b'{"before":'
_HINT: Final = "a write was cut off, or somebody cut the file; no receipt of its last run is good for this file"


class OpenLog:
    """A log to which nobody else can append meanwhile. `tree` is the tree over all that is in it."""

    def __init__(self, tree: LogTree, file: BinaryIO | None = None) -> None:
        self.tree = tree
        self._file = file

    def append(self, entries: Sequence[bytes]) -> None:
        """Appends a run: on disk when this returns, or, if that fails, taken back. Raises OSError."""
        if self._file is not None:
            # Not by the file's own buffer, which would keep what a full disk refused, and try again.
            file = self._file.fileno()
            end = os.fstat(file).st_size
            try:
                rest = memoryview(b"".join(entry + b"\n" for entry in entries))
                while rest:
                    rest = rest[os.write(file, rest) :]
                os.fsync(file)
            except OSError:
                os.ftruncate(file, end)
                raise
        self.tree.extend(entries)


@contextmanager
def open_log(path: str | os.PathLike[str] | None) -> Iterator[OpenLog]:
    """The log of that file, which is made if there is none; an empty one in memory without a path.

    Raises InputError where the file cannot be used, ReceiptError where its last run is not whole.
    """
    if path is None:
        yield OpenLog(LogTree())
        return
    file_name = Path(path)
    with _locked(file_name, "a+b", fcntl.LOCK_EX) as file:
        yield OpenLog(_tail(file, file_name), file)


def last_tree(path: str | os.PathLike[str]) -> LogTree:
    """The tree over a log, from its last run alone. Raises ReceiptError where that run is not whole."""
    file_name = Path(path)
    with _locked(file_name, "rb", fcntl.LOCK_SH) as file:
        return _tail(file, file_name)


def _tail(file: BinaryIO, path: Path) -> LogTree:
    """The tree over the whole file, from its last run alone."""
    size = file.seek(0, os.SEEK_END)
    if size == 0:
        return LogTree()
    with mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) as data:
        start = data.rfind(b"\n" + _RUN_START) + 1
        lines = data[start:].split(b"\n")
    entry = _run_entry(lines[0], "log", f"the last run of {path}")
    if lines.pop() or len(lines) != entry.nodes + 1:
        raise ReceiptError("log", f"the last run of {path} has not its {entry.nodes} lines", _HINT)
    tree = _tree_before(entry, "log")
    tree.extend(lines)
    return tree


def _run_entry(line: bytes, where: str, source: str) -> RunEntry:
    entry = parse_json(RunEntry, line, where, source)
    if canonical(entry) != line:
        raise ReceiptError(where, f"{source} is not in canonical form")
    return entry


def _tree_before(entry: RunEntry, where: str) -> LogTree:
    try:
        return LogTree(entry.before.size, [unhex(peak) for peak in entry.before.peaks])
    except ValueError:
        raise EvidenceError(
            where, f"a log of {entry.before.size} entries has not {len(entry.before.peaks)} peaks"
        ) from None


def check_log(
    path: str | os.PathLike[str],
    receipts: Sequence[Receipt] = (),
    progress: Callable[[int], None] | None = None,
) -> int:
    """Reads a whole log and returns its size. The receipts, checked before, must be of runs in it.

    `progress` is told the bytes that have been read, after each run.

    Raises EvidenceError where a run does not go on from the one before it, or the log has not what a receipt says:
    then it was rewritten, or cut. Raises ReceiptError where a line is none of a log's, InputError where there is no
    such file.
    """
    said = {
        position: entry
        for receipt in receipts
        for position, entry in enumerate(receipt.entries(), receipt.log.run.entry.before.size)
    }
    file_name = Path(path)
    roots: dict[int, str] = {}
    tree = LogTree()
    with _locked(file_name, "rb", fcntl.LOCK_SH) as file:
        for entry, lines in _runs(file, file_name, said):
            if [to_hex(peak) for peak in tree.peaks] != entry.before.peaks or tree.size != entry.before.size:
                raise EvidenceError(_line(tree.size), f"{file_name} was changed before the run that begins there")
            tree = LogTree(tree.size, tree.peaks)
            tree.extend(lines)
            roots[tree.size] = to_hex(tree.root)
            if progress:
                progress(file.tell())
    for receipt in receipts:
        if receipt.log.size > tree.size:
            message = f"{file_name} has {tree.size} lines; the receipt's log had {receipt.log.size}"
            raise EvidenceError("log", message, "the file was cut, or is another log")
        if roots.get(receipt.log.size) != receipt.log.root:
            raise EvidenceError("log", f"the first {receipt.log.size} lines of {file_name} are not the receipt's log")
    return tree.size


def _runs(file: BinaryIO, path: Path, said: Mapping[int, bytes]) -> Iterator[tuple[RunEntry, list[bytes]]]:
    """Each run's first entry and all its lines. `said` are lines by position that must be there.

    Raises EvidenceError where such a line is another, ReceiptError where a line is none of a log's.
    """
    position = 0
    while line := _line_at(file, path, position, said):
        entry = _run_entry(line, _line(position), f"{_line(position)} of {path}")
        lines = [line]
        for index in range(entry.nodes):
            where = _line(position + len(lines))
            line = _line_at(file, path, position + len(lines), said)
            if not line:
                raise ReceiptError("log", f"the last run of {path} has not its {entry.nodes + 1} lines", _HINT)
            node = parse_json(NodeEntry, line, where, f"{where} of {path}")
            if node.index != index or canonical(node) != line:
                raise ReceiptError(where, f"{where} of {path} is not node {index} in canonical form")
            lines.append(line)
        position += len(lines)
        yield entry, lines


def _line_at(file: BinaryIO, path: Path, position: int, said: Mapping[int, bytes]) -> bytes:
    """The next line without its end; empty at the file's end."""
    line = file.readline(LINE_MAX)
    if line and said.get(position, line[:-1]) != line[:-1]:
        raise EvidenceError(_line(position), f"{_line(position)} of {path} is not what the receipt says")
    if line and not line.endswith(b"\n"):
        raise ReceiptError(_line(position), f"{_line(position)} of {path} is cut off, or too long", _HINT)
    if line == b"\n":
        raise ReceiptError(_line(position), f"{_line(position)} of {path} is empty")
    return line[:-1]


def _line(position: int) -> str:
    return f"line {position + 1}"


@contextmanager
def _locked(path: Path, mode: str, lock: int) -> Iterator[BinaryIO]:
    """The open file, locked against those who append. Raises InputError where it cannot be had."""
    try:
        with path.open(mode) as file:
            fcntl.flock(file, lock)
            yield cast(BinaryIO, file)
    except OSError as error:
        raise InputError(f"the log {path} cannot be used: {error.strerror}") from None
