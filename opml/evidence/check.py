"""What a receipt says must agree with itself, before anybody runs anything; and with the receipts before it."""

from collections.abc import Sequence
from itertools import pairwise
from math import prod

import numpy as np

from opml.errors import EvidenceError
from opml.evidence.proofs import leaf_hash, peak_widths, proves_consistency, proves_inclusion
from opml.evidence.receipt import LoggedNode, LoggedRun, NodeEntry, Receipt, canonical, claimed, to_hex, unhex
from opml.header import ModelHeader
from opml.program import leaves, subtree_level
from opml.roots import sparse_root
from vm.constants import LEAF_BYTES, LEAF_LOG2, SCRATCH_BASE
from vm.merkle import subtree_root


def check_receipt(receipt: Receipt) -> list[str]:
    """What was found to hold, in words. Raises EvidenceError, which names the first part that does not."""
    if to_hex(receipt.made_digest()) != receipt.digest:
        raise EvidenceError("digest", "the digest is not that of the receipt", "the file was changed after it was made")
    header = receipt.model_header
    if to_hex(header.model_id) != receipt.model_id:
        raise EvidenceError("header", "the model id is not that of the header")
    held = ["the digest is the receipt's, and the model id its header's"]
    if receipt.input is not None:
        _check_input(receipt, header)
        held.append("the input's bytes have the input root")
    if receipt.claim is not None:
        _check_claim(receipt)
        held.append("the claim's id is that of model, input, output and prover")
    _check_log(receipt)
    held.append(f"the run and {len(receipt.log.nodes)} node outputs are in the log of {receipt.log.size} entries")
    _check_nodes(receipt, header)
    held.append("the output root is that of the node outputs")
    return held


def check_order(receipts: Sequence[Receipt]) -> None:
    """Receipts of runs that followed one another in one log, the earliest first, each checked by itself before.

    Raises EvidenceError where a receipt's proof does not start from the receipt before it.
    """
    for earlier, later in pairwise(receipts):
        before = later.log.run.entry.before
        if (before.size, to_hex(before.root)) == (earlier.log.size, earlier.log.root):
            continue
        if before.size > earlier.log.size:
            message = f"{before.size - earlier.log.size} entries lie between the receipts: their proofs do not meet"
            raise EvidenceError("consistency", message, "give the log with --log, or the receipts between with --since")
        raise EvidenceError("consistency", "the receipts are not of one log: it was rewritten, cut, or is another")


def _check_input(receipt: Receipt, header: ModelHeader) -> None:
    data = unhex(receipt.input or "0x")
    if len(data) != header.input_bytes:
        raise EvidenceError("input", f"the input has {len(data)} bytes; the model takes {header.input_bytes}")
    if to_hex(subtree_root(data, header.input_level)) != receipt.input_root:
        raise EvidenceError("input", "the input's bytes have another root")


def _check_claim(receipt: Receipt) -> None:
    claim, said = claimed(receipt), receipt.claim
    if claim is None or said is None:
        return
    if to_hex(claim.id_at(said.chain_id, said.contract)) != said.claim_id:
        raise EvidenceError("claim", "the claim's id is not that of model, input, output and prover")


def _check_log(receipt: Receipt) -> None:
    """Every entry is in the log at its place, and the log goes on from where the run found it."""
    log = receipt.log
    run, root = log.run.entry, unhex(log.root)
    start = run.before.size
    if len(run.before.peaks) != len(peak_widths(start)):
        raise EvidenceError("run", f"a log of {start} entries has not {len(run.before.peaks)} peaks")
    if (run.model_id, run.input_root, run.output_root) != (receipt.model_id, receipt.input_root, receipt.output_root):
        raise EvidenceError("run", "the run in the log is of another model, input or output")
    if run.nodes != len(log.nodes) or log.size != start + 1 + run.nodes:
        raise EvidenceError("run", f"the run in the log has {run.nodes} nodes, the receipt {len(log.nodes)}")
    logged: list[LoggedRun | LoggedNode] = [log.run, *log.nodes]
    for place, item in enumerate(logged):
        leaf = leaf_hash(canonical(item.entry))
        path = [unhex(node) for node in item.proof]
        if not proves_inclusion(leaf, start + place, log.size, root, path):
            name = node_place(log.nodes[place - 1].entry) if place else "run"
            raise EvidenceError(name, f"{name} is not in the log at position {start + place}")
    path = [unhex(node) for node in log.consistency]
    if not proves_consistency(start, run.before.root, log.size, root, path):
        raise EvidenceError("consistency", f"the log does not begin with the {start} entries before the run")


def _check_nodes(receipt: Receipt, header: ModelHeader) -> None:
    """Types, places and number of the outputs are possible, and those in the output region make the output root."""
    start, size = header.output_address, LEAF_BYTES << header.output_level
    outputs: dict[tuple[int, int], bytes] = {}
    tiles, taken = 0, []
    for index, logged in enumerate(receipt.log.nodes):
        node = logged.entry
        if node.index != index:
            raise EvidenceError(node_place(node), f"node {index} in the log says that it is node {node.index}")
        nbytes = node_bytes(node)
        room = LEAF_BYTES << node.level
        good = 0 < nbytes < SCRATCH_BASE and node.level == subtree_level(nbytes)
        if not good or node.address % room or node.address + room > SCRATCH_BASE:
            raise EvidenceError(node_place(node), f"no output of {nbytes} bytes has a place of level {node.level}")
        tiles += leaves(nbytes)
        taken.append((node.address, room, node))
        if start <= node.address and node.address + room <= start + size:
            outputs[node.level, (node.address - start) >> (node.level + LEAF_LOG2)] = unhex(node.root)
    taken.sort(key=lambda item: item[0])
    for (address, room, _), (other, _, node) in pairwise(taken):
        if address + room > other:
            raise EvidenceError(node_place(node), "two outputs overlap")
    if tiles != header.tiles * header.stride:
        raise EvidenceError("nodes", f"the nodes have {tiles} tiles; the model has {header.tiles * header.stride}")
    if to_hex(sparse_root(outputs, header.output_level)) != receipt.output_root:
        raise EvidenceError("output", "the output root is not that of the node outputs")


def node_bytes(node: NodeEntry) -> int:
    """Bytes of a node's output."""
    return prod(node.shape) * np.dtype(node.dtype).itemsize


def node_place(node: NodeEntry) -> str:
    """What an error calls a node: its name, or its tensor's where it has none."""
    return f"node {node.name or node.tensor}"


__all__ = ["check_order", "check_receipt", "node_bytes", "node_place"]
