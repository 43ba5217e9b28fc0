"""The guest: the program of the machine that holds the definition of every operator.

Its image is the law, and part of every model's identity. So it is committed, as `guest.bin`, with its description in
`guest.json`; `python -m opml.guest` makes both anew after a kernel, the softfloat or the compilers have changed.
"""

import hashlib
import json
from dataclasses import asdict, dataclass
from functools import cache
from importlib import resources
from typing import Final

from opml.errors import ImageError

IMAGE: Final = "guest.bin"
DESCRIPTION: Final = "guest.json"


@dataclass(frozen=True)
class Description:
    """What is known of the committed image.

    size, sha256   of the image
    root           the root of its subtree of 2**GUEST_LOG2 bytes, in hex
    built_with     versions of python (minor), numba and llvmlite; only these rebuild it bit for bit
    """

    size: int
    sha256: str
    root: str
    built_with: dict[str, str]

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"


@cache
def describe() -> Description:
    """The description that is committed with the image."""
    return Description(**json.loads(resources.files(__name__).joinpath(DESCRIPTION).read_text()))


@cache
def load() -> bytes:
    """The published image, to be placed at GUEST_BASE. Raises ImageError if the file is not what was published."""
    image = resources.files(__name__).joinpath(IMAGE).read_bytes()
    if hashlib.sha256(image).hexdigest() != describe().sha256:
        raise ImageError("the installed guest image is corrupt", hint="run `python -m opml.guest`")
    return image


def root() -> bytes:
    """The Merkle root of the published image's subtree: 32 bytes."""
    return bytes.fromhex(describe().root)
