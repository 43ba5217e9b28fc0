"""A model that Python code makes: `package.module:NAME` or `file.py:NAME`, of whichever framework it turns out to be.

NAME is the model, or a function or class that is called for it; or a pair: a model and the inputs to export it with.
"""

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from opml.errors import InputError

if TYPE_CHECKING:
    from opml.convert.dispatch import Original
    from opml.convert.wanted import Wanted


def load(source: str, wanted: "Wanted") -> "Original":
    """The model that `source` names. Raises InputError where there is none, ConversionError as its framework does."""
    place, _, name = source.rpartition(":")
    module = _file(Path(place)) if place.endswith(".py") else _module(place)
    if not hasattr(module, name):
        raise InputError(f"{place} has no {name!r}")
    made = getattr(module, name)
    if isinstance(made, type) or (callable(made) and not framework_of(made)):
        made = made()
    model, inputs = made if isinstance(made, tuple) and len(made) == 2 else (made, None)
    framework = framework_of(model)
    if not framework:
        raise InputError(
            f"{source} is a {type(model).__name__}, no model", "name a torch.nn.Module, a Keras model, or what makes it"
        )
    original: Original = importlib.import_module(f"opml.convert.{framework}").wrap(model, inputs, wanted)
    return original


def framework_of(value: Any) -> str:
    """ "torch" or "tensorflow" by the classes of a model, "" for anything else."""
    for kind in type(value).__mro__:
        name = f"{kind.__module__}.{kind.__qualname__}"
        if name in ("torch.nn.modules.module.Module", "torch.export.exported_program.ExportedProgram"):
            return "torch"
        if name == "keras.src.models.model.Model":
            return "tensorflow"
    return ""


def _file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    # As `python file.py` would: what lies beside it can be imported.
    sys.path.insert(0, str(path.parent.resolve()))
    # Under a name that hides no other module.
    name = f"opml_converted_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None, path
    assert spec.loader is not None, path
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _module(name: str) -> ModuleType:
    if str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name.split(".")[0]:
            raise
        raise InputError(f"there is no module {name!r}", "name a module on the path, or FILE.py:NAME") from None
