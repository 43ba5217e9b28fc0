"""Which models have been checked on this computer: native kernels against the machine, once per model, kernels and CPU.

The check hashes the whole memory, which the happy path must not pay for each claim.
"""

import hashlib
from contextlib import suppress

from llvmlite import binding

from opml.dispute.selfcheck import self_check
from opml.model import Inference
from opml.ops.base import SOURCES
from vm.jit import cache_root, source_key


def ensure_checked(inference: Inference) -> bool:
    """Runs a few random tiles of the inference in the machine unless that was done before; whether it was done now.

    Raises SelfCheckError where the machine disagrees: then nothing may be bonded on this computer's results.
    """
    features = "".join(sorted(name for name, on in binding.get_host_cpu_features().items() if on))
    parts = (inference.model.model_id.hex(), source_key(SOURCES), binding.get_host_cpu_name(), features)
    marker = cache_root() / "checked" / hashlib.sha256("\0".join(parts).encode()).hexdigest()[:32]
    # Where the cache cannot be used, the check is repeated each time.
    with suppress(OSError):
        if marker.exists():
            return False
    self_check(inference.model.header, inference.memory)
    with suppress(OSError):
        marker.parent.mkdir(parents=True, exist_ok=True)
        marker.touch()
    return True
