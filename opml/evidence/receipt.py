"""A receipt: what was run on what, what came out, and every operator's output by its root. One JSON object.

There is one form for one content: keys sorted, no white space, ASCII, a newline at the end. Whatever is read is
validated against it, and bounded, before anything is done with it.
"""

import json
import os
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from opml.dispute.game import Claim
from opml.errors import EvidenceError, InputError, ReceiptError
from opml.evidence.proofs import root_of_peaks
from opml.files import write_whole
from opml.graph import DTypeName
from opml.header import ModelHeader
from opml.manifest import Hash, HeaderJson, Name, Size
from vm.keccak import keccak256

VERSION = 1
RECEIPT_MAX = 1 << 26
# A larger input is not written into the receipt: whoever audits brings it.
INPUT_MAX = 1 << 17
_LOG_LIMIT = 1 << 48

Hashes = Annotated[list[Hash], Field(max_length=64)]
Position = Annotated[int, Field(ge=0, lt=_LOG_LIMIT)]
HexBytes = Annotated[str, StringConstraints(pattern=r"^0x([0-9a-f]{2})*$", max_length=2 + 2 * INPUT_MAX)]
Address = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{40}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class BeforeJson(_Strict):
    """The log before a run: its size, and its peaks, the largest first."""

    size: Position
    peaks: Hashes

    @property
    def root(self) -> bytes:
        """The log's root then."""
        return root_of_peaks([unhex(peak) for peak in self.peaks])


class RunEntry(_Strict):
    """The entry that precedes a run's others: model, input, output, and where the log stood."""

    entry: Literal["run"]
    before: BeforeJson
    model_id: Hash
    input_root: Hash
    output_root: Hash
    nodes: Annotated[int, Field(ge=1, le=1 << 17)]


class NodeEntry(_Strict):
    """One operator's output: `root` is that of its tensor's subtree, at `address` and of `level`, in the memory."""

    entry: Literal["node"]
    index: Annotated[int, Field(ge=0, lt=1 << 17)]
    name: Name
    op: Name
    tensor: Name
    dtype: DTypeName
    shape: Annotated[list[Size], Field(max_length=64)]
    address: Size
    level: Annotated[int, Field(ge=0, le=40)]
    root: Hash


class LoggedRun(_Strict):
    """The run's entry and the proof that it is in the log."""

    entry: RunEntry
    proof: Hashes


class LoggedNode(_Strict):
    """A node's entry and the proof that it is in the log, `index` + 1 places behind the run's."""

    entry: NodeEntry
    proof: Hashes


class LogJson(_Strict):
    """The log after the run, what the run wrote, and the proof that nothing before it was changed."""

    size: Position
    root: Hash
    consistency: Annotated[list[Hash], Field(max_length=128)]
    run: LoggedRun
    nodes: Annotated[list[LoggedNode], Field(min_length=1, max_length=1 << 17)]


class ClaimJson(_Strict):
    """The claim on chain; its id is the hash of the rest and the receipt's model, input and output."""

    chain_id: Annotated[int, Field(ge=0, lt=1 << 256)]
    contract: Address
    prover: Address
    nonce: Hash
    input_posted: bool
    claim_id: Hash


class Receipt(_Strict):
    """See the module. `digest` is keccak256 of the canonical form without it."""

    kind: Literal["opml-receipt"] = "opml-receipt"
    version: Literal[1] = 1
    model_id: Hash
    header: HeaderJson
    input_root: Hash
    input: HexBytes | None
    output_root: Hash
    claim: ClaimJson | None
    log: LogJson
    digest: Hash

    @classmethod
    def parse(cls, data: bytes, source: str = "the receipt") -> Self:
        """From a file's bytes. Raises ReceiptError unless they are a receipt's in the one form it has."""
        if len(data) > RECEIPT_MAX:
            raise ReceiptError("file", f"{source} is larger than {RECEIPT_MAX} bytes")
        receipt = parse_json(cls, data, "file", source)
        if data != canonical(receipt) + b"\n":
            raise ReceiptError("file", f"{source} is not in canonical form", "audit the file as it was written")
        return receipt

    @property
    def model_header(self) -> ModelHeader:
        """The header. Raises EvidenceError where its fields make no sense."""
        fields = self.header.model_dump()
        for root in ("model_root", "guest_root"):
            fields[root] = unhex(fields[root])
        try:
            return ModelHeader(**fields)
        except ValueError as error:
            raise EvidenceError("header", f"the header is wrong: {error}") from None

    def made_digest(self) -> bytes:
        """What `digest` has to be."""
        return keccak256(canonical(self, without="digest"))

    def entries(self) -> list[bytes]:
        """The log's entries that this run wrote, as they are hashed."""
        return [canonical(self.log.run.entry), *(canonical(node.entry) for node in self.log.nodes)]

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the file in one step. Raises InputError where it cannot be written or is there already."""
        target = Path(path)
        if target.exists():
            raise InputError(f"{target} is there already; a receipt takes nothing's place", "name another file")
        write_evidence(target, canonical(self) + b"\n")


def read_receipt(path: str | os.PathLike[str]) -> Receipt:
    """A receipt from its file, in the right form but not checked: `check_receipt` does that.

    Raises ReceiptError where it is none, InputError where there is no such file.
    """
    try:
        with Path(path).open("rb") as file:
            data = file.read(RECEIPT_MAX + 1)
    except OSError as error:
        raise InputError(f"{os.fspath(path)} cannot be read: {error.strerror}") from None
    return Receipt.parse(data, os.fspath(path))


def write_evidence(target: Path, data: bytes) -> None:
    """Writes a file in one step. Raises InputError."""
    try:
        write_whole(target, lambda file: file.write(data))
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None


M = TypeVar("M", bound=BaseModel)


def parse_json(kind: type[M], data: bytes, where: str, source: str) -> M:
    """A JSON text as a model. Raises ReceiptError, which names the place."""
    try:
        return kind.model_validate_json(data)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(map(str, first["loc"])) or "its start"
        raise ReceiptError(where, f"{source} is wrong at {place}: {first['msg']}") from None


def canonical(value: BaseModel, without: str | None = None) -> bytes:
    """The one form: sorted keys, no white space, everything beyond ASCII escaped."""
    plain: dict[str, Any] = value.model_dump()
    if without is not None:
        del plain[without]
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode("ascii")


def to_hex(value: bytes) -> str:
    """0x and lower-case digits."""
    return "0x" + value.hex()


def unhex(text: str) -> bytes:
    """The bytes of validated 0x-hex."""
    return bytes.fromhex(text[2:])


def claim_json(claim: Claim, chain_id: int, contract: str) -> ClaimJson:
    """A claim's part of a receipt. `contract` is the address at which it was posted."""
    return ClaimJson(
        chain_id=chain_id,
        contract=contract.lower(),
        prover=claim.prover.lower(),
        nonce=to_hex(claim.nonce.to_bytes(32, "big")),
        input_posted=claim.input_posted,
        claim_id=to_hex(claim.id_at(chain_id, contract)),
    )


def claimed(receipt: Receipt) -> Claim | None:
    """The claim that the receipt speaks of, in the contract's terms."""
    if receipt.claim is None:
        return None
    model_id, input_root, output_root = map(unhex, (receipt.model_id, receipt.input_root, receipt.output_root))
    said = receipt.claim
    return Claim(model_id, input_root, output_root, said.prover, int(said.nonce, 16), said.input_posted)
