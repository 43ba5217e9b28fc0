"""Operators run again, one by one, by their definition, on the inputs that the log says they had."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from opml import fpenv
from opml.commitment import Bytes
from opml.errors import EvidenceError, InputError
from opml.evidence.bundle import read_tensor
from opml.evidence.check import node_bytes, node_place
from opml.evidence.receipt import NodeEntry, Receipt, to_hex, unhex
from opml.model import Model
from opml.model_memory import as_bytes, read_input
from opml.ops import OPS
from opml.program import Kind, ProgramNode
from vm.constants import LEAF_BYTES
from vm.guest.record import WORD_INPUT, WORD_OUT
from vm.merkle import subtree_root

# Tiles between two reports of progress.
_CHUNK = 1 << 12
# Of the widest number that a definition loads.
_ALIGNMENT = 8
Progress = Callable[[NodeEntry, int, int], None]


def quiet(node: NodeEntry, done: int, tiles: int) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class NodeAudit:
    """What became of one operator: `root` is what its definition gives, `logged_root` what the log says.

    `inputs` says where its inputs came from: "bundle", "native" (the model was run), or "none" where it reads nothing
    but constants and the model's input. `position` and `proof` show the entry in the log. `first_tile`, of the program
    as a dispute counts, is where the logged output first differs, if its bytes are at hand. `problem` says why the
    audit fails; None where it holds. `root` is None where an input is not what the log says.
    """

    index: int
    name: str
    op: str
    tiles: int
    inputs: str
    logged_root: str
    position: int
    proof: list[str]
    root: str | None = None
    first_tile: int | None = None
    problem: EvidenceError | None = None

    def to_json(self) -> dict[str, Any]:
        """Plain values, and `holds`."""
        plain = {field.name: getattr(self, field.name) for field in fields(self)}
        problem = self.problem.to_json() if self.problem else None
        return plain | {"holds": self.problem is None, "problem": problem}


class Auditor:
    """Runs the operators of a receipt again. `receipt` has passed `check_receipt`, `model` is its model.

    Inputs of an operator that other operators computed are taken from the folder `tensors`, or, without one, from a
    native run of the whole model; in both cases only where they have the roots that the log says. `posted` are the
    input region's bytes where the receipt does not hold them. Raises EvidenceError where receipt and model do not
    belong together, and InputError where the input is missing.
    """

    def __init__(
        self,
        receipt: Receipt,
        model: Model,
        *,
        tensors: str | os.PathLike[str] | None = None,
        posted: bytes | None = None,
    ) -> None:
        self.receipt = receipt
        self.model = model
        self.program = model.image.program
        self.entries = [logged.entry for logged in receipt.log.nodes]
        self._folder = None if tensors is None else Path(tensors)
        if self._folder is not None and not self._folder.is_dir():
            raise InputError(f"there is no folder {self._folder} of tensors")
        self._posted = posted
        self._writer = {node.tensor: node for node in self.entries}
        self._check_model()

    def _check_model(self) -> None:
        if to_hex(self.model.model_id) != self.receipt.model_id:
            found = to_hex(self.model.model_id)
            message = f"the receipt is of model {self.receipt.model_id}, this is {found}"
            raise EvidenceError("model", message, "give the model that was run, with the same --dim")
        if self.program.repeat is not None:
            raise EvidenceError("model", "there are no receipts of a program that is repeated")
        if len(self.entries) != len(self.program.nodes):
            raise EvidenceError("nodes", f"the model has {len(self.program.nodes)} nodes, not {len(self.entries)}")
        for node, entry in zip(self.program.nodes, self.entries, strict=True):
            tensor = self.program.tensors[node.output]
            kind = (node.out_type.dtype.value, list(node.out_type.shape))
            names = (node.name, node.op, node.output)
            if (*names, *kind, tensor.address, tensor.level) != (
                entry.name, entry.op, entry.tensor, entry.dtype, entry.shape, entry.address, entry.level,
            ):  # fmt: skip
                message = f"{node_place(entry)} is not node {entry.index} of the model"
                hint = "a model's id does not commit to the names within it: give the file that was run"
                raise EvidenceError(node_place(entry), message, hint)

    def find(self, name: str) -> int:
        """The index of the node with this name, or with this output, or "#index". Raises InputError."""
        if name.startswith("#") and name[1:].isdecimal() and int(name[1:]) < len(self.entries):
            return int(name[1:])
        for key in ("tensor", "name"):
            found = [entry.index for entry in self.entries if getattr(entry, key) == name]
            if len(found) == 1:
                return found[0]
            if found:
                raise InputError(f"{len(found)} nodes are called {name!r}", f"name one as #{found[0]}, by its index")
        raise InputError(f"the model has no node {name!r}", "`opml audit RECEIPT --json` lists the nodes")

    def audit(self, index: int, progress: Progress = quiet) -> NodeAudit:
        """One operator, by its definition, on the inputs that the log says it had."""
        node, entry = self.program.nodes[index], self.entries[index]
        computed = any(self.program.tensors[name].kind in (Kind.VALUE, Kind.OUTPUT) for name in node.inputs if name)
        log = self.receipt.log
        audit = NodeAudit(
            index=index,
            name=entry.name,
            op=entry.op,
            tiles=node.tiles,
            inputs=("bundle" if self._folder else "native") if computed else "none",
            logged_root=entry.root,
            position=log.run.entry.before.size + 1 + index,
            proof=log.nodes[index].proof,
        )
        try:
            inputs = [self._read(name) if name else None for name in node.inputs]
        except EvidenceError as error:
            return replace(audit, problem=error)
        out = _compute(node, inputs, lambda done: progress(entry, done, node.tiles))
        root = to_hex(subtree_root(out[: node.out_type.nbytes], entry.level))
        if root == entry.root:
            return replace(audit, root=root)
        first = self._first_difference(node, entry, out)
        spot = "" if first is None else f", first in tile {first}"
        problem = EvidenceError(node_place(entry), f"{node_place(entry)} gives another output than the log says{spot}")
        return replace(audit, root=root, first_tile=first, problem=problem)

    def _read(self, name: str) -> Bytes:
        """A tensor's bytes: a constant's, an input's, or those that the log says an operator wrote."""
        if name in self._known:
            return self._known[name]
        entry = self._writer[name]
        if self._folder is not None:
            return read_tensor(self._folder, name, unhex(entry.root), entry.level, node_bytes(entry))
        data = self._native[name]
        if to_hex(subtree_root(data, entry.level)) != entry.root:
            place = node_place(entry)
            message = f"{place} gives another output natively than the log says: what reads it cannot be audited"
            raise EvidenceError(
                place, message, "the fault is there or before it; audit with --all, or give the --tensors"
            )
        return data

    @cached_property
    def _known(self) -> dict[str, Bytes]:
        """Constants, which the model's id commits to, and inputs, which the input root does."""
        known = {name: as_bytes(value) for name, value in self.program.constants.items()}
        inputs = read_input(self.program, self.posted)
        return known | {port.tensor: as_bytes(inputs[port.name]) for port in self.program.inputs}

    @cached_property
    def posted(self) -> bytes:
        """The input region's bytes: the receipt's, or those given, or the folder's. InputError where there are none."""
        header = self.model.header
        if self.receipt.input is not None:
            return unhex(self.receipt.input)
        if self._posted is not None:
            if to_hex(subtree_root(self._posted, header.input_level)) != self.receipt.input_root:
                raise EvidenceError("input", "the input given is not the one that was run")
            return self._posted
        if self._folder is not None:
            root = unhex(self.receipt.input_root)
            return read_tensor(self._folder, "input", root, header.input_level, header.input_bytes).tobytes()
        raise InputError("the receipt does not hold its input, which is large", "give it with --input or --tensors")

    @cached_property
    def _native(self) -> Mapping[str, Bytes]:
        """Every tensor of a native run."""
        return self.model.engine.run_full(read_input(self.program, self.posted))

    def _first_difference(self, node: ProgramNode, entry: NodeEntry, out: Bytes) -> int | None:
        """The first tile at which the logged output differs from `out`, if the folder has the logged output."""
        if self._folder is None:
            return None
        try:
            logged = read_tensor(self._folder, entry.tensor, unhex(entry.root), entry.level, node_bytes(entry))
        except (EvidenceError, InputError):
            return None
        return node.first_tile + int(np.flatnonzero(logged != out[: logged.size])[0]) // LEAF_BYTES


def _compute(node: ProgramNode, inputs: Sequence[Bytes | None], progress: Callable[[int], None]) -> Bytes:
    """The output's leaves by the operator's definition, tile by tile."""
    # A kernel may load only where a number of its type may lie.
    held = [None if data is None else _aligned(data) for data in inputs]
    out = np.zeros(node.tiles * LEAF_BYTES, np.uint8)
    record = node.record.copy()
    record[WORD_OUT] = out.ctypes.data
    for place, data in enumerate(held, WORD_INPUT):
        record[place] = 0 if data is None else data.ctypes.data
    tile, address = OPS[node.op].tile, record.ctypes.data
    with fpenv.standard():
        for first in range(0, node.tiles, _CHUNK):
            progress(first)
            for t in range(first, min(first + _CHUNK, node.tiles)):
                tile(address, t)
    progress(node.tiles)
    return out


def _aligned(data: Bytes) -> Bytes:
    if data.ctypes.data % _ALIGNMENT == 0:
        return data
    room = np.zeros(-(-data.size // _ALIGNMENT), np.int64).view(np.uint8)[: data.size]
    room[:] = data
    return room
