"""The options with which `run` and `prove` write a receipt."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opml.errors import ChainError, EvidenceError, InputError

if TYPE_CHECKING:
    from opml.chain.client import OpmlClient
    from opml.evidence.receipt import ClaimJson
    from opml.model import Inference, Model


@dataclass(frozen=True)
class Wanted:
    """The receipt that a user wants, if any."""

    file: Path | None
    log: Path | None
    tensors: Path | None

    def __bool__(self) -> bool:
        return self.file is not None

    def check(self) -> None:
        """Before anything is run or bonded. InputError, ReceiptError where the receipt could not be written."""
        if self.file is None:
            if self.log or self.tensors:
                raise InputError(f"{'--log' if self.log else '--tensors'} belongs to a receipt", "add --receipt FILE")
            return
        if self.file.exists():
            raise InputError(f"{self.file} is there already; a receipt takes nothing's place", "name another file")
        for path in (self.file, self.log):
            if path is not None and (path.is_dir() or not path.absolute().parent.is_dir()):
                raise InputError(f"{path} cannot be written", "its folder has to be there")
        if self.tensors is not None and self.tensors.exists() and not self.tensors.is_dir():
            raise InputError(f"{self.tensors} is no folder")
        from opml.evidence.log import last_tree  # here: most runs want none

        if self.log is not None and self.log.exists():
            last_tree(self.log)

    def check_model(self, model: "Model") -> None:
        """The same once the model is known. UnsupportedError where there are no receipts for its kind."""
        if self.file is not None:
            from opml.evidence.record import require_receipts

            require_receipts(model.image.program)

    def write(self, inference: "Inference") -> bytes | None:
        """Writes the receipt of a run; its digest. None where none is wanted. Raises ReceiptError."""
        return self._write(inference, None)

    def write_claimed(self, inference: "Inference", client: "OpmlClient", claim_id: bytes) -> bytes | None:
        """Writes the receipt of a claim; its digest. None where none is wanted, or it cannot be written.

        That is only said: the claim is posted, and has to be defended whatever becomes of its receipt.
        """
        if self.file is None:
            return None
        from opml.evidence.receipt import claim_json  # here: most runs want none

        try:
            claim = client.claim_terms(claim_id)
            return self._write(inference, claim_json(claim, client.chain.chain_id, client.address))
        except (ChainError, EvidenceError, InputError) as error:
            again = f"--claim 0x{claim_id.hex()} --receipt FILE writes it later"
            click.echo(f"no receipt: {error.message}; {again}", err=True)
            return None

    def _write(self, inference: "Inference", claim: "ClaimJson | None") -> bytes | None:
        if self.file is None:
            return None
        from opml.evidence.receipt import unhex

        receipt = inference.receipt(log=self.log, tensors=self.tensors, claim=claim)
        receipt.save(self.file)
        click.echo(f"receipt {self.file}, digest {receipt.digest}", err=True)
        return unhex(receipt.digest)


def receipt_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the options and hands them over, checked, as `wanted`."""

    @click.option(
        "--receipt",
        type=click.Path(path_type=Path),
        help="Write a receipt: every operator's output by its Merkle root.",
    )
    @click.option(
        "--log", type=click.Path(path_type=Path), help="Append the receipt's run to this log of earlier runs."
    )
    @click.option(
        "--tensors",
        type=click.Path(path_type=Path),
        help="Write the outputs' bytes, too, into this folder, for audits.",
    )
    @wraps(function)
    def command(*, receipt: Path | None, log: Path | None, tensors: Path | None, **rest: Any) -> Any:
        wanted = Wanted(receipt, log, tensors)
        wanted.check()
        return function(wanted=wanted, **rest)

    return command
