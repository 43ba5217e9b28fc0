"""The devnet's memory on disk: the genesis, then one line a block. Replaying it gives the same blocks, hash for hash.

Each line is written and synced before its transaction is answered, so that a killed devnet has lost nothing that it
confirmed. A last line that was cut off in the middle is dropped: nobody has been told of it.
"""

import fcntl
import json
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from opml.chain.hexa import address_bytes, from_hex, to_hex
from opml.chain.node import Node
from opml.chain.records import CHAIN_ID, DEV_BALANCE, Clock, NodeError, wall_clock
from opml.errors import ChainError

FORMAT: Final = "opml-devnet-1"
_HINT: Final = "move the folder away to begin a new chain"


class Journal:
    """An append-only file, held by one process at a time.

    Raises ChainError where the folder is not writable or another devnet holds it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._failed = False
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("a+b")
        except OSError as error:
            raise ChainError(f"cannot write {path}: {error.strerror}") from error
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            self._file.close()
            raise ChainError(f"another devnet is using {path.parent}", "stop it, or name another folder") from None

    def read(self) -> list[dict[str, Any]]:
        """All whole lines; a partial last one is cut off the file. Raises ChainError where another line is damaged."""
        self._file.seek(0)
        content = self._file.read()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            self._file.truncate(len(whole))
        try:
            lines = [json.loads(line) for line in whole.splitlines()]
            if not all(isinstance(line, dict) for line in lines):
                raise ValueError("a line is not an object")
        except ValueError as error:
            raise ChainError(f"{self.path} is damaged: {error}", _HINT) from error
        return lines

    def append(self, line: Mapping[str, Any]) -> None:
        """Writes a line; it is on disk when this returns. NodeError where it cannot be written, and ever after."""
        if self._failed:
            raise NodeError(f"the devnet's folder failed before ({self.path}): restart it", -32603)
        try:
            self._file.write(json.dumps(line, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            # What is in memory is now more than what is on disk: nothing further may be confirmed.
            self._failed = True
            raise NodeError(f"cannot write {self.path}: {error.strerror}", -32603) from error

    def close(self) -> None:
        """Lets another process have the file."""
        self._file.close()


def restore(journal: Journal, addresses: Sequence[str], *, clock: Clock = wall_clock) -> Node:
    """The node that the journal describes; from now on it writes its blocks there. An empty journal begins a new chain.

    Raises ChainError where replaying gives other blocks: another version, or a file that was changed.
    """
    lines = journal.read()
    if not lines:
        genesis: dict[str, Any] = {
            "format": FORMAT,
            "chainId": CHAIN_ID,
            "time": clock(),
            "balances": {address: str(DEV_BALANCE) for address in addresses},
        }
        journal.append(genesis)
        lines = [genesis]
    genesis, *rest = lines
    if genesis.get("format") != FORMAT:
        raise ChainError(f"{journal.path} is not a devnet of this version", _HINT)
    now: list[int] = [0]
    try:
        node = Node(
            {address_bytes(address): int(wei) for address, wei in genesis["balances"].items()},
            # While the past is replayed its own times are set block by block.
            clock=lambda: now[0],
            genesis_time=int(genesis["time"]),
            chain_id=int(genesis["chainId"]),
        )
    except Exception as error:  # py-evm raises many kinds
        raise ChainError(f"{journal.path} is damaged in line 1: {error!r}", _HINT) from error
    offset = 0
    for number, line in enumerate(rest, start=2):
        try:
            if "offset" in line:
                offset = int(line["offset"])
            else:
                _replay(node, line)
        except Exception as error:
            raise ChainError(f"{journal.path} is damaged in line {number}: {error}", _HINT) from error
    node.clock = clock
    node.offset = offset
    node.on_block = _block_writer(journal)
    node.on_clock = lambda value: journal.append({"offset": value})
    return node


def _replay(node: Node, line: Mapping[str, Any]) -> None:
    node.set_next_timestamp(line["time"])
    if line["raw"]:
        node.submit(from_hex(line["raw"][0]))
    else:
        node.mine()
    if to_hex(node.head.hash) != line["hash"]:
        raise ValueError(f"block {node.head.block_number} has another hash than it had")


def _block_writer(journal: Journal) -> Callable[[int, Sequence[bytes], bytes], None]:
    def write(timestamp: int, raws: Sequence[bytes], block_hash: bytes) -> None:
        journal.append({"time": timestamp, "raw": [to_hex(raw) for raw in raws], "hash": to_hex(block_hash)})

    return write
