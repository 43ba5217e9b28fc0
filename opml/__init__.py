"""opml: optimistic machine learning.

>>> import opml
>>> opml.load("model.onnx").run({"image": array})
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opml.errors import OpmlError
    from opml.model import Model, load

# Imported when they are first used: `import opml` costs nothing.
_HOMES = {"Model": "opml.model", "OpmlError": "opml.errors", "load": "opml.model"}

__all__ = ["Model", "OpmlError", "load"]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'opml' has no attribute {name!r}")
