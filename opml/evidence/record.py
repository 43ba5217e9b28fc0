"""From a finished inference to its receipt: one hash pass over what the operators wrote."""

import os
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from opml.errors import UnsupportedError
from opml.evidence.bundle import write_bundle
from opml.evidence.log import open_log
from opml.evidence.receipt import (
    INPUT_MAX,
    BeforeJson,
    ClaimJson,
    LoggedNode,
    LoggedRun,
    LogJson,
    NodeEntry,
    Receipt,
    RunEntry,
    canonical,
    to_hex,
    unhex,
)
from opml.manifest import HeaderJson
from opml.program import Program
from vm.merkle import subtree_root

if TYPE_CHECKING:
    from opml.model import Inference


def make_receipt(
    inference: "Inference",
    *,
    log: str | os.PathLike[str] | None = None,
    tensors: str | os.PathLike[str] | None = None,
    claim: ClaimJson | None = None,
) -> Receipt:
    """The receipt of an inference; see `Inference.receipt`."""
    image = inference.model.image
    require_receipts(image.program)
    header = image.header
    nodes = node_entries(inference)
    input_root = inference.input_root
    # Of a claim whose input was kept off the chain, the input is not in the receipt either.
    shown = len(inference.posted) <= INPUT_MAX and (claim is None or claim.input_posted)
    if tensors is not None:
        kept = [(input_root, np.frombuffer(inference.posted, np.uint8))]
        kept += [(unhex(node.root), inference.tensors[node.tensor]) for node in nodes]
        write_bundle(Path(tensors), kept)

    with open_log(log) as opened:
        tree = opened.tree
        start = tree.size
        run = RunEntry(
            entry="run",
            before=BeforeJson(size=start, peaks=[to_hex(peak) for peak in tree.peaks]),
            model_id=to_hex(image.model_id),
            input_root=to_hex(input_root),
            output_root=to_hex(inference.output_root),
            nodes=len(nodes),
        )
        opened.append([canonical(run), *map(canonical, nodes)])

    def proof(position: int) -> list[str]:
        return [to_hex(node) for node in tree.inclusion_path(start + position)]

    draft = Receipt(
        model_id=to_hex(image.model_id),
        header=HeaderJson(**header.to_json()),
        input_root=to_hex(input_root),
        input=to_hex(inference.posted) if shown else None,
        output_root=to_hex(inference.output_root),
        claim=claim,
        log=LogJson(
            size=tree.size,
            root=to_hex(tree.root),
            consistency=[to_hex(node) for node in tree.consistency_path(start)],
            run=LoggedRun(entry=run, proof=proof(0)),
            nodes=[LoggedNode(entry=node, proof=proof(place)) for place, node in enumerate(nodes, 1)],
        ),
        digest=to_hex(bytes(32)),
    )
    return draft.model_copy(update={"digest": to_hex(draft.made_digest())})


def require_receipts(program: Program) -> None:
    """Raises UnsupportedError for a program whose runs have no receipts: one that is repeated."""
    if program.repeat is not None:
        raise UnsupportedError("a model that generates has no receipts yet; a claim on chain needs none")


def node_entries(inference: "Inference") -> list[NodeEntry]:
    """The log's entries for the operators' outputs, in program order."""
    program = inference.model.image.program
    entries = []
    for index, node in enumerate(program.nodes):
        tensor = program.tensors[node.output]
        entries.append(
            NodeEntry(
                entry="node",
                index=index,
                name=node.name,
                op=node.op,
                tensor=node.output,
                dtype=node.out_type.dtype.value,
                shape=list(node.out_type.shape),
                address=tensor.address,
                level=tensor.level,
                root=to_hex(subtree_root(inference.tensors[node.output], tensor.level)),
            )
        )
    return entries
