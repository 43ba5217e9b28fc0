"""Making the committed image and its description from the operators' definitions."""

import hashlib
import sys

import llvmlite
import numba

from opml.guest import Description
from opml.ops import OPS
from vm.constants import LEAF_LOG2
from vm.guest.build import build
from vm.guest.record import GUEST_LOG2
from vm.merkle import subtree_root


def build_image() -> bytes:
    """The guest of all operators. Raises vm.guest.errors.GuestError, naming what the machine does not have."""
    return build({op.code: op.tile for op in OPS.values()})


def versions() -> dict[str, str]:
    """What the image's bits depend on besides our sources."""
    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    return {"python": python, "numba": numba.__version__, "llvmlite": llvmlite.__version__}


def describe_image(image: bytes) -> Description:
    """The description of an image built here."""
    root = subtree_root(image, GUEST_LOG2 - LEAF_LOG2)
    return Description(len(image), hashlib.sha256(image).hexdigest(), root.hex(), versions())
