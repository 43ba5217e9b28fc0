"""opml as a back end of ONNX's own tests and tools (`onnx.backend.base.Backend`).

    import opml.onnx_backend as backend
    outputs = backend.run_model(onnx.load("model.onnx"), [x])

opml compiles a model before it runs it: what a shape depends on must be known by then. So a model is compiled at its
first run, for the shapes of that run where its own are dynamic, and an input that an operator needs as a constant (a
shape, axes, pads) takes the value of that run. Other shapes or another value at a later run compile it anew.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from opml.compiler import compile_program
from opml.counts import cut_outputs
from opml.engine import Engine
from opml.errors import ConstantNeededError, UnsupportedError
from opml.graph import Array

Values = dict[str, Array]
# What onnx has as numpy dtypes of its own; opml's tensors have a byte for each element.
_NARROW = (TensorProto.INT4, TensorProto.UINT4, TensorProto.INT2, TensorProto.UINT2)


class OpmlRep(BackendRep):
    """A model that is ready to run."""

    def __init__(self, model: onnx.ModelProto) -> None:
        constants = {tensor.name for tensor in model.graph.initializer}
        self._data = model.SerializeToString()
        self._names = [value.name for value in model.graph.input if value.name not in constants]
        self._outputs = [output.name for output in model.graph.output]
        self._narrow = {
            output.name: onnx.helper.tensor_dtype_to_np_dtype(output.type.tensor_type.elem_type)
            for output in model.graph.output
            if output.type.tensor_type.elem_type in _NARROW
        }
        self._dynamic = [
            value.name
            for value in model.graph.input
            if value.name not in constants
            and value.type.HasField("tensor_type")
            and not _is_fixed(value.type.tensor_type)
        ]
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._engine: Engine | None = None
        self.pinned: Values = {}
        """Inputs that became constants at the last compilation, with their values."""

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Array, ...]:
        """The outputs in order, for numpy arrays in the order of the inputs or by name.

        Raises UnsupportedError for what opml does not have, InputError where an array does not fit.
        """
        given = inputs if isinstance(inputs, Mapping) else dict(zip(self._names, _listed(inputs), strict=False))
        arrays = {name: _array(value, name) for name, value in given.items()}
        engine = self._engine_for(arrays)
        outputs = engine.run({name: value for name, value in arrays.items() if name not in self.pinned})
        filled = cut_outputs(engine.program.graph.counts, outputs)
        return tuple(filled[name].astype(self._narrow.get(name, filled[name].dtype)) for name in self._outputs)

    def _engine_for(self, arrays: Values) -> Engine:
        same = all(_same(arrays.get(name), value) for name, value in self.pinned.items())
        shapes = {name: arrays[name].shape for name in self._dynamic if name in arrays}
        if self._engine is None or not same or shapes != self._shapes:
            self.pinned = {}
            self._shapes = shapes
            self._engine = None
            while self._engine is None:
                try:
                    dims = {name: shape for name, shape in shapes.items() if name not in self.pinned}
                    self._engine = Engine(compile_program(self._data, dims, self.pinned))
                except ConstantNeededError as error:
                    more = {name: arrays[name] for name in error.inputs if name in arrays and name not in self.pinned}
                    if not more:
                        raise
                    self.pinned |= more
        return self._engine


class OpmlBackend(Backend):
    """The back end. Devices: "CPU"."""

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the device is there; what a model needs is known when it is compiled."""
        return cls.supports_device(device)

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> OpmlRep:
        """A model that is ready to run. Raises UnsupportedError for another device than the CPU."""
        if not cls.supports_device(device):
            raise UnsupportedError(f"device {device}", "opml runs on CPU")
        return OpmlRep(model)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Array, ...]:
        """Compiles a model and runs it once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[Any] | None = None,
        **kwargs: Any,
    ) -> tuple[Array, ...]:
        """Runs a node alone, of the newest operator set or of `opset_version`."""
        arrays = [_array(value, name) for name, value in zip(filter(None, node.input), _listed(inputs), strict=True)]
        names = dict.fromkeys(filter(None, node.input))
        kinds = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=True)
        ]
        results = [onnx.ValueInfoProto(name=name) for name in node.output if name]
        opset = onnx.helper.make_opsetid(node.domain, kwargs.get("opset_version", onnx.defs.onnx_opset_version()))
        graph = onnx.helper.make_graph([node], node.op_type, kinds, results)
        return cls.run_model(onnx.helper.make_model(graph, opset_imports=[opset]), arrays, device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether models can run on a device, in ONNX's notation."""
        try:
            return bool(Device(device).type == DeviceType.CPU)
        except (AttributeError, ValueError):
            return False


def _listed(inputs: Any) -> Sequence[Any]:
    return inputs if isinstance(inputs, list | tuple) else [inputs]


def _array(value: Any, name: str) -> Array:
    if isinstance(value, list | str | bytes) or value is None:
        raise UnsupportedError(f"input {name!r} is a {type(value).__name__}, no tensor")
    array = onnx.numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)
    if array.dtype.kind in "OSU":
        raise UnsupportedError(f"input {name!r} has element type string")
    if array.dtype.name in ("int4", "int2", "uint4", "uint2"):
        return array.astype(np.int8 if array.dtype.name.startswith("int") else np.uint8)
    return array


def _is_fixed(tensor: onnx.TypeProto.Tensor) -> bool:
    dims = tensor.shape.dim
    return tensor.HasField("shape") and all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims)


def _same(given: Array | None, pinned: Array) -> bool:
    return given is not None and given.dtype == pinned.dtype and np.array_equal(given, pinned)


is_compatible = OpmlBackend.is_compatible
prepare = OpmlBackend.prepare
run = OpmlBackend.run_model
run_model = OpmlBackend.run_model
run_node = OpmlBackend.run_node
supports_device = OpmlBackend.supports_device

__all__ = [
    "OpmlBackend",
    "OpmlRep",
    "is_compatible",
    "prepare",
    "run",
    "run_model",
    "run_node",
    "supports_device",
]
