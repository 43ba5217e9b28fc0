"""TensorFlow: Keras models (.keras), SavedModels and TensorFlow Lite files, exported by tf2onnx."""

import logging
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from opml.convert.errors import ConversionError, first_line, needs
from opml.convert.examples import example, missing, refuse_unknown
from opml.convert.wanted import Wanted
from opml.errors import InputError
from opml.graph import Array

# Else TensorFlow tells standard error of every processor feature; what is compared is its plain kernels.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
try:
    import keras
    import tensorflow as tf
    import tf2onnx
except ModuleNotFoundError:
    raise needs("converting from TensorFlow", "tensorflow") from None

_SIGNATURE = "serving_default"


class Function:
    """A TensorFlow function of positional tensors."""

    framework = "TensorFlow"

    def __init__(self, call: Callable[..., Any], specs: Sequence[Any], examples: list[Array], opset: int) -> None:
        self._call = tf.function(call, input_signature=list(specs))
        self._specs = list(specs)
        self.examples = examples
        self._opset = opset

    def run(self, inputs: list[Array]) -> list[Array]:
        """The outputs, in the order in which TensorFlow flattens them."""
        return [np.asarray(value) for value in tf.nest.flatten(self._call(*map(tf.constant, inputs)))]

    def export(self, target: Path) -> None:
        """By tf2onnx. Raises ConversionError where it cannot."""
        _quiet()
        try:
            tf2onnx.convert.from_function(
                self._call,
                input_signature=self._specs,
                opset=self._opset,
                custom_op_handlers={"Erfc": (_erfc, [])},
                output_path=str(target),
            )
        except Exception as error:
            raise ConversionError(f"tf2onnx cannot export the model: {first_line(error)}") from error


class Lite:
    """A TensorFlow Lite file."""

    framework = "TensorFlow Lite"

    def __init__(self, source: str, wanted: Wanted) -> None:
        self._source = source
        self._opset = wanted.opset
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of a package to which the interpreter is to move
            self._lite = tf.lite.Interpreter(model_path=source)
        details = self._lite.get_input_details()
        refuse_unknown(wanted, [detail["name"] for detail in details])
        for detail in details:
            self._lite.resize_tensor_input(detail["index"], wanted.shapes.get(detail["name"], detail["shape"]))
        self._lite.allocate_tensors()
        self._inputs = self._lite.get_input_details()
        self.examples = [example(i["name"], i["shape"], np.dtype(i["dtype"]).name) for i in self._inputs]

    def run(self, inputs: list[Array]) -> list[Array]:
        """The interpreter's outputs."""
        for detail, value in zip(self._inputs, inputs, strict=True):
            self._lite.set_tensor(detail["index"], value)
        self._lite.invoke()
        return [self._lite.get_tensor(detail["index"]) for detail in self._lite.get_output_details()]

    def export(self, target: Path) -> None:
        """By tf2onnx. Raises ConversionError where it cannot."""
        _quiet()
        try:
            tf2onnx.convert.from_tflite(self._source, opset=self._opset, output_path=str(target))
        except Exception as error:
            raise ConversionError(f"tf2onnx cannot export the model: {first_line(error)}") from error


def load(source: str, wanted: Wanted) -> Function | Lite:
    """A .keras file, a SavedModel's folder, or a .tflite file. Raises ConversionError where it cannot be read."""
    try:
        if source.endswith(".keras"):
            # Code that the file may bring (lambda layers) is refused, not run.
            return wrap(keras.saving.load_model(source, compile=False, safe_mode=True), None, wanted)
        if source.endswith(".tflite"):
            return Lite(source, wanted)
        saved = tf.saved_model.load(source)
    except (OSError, ValueError, RuntimeError, TypeError, KeyError) as error:
        raise ConversionError(f"{source} cannot be read: {first_line(error)}") from error
    if _SIGNATURE not in saved.signatures:
        raise ConversionError(f"{source} has no signature {_SIGNATURE!r}", "export it with one")
    signature = saved.signatures[_SIGNATURE]
    specs, examples = _specs(signature.structured_input_signature[1].items(), wanted)

    def call(*values: Any) -> Any:
        result = signature(**{spec.name: value for spec, value in zip(specs, values, strict=True)})
        return [result[name] for name in sorted(result)]

    function = Function(call, specs, examples, wanted.opset)
    function.saved = saved  # type: ignore[attr-defined]  # its variables live as long as it does
    return function


def wrap(model: Any, inputs: Any, wanted: Wanted) -> Function:
    """A Keras model in inference mode; batches are of 1 where the model and `wanted` leave them open."""
    if inputs is not None:
        raise InputError("inputs beside a Keras model have no use", "name shapes with --shape")
    specs, examples = _specs([(tensor.name, tensor) for tensor in model.inputs], wanted)

    def call(*values: Any) -> Any:
        return model(values[0] if len(values) == 1 else list(values), training=False)

    return Function(call, specs, examples, wanted.opset)


def _specs(inputs: Any, wanted: Wanted) -> tuple[list[Any], list[Array]]:
    """Fixed specifications of the inputs, and examples for them."""
    tensors = dict(inputs)
    refuse_unknown(wanted, list(tensors))
    specs, examples, unknown = [], [], {}
    for name, tensor in tensors.items():
        shape = wanted.shapes.get(name) or [1 if at == 0 and s is None else s for at, s in enumerate(tensor.shape)]
        if None in shape:
            unknown[name] = shape
            continue
        dtype = np.dtype(getattr(tensor.dtype, "as_numpy_dtype", tensor.dtype)).name
        specs.append(tf.TensorSpec(shape, dtype, name=name))
        examples.append(example(name, shape, dtype))
    if unknown:
        raise missing(unknown)
    return specs, examples


def _erfc(context: Any, node: Any, name: str, arguments: Any) -> None:
    """What exact GELUs use, and tf2onnx does not know: 1 - erf."""
    (given,) = node.input
    dtypes, shapes = [context.get_dtype(node.output[0])], [context.get_shape(node.output[0])]
    context.remove_node(node.name)
    one = context.make_const(f"{name}/one", np.array(1, np.float32)).output[0]
    erf = context.make_node("Erf", [given]).output[0]
    context.make_node("Sub", [one, erf], name=name, outputs=node.output, dtypes=dtypes, shapes=shapes)


def _quiet() -> None:
    """tf2onnx tells the root logger of every pass."""
    logging.getLogger("tf2onnx").setLevel(logging.ERROR)
