"""PyTorch: modules, exported programs (.pt2) and TorchScript (.pt), exported by torch.onnx."""

import inspect
import logging
import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from opml.convert.errors import ConversionError, first_line, needs
from opml.convert.examples import example, missing, refuse_unknown
from opml.convert.wanted import Wanted
from opml.errors import InputError
from opml.graph import Array

try:
    import onnxscript  # noqa: F401  (torch.onnx cannot do without)
    import torch
except ModuleNotFoundError:
    raise needs("converting from PyTorch", "torch") from None


class TorchModel:
    """A module or an exported program with the inputs that it is exported with."""

    framework = "PyTorch"

    def __init__(self, source: Any, module: Any, inputs: tuple[Any, ...], opset: int) -> None:
        self._source = source
        self._module = module
        self._inputs = inputs
        self._opset = opset

    @property
    def examples(self) -> list[Array]:
        """The example inputs, those nested in others one by one."""
        return [_array(leaf) for leaf in _leaves(self._inputs)]

    def run(self, inputs: list[Array]) -> list[Array]:
        """The module's outputs in evaluation mode, without gradients."""
        import torch.utils._pytree as pytree

        tensors = [torch.from_numpy(np.array(array)) for array in inputs]
        _, spec = pytree.tree_flatten(self._inputs)
        with torch.no_grad():
            return [_array(leaf) for leaf in _leaves(self._module(*pytree.tree_unflatten(tensors, spec)))]

    def export(self, target: Path) -> None:
        """By the exporter for programs; TorchScript, which that does not take, by the older one."""
        script = isinstance(self._module, torch.jit.ScriptModule)
        inputs = {} if isinstance(self._source, torch.export.ExportedProgram) else {"args": self._inputs}
        newer = {} if script else {"external_data": False}
        logging.getLogger("torch.onnx").setLevel(logging.ERROR)
        try:
            with warnings.catch_warnings(), torch.no_grad():
                warnings.simplefilter("ignore")
                options = {"dynamo": not script, "opset_version": self._opset, "verbose": False, **newer}
                torch.onnx.export(self._source, **inputs, f=str(target), **options)
        except Exception as error:
            raise ConversionError(f"torch.onnx cannot export the model: {first_line(error)}") from error


def load(source: str, wanted: Wanted) -> TorchModel:
    """An exported program or a TorchScript file. Raises ConversionError where it is neither."""
    try:
        if source.endswith(".pt2"):
            return wrap(torch.export.load(source), None, wanted)
        module = torch.jit.load(source, map_location="cpu")
    except (RuntimeError, ValueError, KeyError, EOFError, OSError, pickle.UnpicklingError) as error:
        hint = "weights alone are no model: write a function that makes the module, and name it as FILE.py:FUNCTION"
        raise ConversionError(f"{source} is no exported program or TorchScript: {first_line(error)}", hint) from None
    return wrap(module, None, wanted)


def wrap(model: Any, inputs: Any, wanted: Wanted) -> TorchModel:
    """A module, with inputs for it or with their shapes wanted, or an exported program, which has its own inputs."""
    if isinstance(model, torch.export.ExportedProgram):
        args, kwargs = model.example_inputs or ((), {})
        if kwargs:
            raise ConversionError("the exported program takes keyword arguments", "export it with positional ones")
        return TorchModel(model, model.module(), tuple(args), wanted.opset)
    model = model.cpu().eval()
    if inputs is not None:
        inputs = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
        return TorchModel(model, model, inputs, wanted.opset)
    return TorchModel(model, model, _inputs(model, wanted), wanted.opset)


def _inputs(module: Any, wanted: Wanted) -> tuple[Any, ...]:
    """Example tensors for the parameters of `forward` whose shapes are given; those without a default must be."""
    if isinstance(module, torch.jit.ScriptModule):
        arguments = module.forward.schema.arguments[1:]
        names = {argument.name: not argument.has_default_value() for argument in arguments}
    else:
        parameters = inspect.signature(module.forward).parameters.values()
        plain = [p for p in parameters if p.kind in (p.POSITIONAL_ONLY, p.POSITIONAL_OR_KEYWORD)]
        names = {parameter.name: parameter.default is parameter.empty for parameter in plain}
    refuse_unknown(wanted, list(names))
    if unknown := [name for name, needed in names.items() if needed and name not in wanted.shapes]:
        raise missing(dict.fromkeys(unknown, ()))
    given = [name for name in names if name in wanted.shapes]
    if given != list(names)[: len(given)]:
        raise InputError(f"shapes are given for {', '.join(given)}, but not for all that come before them")
    arrays = [example(name, wanted.shapes[name], wanted.dtypes.get(name, "float32")) for name in given]
    return tuple(torch.from_numpy(array) for array in arrays)


def _leaves(value: Any) -> list[Any]:
    import torch.utils._pytree as pytree

    return [leaf for leaf in pytree.tree_leaves(value) if isinstance(leaf, torch.Tensor)]


def _array(tensor: Any) -> Array:
    return np.asarray(tensor.detach().cpu().numpy())
