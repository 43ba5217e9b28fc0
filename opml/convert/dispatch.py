"""Which model is converted by what; what was converted is checked against the framework that it comes from.

A framework's module here has `load(source, wanted) -> Original`; the frameworks themselves are extras, imported only
there. What is compared is the whole way: the original's outputs on random inputs against opml's.
"""

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Protocol

import onnx

from opml.convert.compare import Difference, differences, random_inputs
from opml.convert.errors import ConversionError
from opml.convert.wanted import DEFAULT_TOLERANCE, Wanted
from opml.errors import InputError
from opml.graph import Array
from opml.model import Model, load


class Original(Protocol):
    """A model as its framework has it. Inputs and outputs are numpy arrays, in the order of the exported file's."""

    framework: str
    """The framework's name."""

    @property
    def examples(self) -> list[Array]:
        """Inputs of the right dtypes and shapes; integers among them show the range to draw from."""

    def run(self, inputs: list[Array]) -> list[Array]:
        """The outputs as the framework computes them."""

    def export(self, target: Path) -> None:
        """Writes the ONNX file, weights included."""


@dataclass(frozen=True)
class Converted:
    """A written ONNX file and how far opml's outputs are from the original's. `differences` are by output."""

    target: Path
    framework: str
    model: Model
    samples: int
    tolerance: float
    differences: dict[str, Difference]

    @property
    def close(self) -> bool:
        """Whether no output is further from the original's than the tolerance."""
        return all(difference.relative <= self.tolerance for difference in self.differences.values())


@dataclass(frozen=True)
class Framework:
    """Where a framework's models come from. `runs_code`: opening one runs code that is in it."""

    module: str
    runs_code: bool


FRAMEWORKS = {
    "torch": Framework("opml.convert.torch", True),
    "tensorflow": Framework("opml.convert.tensorflow", False),
    "python": Framework("opml.convert.python", True),
}
_SUFFIXES = {".pt2": "torch", ".pt": "torch", ".pth": "torch", ".keras": "tensorflow", ".tflite": "tensorflow"}


def framework_of(source: str) -> Framework:
    """Which framework a source is for: by its suffix, by what a folder holds, or `MODULE:NAME` and `FILE.py:NAME`.

    Raises InputError where it is none of these, or does not exist.
    """
    path, (place, _, name) = Path(source), source.rpartition(":")
    if path.suffix in _SUFFIXES or path.is_dir():
        if not path.exists():
            raise InputError(f"{source}: no such file")
        if path.is_dir() and not (path / "saved_model.pb").is_file():
            raise InputError(f"{source} is a folder without a saved_model.pb", "name a TensorFlow SavedModel")
        return FRAMEWORKS["tensorflow" if path.is_dir() else _SUFFIXES[path.suffix]]
    if name.isidentifier() and (place.endswith(".py") or all(part.isidentifier() for part in place.split("."))):
        return FRAMEWORKS["python"]
    kinds = ", ".join(_SUFFIXES)
    raise InputError(
        f"{source} is no model that opml converts",
        f"a file ({kinds}), a SavedModel's folder, or the Python object MODULE:NAME or FILE.py:NAME",
    )


def convert(
    source: str,
    target: Path,
    wanted: Wanted | None = None,
    *,
    samples: int = 3,
    seed: int = 0,
    tolerance: float = DEFAULT_TOLERANCE,
    warn: Callable[[str], None] = lambda text: None,
) -> Converted:
    """Writes `source` as an ONNX file and compares opml's outputs with the original's on `samples` random inputs.

    `warn` is told before anything of the source is run. Raises InputError for a source that is none, ConversionError
    where the framework cannot load or export it, and UnsupportedError where opml does not have what the model uses: the
    file is then there all the same.
    """
    framework = framework_of(source)
    if framework.runs_code:
        warn(f"opening {source} runs the code in it: convert only what you trust")
    original: Original = importlib.import_module(framework.module).load(source, wanted or Wanted())
    with TemporaryDirectory(dir=target.parent) as folder:
        original.export(exported := Path(folder) / "model.onnx")
        _fix_shapes(exported, original.examples)
        exported.replace(target)
    model = load(target)
    names = list(model.inputs)
    found: dict[str, Difference] = {}
    for number in range(samples):
        values = random_inputs(original.examples, seed + number)
        ours = model.run(dict(zip(names, values, strict=True)))
        for name, difference in differences(ours, original.run(values)).items():
            found[name] = max(found.get(name, difference), difference)
    return Converted(target, original.framework, model, samples, tolerance, found)


def _fix_shapes(file: Path, examples: Sequence[Array]) -> None:
    """Writes the examples' shapes into an exported file, where exporters like to leave some of them open."""
    model = onnx.load(file)
    known = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in known]
    if len(inputs) != len(examples):
        raise ConversionError(f"the exported file has {len(inputs)} inputs, the original takes {len(examples)}")
    for value, example in zip(inputs, examples, strict=True):
        kind = value.type.tensor_type.elem_type
        value.CopyFrom(onnx.helper.make_tensor_value_info(value.name, kind, example.shape))
    onnx.save(model, file)
