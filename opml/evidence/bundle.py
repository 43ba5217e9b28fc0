"""Tensors beside a receipt: a folder with each tensor's bytes, in a file that is named by its root and its size.

So a folder serves any number of receipts, and nothing in it is believed: a tensor's root is computed when it is read.
`numpy.fromfile(file, dtype).reshape(shape)` shows one.
"""

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from opml.commitment import Bytes
from opml.errors import EvidenceError, InputError
from opml.evidence.receipt import to_hex, write_evidence
from vm.merkle import subtree_root


def file_of(folder: Path, root: bytes, nbytes: int) -> Path:
    """Where the tensor with this root and size lies."""
    return folder / f"{to_hex(root)}-{nbytes}.bin"


def write_bundle(folder: Path, tensors: Iterable[tuple[bytes, Bytes]]) -> None:
    """Writes tensors, given by their roots. Raises InputError where that fails."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{folder} cannot be made: {error.strerror}") from None
    for root, data in tensors:
        write_evidence(file_of(folder, root, data.size), data.tobytes())


def read_tensor(folder: Path, name: str, root: bytes, level: int, nbytes: int) -> Bytes:
    """The bytes of tensor `name`. Raises InputError where the folder lacks them, EvidenceError where it has others."""
    path = file_of(folder, root, nbytes)
    where = f"tensor {name}"
    try:
        with path.open("rb") as file:
            data = np.frombuffer(file.read(nbytes + 1), np.uint8)
    except OSError as error:
        raise InputError(
            f"the folder lacks {where}: {path} cannot be read: {error.strerror}",
            "give the folder of this receipt",
        ) from None
    if data.size != nbytes or subtree_root(data, level) != root:
        raise EvidenceError(where, f"{path} does not hold the tensor {name!r} of the log")
    return data
