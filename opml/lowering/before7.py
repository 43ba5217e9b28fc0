"""Operator set 6, which older exporters wrote: what broadcasts by attributes there gets the shape that 7 asks for."""

from dataclasses import replace

from opml.errors import UnsupportedError
from opml.lowering.call import Call

PAIRS = {"Add", "Sub", "Mul", "Div", "Pow", "And", "Or", "Xor", "Equal", "Less", "Greater"}


def modernise(call: Call) -> Call:
    """A node of operator set 6 as operator set 7 would have it. Raises UnsupportedError for a training mode."""
    attrs = {name: value for name, value in call.node.attrs.items() if name != "consumed_inputs"}
    inputs = call.inputs
    if call.op in PAIRS:
        axis = attrs.pop("axis", None)
        if attrs.pop("broadcast", 0):
            inputs = (inputs[0], _aligned(call, len(call.shape(0)) - call.rank(1) if axis is None else axis))
    elif call.op == "PRelu" and call.rank(1) == 1 and call.rank() > 1:
        inputs = (inputs[0], _aligned(call, 1))
    elif call.op == "Gemm":
        attrs.pop("broadcast", None)
    elif call.op in ("BatchNormalization", "Dropout") and not attrs.pop("is_test", 0):
        raise UnsupportedError(f"{call.op} in training mode (is_test = 0)")
    return replace(call, node=replace(call.node, attrs=attrs), inputs=inputs)


def _aligned(call: Call, axis: object) -> str:
    """The second input under a shape whose first axis is the first input's `axis`."""
    shape, rank = call.shape(1), call.rank(0)
    if not isinstance(axis, int):
        raise UnsupportedError("attribute 'axis' is no integer")
    if not shape:
        return call.input(1)
    return call.view(call.input(1), (*shape, *[1] * (rank - len(shape) - call.axis(axis, rank))))
