"""opml: optimistic machine learning.

>>> import opml
>>> model = opml.load("model.onnx")
>>> outputs = model.run(image=array)                    # numpy in, numpy out
>>> claim = model.prove(opml.connect(), image=array)     # posted on a chain, with a bond
>>> claim.settle()                                      # defended until it is final
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opml.chain import connect
    from opml.claim import Claim
    from opml.dispute.game import ClaimStatus
    from opml.errors import OpmlError
    from opml.graph import TensorType
    from opml.model import Inference, Model, load

# Imported when they are first used: `import opml` costs nothing.
_HOMES = {
    "Claim": "opml.claim",
    "ClaimStatus": "opml.dispute.game",
    "Inference": "opml.model",
    "Model": "opml.model",
    "OpmlError": "opml.errors",
    "TensorType": "opml.graph",
    "connect": "opml.chain",
    "load": "opml.model",
}

__all__ = ["Claim", "ClaimStatus", "Inference", "Model", "OpmlError", "TensorType", "connect", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'opml' has no attribute {name!r}")
