"""`opml audit`: whether a receipt holds, and whether its operators give what it says."""

from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from opml.cli.options import (
    contract_option,
    dims_option,
    emit_verdict,
    inputs_option,
    json_option,
    load_inputs,
    progress,
)
from opml.cli.session import open_session
from opml.dispute.game import ClaimStatus
from opml.errors import EvidenceError, InputError
from opml.evidence.check import check_order, check_receipt
from opml.evidence.receipt import NodeEntry, Receipt, read_receipt, unhex
from opml.evidence.rerun import Auditor, NodeAudit
from opml.model import Model, load
from opml.model_memory import input_bytes
from opml.pins import Pins


@click.command("audit")
@click.argument("receipt", type=click.Path(path_type=Path))
@click.option("--model", "-m", type=click.Path(path_type=Path), help="The receipt's model: ONNX file or image.")
@click.option(
    "--node", "names", multiple=True, metavar="NAME", help="Run this operator again: its name, output or #index."
)
@click.option("--all", "every", is_flag=True, help="Run every operator again.")
@click.option(
    "--tensors", type=click.Path(path_type=Path), help="Take operators' inputs from this folder, not from a run."
)
@inputs_option
@click.option("--since", multiple=True, type=click.Path(path_type=Path), help="An earlier receipt of the same log.")
@click.option("--log", type=click.Path(path_type=Path), help="The log itself, to be read in full.")
@dims_option
@click.option("--rpc", metavar="URL", help="Ask this JSON-RPC node what became of the receipt's claim.")
@contract_option
@json_option
def command(
    receipt: Path,
    model: Path | None,
    names: tuple[str, ...],
    every: bool,
    tensors: Path | None,
    input_files: tuple[str, ...],
    since: tuple[Path, ...],
    log: Path | None,
    dims: Pins,
    rpc: str | None,
    contract: str | None,
    as_json: bool,
) -> None:
    """Check a RECEIPT: its digest and its claim's id, that every operator's output is in the log, and that these give
    the output root.

    With --model, run operators again by their definition and compare. Their inputs come from --tensors, or from a
    native run of the model; either way only if they are those in the log. With --since or --log, check that the log
    was only appended to.

    \b
    Examples:
      opml audit run.json
      opml audit run.json --node conv2d --model model.onnx
      opml audit run.json --node conv2d --model model.onnx --tensors tensors
      opml audit run.json --all --model model.onnx
      opml audit later.json --since run.json --log runs.log

    Exit status 9 where the evidence does not hold; the error's `where` names the part. A file that is missing is bad
    input: status 2.
    """
    if (names or every) and model is None:
        raise InputError("to run operators again the model is needed", "add --model FILE")
    if model is None and (tensors or input_files or dims):
        raise InputError("--tensors, --input and --dim belong to a model", "add --model FILE")
    found = read_receipt(receipt)
    held = check_receipt(found)
    held += _check_history(found, since, log)
    status = _claim_status(found, rpc, contract) if rpc else None
    audits = _audit_nodes(found, model, names, every, tensors, input_files, dims) if model else []
    held += ["the nodes are the model's"] if model else []
    problem = next((audit.problem for audit in audits if audit.problem), None)
    if as_json:
        emit_verdict(_body(found, held, status, audits), problem)
        return
    _print(found, held, status, audits)
    if problem:
        raise problem


def _check_history(found: Receipt, since: tuple[Path, ...], log: Path | None) -> list[str]:
    """The log was only appended to between the receipts, and up to its end where it is given."""
    earlier = []
    for path in since:
        other = read_receipt(path)
        try:
            check_receipt(other)
        except EvidenceError as error:
            raise EvidenceError(error.where, f"{path}: {error.message}", error.hint) from None
        if other.log.size > found.log.size:
            raise InputError(f"{path} is later than the receipt", "audit the later one --since the earlier one")
        earlier.append(other)
    earlier.sort(key=lambda other: other.log.size)
    held = []
    if log is not None:
        from opml.evidence.log import check_log  # here: a receipt alone is checked without the log's library

        with progress() as bar:
            task = bar.add_task("reading the log", total=log.stat().st_size if log.is_file() else None)
            size = check_log(log, [*earlier, found], lambda done: bar.update(task, completed=done))
        held.append(f"the log's {size} entries follow from one another, and hold what the receipts say")
    else:
        check_order([*earlier, found])
    if earlier:
        held.append(f"the log goes on from what it was at {earlier[0].log.size} entries")
    return held


def _claim_status(found: Receipt, rpc: str, contract: str | None) -> str:
    """What the chain says of the claim. Raises EvidenceError where the receipt has none, or the chain does not."""
    if found.claim is None:
        raise InputError("the receipt is of a run, not of a claim", "leave --rpc away")
    client = open_session(rpc, contract or found.claim.contract).client
    if (client.chain.chain_id, client.address.lower()) != (found.claim.chain_id, found.claim.contract):
        raise EvidenceError(
            "claim", f"the claim is on chain {found.claim.chain_id} at {found.claim.contract}, not there"
        )
    status = client.claim_view(unhex(found.claim.claim_id)).status
    if status is ClaimStatus.NONE:
        raise EvidenceError("claim", "the contract knows no claim of the receipt's id")
    return status.name.lower()


def _audit_nodes(
    found: Receipt,
    model: Path,
    names: tuple[str, ...],
    every: bool,
    tensors: Path | None,
    input_files: tuple[str, ...],
    dims: Pins,
) -> list[NodeAudit]:
    with progress() as bar:
        task = bar.add_task(f"loading {model.name}", total=None)
        header = found.model_header
        # An ONNX file is compiled as the receipt's header has it.
        loaded = load(model, window=header.window, clock=header.clock, one_phase=header.one_phase, dims=dims)
        posted = _posted(loaded, input_files) if input_files else None
        auditor = Auditor(found, loaded, tensors=tensors, posted=posted)
        indices = range(len(auditor.entries)) if every else sorted({auditor.find(name) for name in names})

        def show(node: NodeEntry, done: int, tiles: int) -> None:
            # A name may hold what the bar would take for markup.
            words = escape(f"{node.name or node.tensor} by its definition")
            bar.update(task, description=words, completed=done, total=tiles)

        return [auditor.audit(index, show) for index in indices]


def _posted(model: Model, files: tuple[str, ...]) -> bytes:
    arrays = load_inputs(files, list(model.inputs))
    model.engine.check(arrays)
    return input_bytes(model.image.program, arrays)


def _body(found: Receipt, held: list[str], status: str | None, audits: list[NodeAudit]) -> dict[str, Any]:
    return {
        "digest": found.digest,
        "model_id": found.model_id,
        "input_root": found.input_root,
        "output_root": found.output_root,
        "claim": found.claim.model_dump() if found.claim else None,
        "claim_status": status,
        "log": {"size": found.log.size, "root": found.log.root, "from": found.log.run.entry.before.size},
        "nodes": [node.entry.model_dump() for node in found.log.nodes],
        "held": held,
        "audits": [audit.to_json() for audit in audits],
    }


def _print(found: Receipt, held: list[str], status: str | None, audits: list[NodeAudit]) -> None:
    click.echo(f"digest  {found.digest}")
    click.echo(f"model   {found.model_id}")
    click.echo(f"input   {found.input_root}")
    click.echo(f"output  {found.output_root}")
    if found.claim:
        click.echo(f"claim   {found.claim.claim_id}{f', {status}' if status else ''}")
    for text in held:
        click.echo(f"holds: {text}")
    sources = {
        "bundle": "its inputs from the folder of tensors",
        "native": "its inputs from a native run",
        "none": "on the model's own input",
    }
    for audit in audits:
        words = "FAILS" if audit.problem else "holds"
        name = audit.name or f"#{audit.index}"
        click.echo(f"{words}: {audit.op} {name}, {audit.tiles} tiles by definition, {sources[audit.inputs]}")
