"""Random nodes for each supported ONNX operator: `OPERATORS` and the strategy `models` over them."""

from collections.abc import Callable
from math import prod, sqrt

import numpy as np
import onnx
from hypothesis import strategies as st
from parity_builder import ONNX_TYPES, Array, Builder, Value


def gemm(b: Builder) -> None:
    a = b.value("float32", (2, 2))
    trans_a, trans_b = b.flag(), b.flag()
    m, k = a.shape[::-1] if trans_a else a.shape
    n = b.integer(1, 40)
    weight = b.numbers("float32", (n, k) if trans_b else (k, n), 1 / sqrt(k))
    inputs = [a.name, b.constant(weight, "weight")]
    if b.flag():
        inputs.append(b.constant(b.numbers("float32", b.choice((n,), (1, n), (m, 1), (m, n), (1,), ()))))
    attributes = {"alpha": b.choice(0.5, 1.0), "beta": b.choice(1.0, 0.25)} if b.flag() else {}
    b.add("Gemm", inputs, (m, n), exact=False, bound=a.bound * sqrt(k) + 2,
          transA=int(trans_a), transB=int(trans_b), **attributes)  # fmt: skip


def matmul(b: Builder) -> None:
    a = b.value("float32", (2, 4))
    k, n = a.shape[-1], b.integer(1, 20)
    other = b.value("float32", (2, 4))
    if b.flag() and other.shape[:-2] in (a.shape[:-2], ()) and other.shape[-2] == k:
        right, bound, n = other.name, other.bound * k, other.shape[-1]
    else:
        batch = b.choice((), a.shape[:-2])
        right, bound = b.constant(b.numbers("float32", (*batch, k, n), 1 / sqrt(k)), "weight"), sqrt(k)
    b.add("MatMul", [a.name, right], (*a.shape[:-1], n), exact=False, bound=a.bound * bound)


def long_matmul(b: Builder) -> None:
    """A contraction of more than one block of 512."""
    m, k, n = b.integer(1, 2), b.integer(500, 1100), b.integer(1, 5)
    a = b.input("float32", (m, k))
    weight = b.constant(b.numbers("float32", (k, n), 1 / sqrt(k)), "weight")
    b.add("MatMul", [a.name, weight], (m, n), exact=False, bound=2 * sqrt(k))


def window(b: Builder, spatial: tuple[int, ...], dilated: bool) -> dict[str, object]:
    """Kernel, strides, pads and dilations, each by chance left to its default, that fit into `spatial`."""
    attributes: dict[str, object] = {"kernel_shape": [b.integer(1, min(3, size)) for size in spatial]}
    kernel = attributes["kernel_shape"]
    if b.flag():
        attributes["strides"] = [b.integer(1, 3) for _ in spatial]
    if dilated and b.flag():
        attributes["dilations"] = [
            b.integer(1, 2) if 2 * (size - 1) + 1 <= extent else 1 for size, extent in zip(kernel, spatial, strict=True)
        ]
    padding = b.choice("none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID")
    if padding == "pads":
        attributes["pads"] = [b.integer(0, size - 1) for size in [*kernel, *kernel]]
    elif padding == "VALID" or (padding != "none" and needs_padding(spatial, attributes)):
        attributes["auto_pad"] = padding
    return attributes


def needs_padding(spatial: tuple[int, ...], attributes: dict[str, object]) -> bool:
    """Whether SAME would never crop, which ONNX Runtime refuses, nor meet a dilation, which it does not have there."""
    strides = attributes.get("strides", [1] * len(spatial))
    return "dilations" not in attributes and all(
        (-(-size // stride) - 1) * stride + kernel >= size
        for size, stride, kernel in zip(spatial, strides, attributes["kernel_shape"], strict=True)
    )


def window_output(spatial: tuple[int, ...], attributes: dict[str, object]) -> tuple[int, ...]:
    """Output extent as the ONNX operators define it."""
    kernel = attributes["kernel_shape"]
    count = len(spatial)
    strides = attributes.get("strides", [1] * count)
    dilations = attributes.get("dilations", [1] * count)
    pads = attributes.get("pads", [0] * 2 * count)
    if attributes.get("auto_pad", "NOTSET").startswith("SAME"):
        return tuple(-(-size // stride) for size, stride in zip(spatial, strides, strict=True))
    extents = []
    for axis, size in enumerate(spatial):
        free = size + pads[axis] + pads[axis + count] - dilations[axis] * (kernel[axis] - 1) - 1
        extent = free // strides[axis] + 1
        if attributes.get("ceil_mode"):
            extent = -(-free // strides[axis]) + 1
        extents.append(extent)
    return tuple(extents)


def ceil_mode(b: Builder, spatial: tuple[int, ...], attributes: dict[str, object]) -> None:
    """Set `ceil_mode` by chance; not where a window would start beyond the image: there ONNX's versions differ."""
    rounded = attributes | {"ceil_mode": 1}
    strides, pads = attributes.get("strides", [1, 1]), attributes.get("pads", [0] * 4)
    last = [(extent - 1) * stride for extent, stride in zip(window_output(spatial, rounded), strides, strict=False)]
    inside = all(start < size + pad for start, size, pad in zip(last, spatial, pads, strict=False))
    if inside and "auto_pad" not in attributes and b.flag():
        attributes["ceil_mode"] = 1


def image(b: Builder, ranks: tuple[int, ...] = (3, 4)) -> Value:
    """A value of shape N, C and one or two spatial axes."""
    rank = b.choice(*ranks)
    fitting = [v for v in b.values if v.dtype == "float32" and v.rank == rank and v.elements <= 400 and v.bound < 1e3]
    if fitting and b.integer(0, 3):
        return b.choice(*fitting)
    return b.input("float32", (b.integer(1, 2), b.choice(1, 2, 4, 6), *b.shape(rank - 2, 8)))


def conv(b: Builder) -> None:
    x = image(b)
    channels = x.shape[1]
    group = b.choice(*[g for g in (1, 2, 3, channels) if channels % g == 0])
    out = group * b.integer(1, 3)
    attributes = window(b, x.shape[2:], dilated=True)
    k = channels // group * prod(attributes["kernel_shape"])
    weight = b.numbers("float32", (out, channels // group, *attributes["kernel_shape"]), 1 / sqrt(k))
    inputs = [x.name, b.constant(weight, "weight")]
    if b.flag():
        inputs.append(b.constant(b.numbers("float32", (out,), 1.0), "bias"))
    shape = (x.shape[0], out, *window_output(x.shape[2:], attributes))
    if b.flag():
        del attributes["kernel_shape"]
    b.add("Conv", inputs, shape, exact=False, bound=x.bound * sqrt(k) + 1, group=group, **attributes)


def max_pool(b: Builder) -> None:
    x = image(b)
    attributes = window(b, x.shape[2:], dilated=True)
    ceil_mode(b, x.shape[2:], attributes)
    shape = (*x.shape[:2], *window_output(x.shape[2:], attributes))
    b.add("MaxPool", [x.name], shape, exact=x.exact, bound=x.bound, **attributes)


def average_pool(b: Builder) -> None:
    x = image(b)
    attributes = window(b, x.shape[2:], dilated=False)
    ceil_mode(b, x.shape[2:], attributes)
    if b.flag():
        attributes["count_include_pad"] = 1
    shape = (*x.shape[:2], *window_output(x.shape[2:], attributes))
    b.add("AveragePool", [x.name], shape, exact=False, bound=x.bound, **attributes)


def global_pool(b: Builder) -> None:
    x = image(b)
    b.add("GlobalAveragePool", [x.name], (*x.shape[:2], *[1] * (x.rank - 2)), exact=False, bound=x.bound)


def batch_norm(b: Builder) -> None:
    """Over any value, or over a convolution's output, into which it is folded."""
    if b.flag():
        conv(b)
        x = b.values[-1]
    else:
        x = b.value("float32", (2, 4))
    channels = (x.shape[1],)
    scale, bias, mean = (b.numbers("float32", channels, 1.0) for _ in range(3))
    variance = b.random.uniform(0.5, 2.0, channels).astype(np.float32)
    inputs = [x.name, *(b.constant(array, "bn") for array in (scale, bias, mean, variance))]
    attributes = {"epsilon": b.choice(1e-5, 1e-3)} if b.flag() else {}
    b.add("BatchNormalization", inputs, x.shape, exact=False, bound=2 * x.bound + 3, **attributes)


def unary(op: str, bound: Callable[[float], float], keeps_exact: bool, limit: float = 1e3) -> Callable[[Builder], None]:
    def build(b: Builder) -> None:
        x = b.value("float32")
        if x.bound <= limit:
            b.add(op, [x.name], x.shape, exact=keeps_exact and x.exact, bound=bound(x.bound))

    build.__name__ = op.lower()
    return build


def leaky_relu(b: Builder) -> None:
    x = b.value("float32")
    attributes = {"alpha": b.choice(0.0, 0.1, 0.3, 1.5)} if b.flag() else {}
    b.add("LeakyRelu", [x.name], x.shape, exact=False, bound=2 * x.bound, **attributes)


def clip(b: Builder) -> None:
    x = b.value(b.choice("float32", "float32", "int32", "int64"))
    limits = [np.array(b.choice(-2, -1, 0), dtype=x.dtype), np.array(b.choice(0, 1, 6), dtype=x.dtype)]
    inputs = [x.name, *(b.constant(limit) if b.flag() else "" for limit in limits)]
    b.add("Clip", inputs, x.shape, x.dtype, exact=x.exact, bound=x.bound)


def operand(b: Builder, x: Value) -> tuple[str, tuple[int, ...], bool, float]:
    """A second operand that broadcasts against `x`: a value, or a constant away from zero."""
    for other in reversed(b.values):
        if other.dtype == x.dtype and other is not x and b.flag():
            try:
                shape = np.broadcast_shapes(x.shape, other.shape)
            except ValueError:
                continue
            if prod(shape) <= 2000:
                return other.name, shape, other.exact, other.bound
    cut = b.integer(0, x.rank)
    shape = tuple(1 if b.integer(0, 3) == 0 else size for size in x.shape[cut:])
    if b.flag() and x.rank <= 3 and x.elements <= 100:
        shape = (b.integer(1, 3), *[1] * (x.rank - len(shape)), *shape)
    return b.constant(away_from_zero(b, x.dtype, shape)), np.broadcast_shapes(x.shape, shape), True, 8.0


def away_from_zero(b: Builder, dtype: str, shape: tuple[int, ...]) -> Array:
    magnitude = b.random.uniform(0.5, 2.0, shape) if dtype == "float32" else b.random.integers(1, 9, shape)
    return np.asarray(magnitude * b.random.choice([-1, 1], shape)).astype(dtype)


def binary(op: str) -> Callable[[Builder], None]:
    def build(b: Builder) -> None:
        x = b.value(b.choice("float32", "float32", "int32", "int64"))
        if x.bound > 1e3:
            return
        if op == "Div":
            shape = tuple(1 if b.integer(0, 3) == 0 else size for size in x.shape[b.integer(0, x.rank) :])
            name, exact, bound = b.constant(away_from_zero(b, x.dtype, shape)), True, 2 * x.bound
            shape = x.shape
        else:
            name, shape, exact, bound = operand(b, x)
            bound = x.bound * bound if op == "Mul" else x.bound + bound
        inputs = [x.name, name]
        if op != "Div" and b.flag():
            inputs.reverse()
        b.add(op, inputs, shape, x.dtype, exact=exact and x.exact, bound=bound)

    build.__name__ = op.lower()
    return build


def softmax(b: Builder) -> None:
    x = b.value("float32", (1, 4))
    attributes = {"axis": b.integer(-x.rank, x.rank - 1)} if b.flag() else {}
    b.add("Softmax", [x.name], x.shape, exact=False, bound=1.0, **attributes)


def flatten(b: Builder) -> None:
    x = b.value(None, (0, 5))
    axis = b.integer(-x.rank, x.rank)
    cut = axis + x.rank if axis < 0 else axis
    b.add("Flatten", [x.name], (prod(x.shape[:cut]), prod(x.shape[cut:])), x.dtype,
          exact=x.exact, bound=x.bound, axis=axis)  # fmt: skip


def reshape(b: Builder) -> None:
    x = b.value()
    rest, shape = x.elements, []
    for _ in range(b.integer(0, 3)):
        factor = b.choice(*[f for f in range(1, 9) if rest % f == 0])
        shape.append(factor)
        rest //= factor
    shape = (*shape, rest) if rest > 1 or b.flag() or not shape else tuple(shape)
    target = list(shape)
    if target and b.flag():
        target[b.integer(0, len(target) - 1)] = -1
    if target and x.rank and target[0] == x.shape[0] and b.flag():
        target[0] = 0
    b.add("Reshape", [x.name, b.constant(np.array(target, dtype=np.int64))], shape, x.dtype,
          exact=x.exact, bound=x.bound)  # fmt: skip


def transpose(b: Builder) -> None:
    x = b.value(None, (1, 5))
    perm = b.draw(st.permutations(range(x.rank))) if b.flag() else None
    shape = tuple(x.shape[axis] for axis in perm or range(x.rank)[::-1])
    b.add("Transpose", [x.name], shape, x.dtype, exact=x.exact, bound=x.bound, **({"perm": perm} if perm else {}))


def concat(b: Builder) -> None:
    x = b.value(None, (1, 4))
    axis = b.integer(0, x.rank - 1)
    parts, exact, extent, bound = [x.name], x.exact, x.shape[axis], x.bound
    for _ in range(b.integer(0, 5)):
        same = [v for v in b.values if v.dtype == x.dtype and v.rank == x.rank and v.elements <= 400
                and v.shape[:axis] + v.shape[axis + 1 :] == x.shape[:axis] + x.shape[axis + 1 :]]  # fmt: skip
        if same and b.flag():
            part = b.choice(*same)
            parts.append(part.name)
            exact, extent, bound = exact and part.exact, extent + part.shape[axis], max(bound, part.bound)
        else:
            size = b.integer(1, 3)
            parts.append(b.constant(b.numbers(x.dtype, (*x.shape[:axis], size, *x.shape[axis + 1 :]))))
            extent, bound = extent + size, max(bound, 2.0 if x.dtype == "float32" else 100.0)
    b.add("Concat", parts, (*x.shape[:axis], extent, *x.shape[axis + 1 :]), x.dtype, exact=exact, bound=bound,
          axis=b.choice(axis, axis - x.rank))  # fmt: skip


def squeeze(b: Builder) -> None:
    x = b.value()
    ones = [axis for axis, size in enumerate(x.shape) if size == 1]
    if not ones:
        return
    inputs, chosen = [x.name], ones
    if b.flag():
        chosen = sorted(b.draw(st.sets(st.sampled_from(ones), min_size=1)))
        inputs.append(b.constant(np.array([axis - x.rank for axis in chosen], dtype=np.int64)))
    shape = tuple(size for axis, size in enumerate(x.shape) if axis not in chosen)
    b.add("Squeeze", inputs, shape, x.dtype, exact=x.exact, bound=x.bound)


def unsqueeze(b: Builder) -> None:
    x = b.value(None, (0, 4))
    axes = b.draw(st.sets(st.integers(0, x.rank), min_size=1, max_size=2))
    shape = list(x.shape)
    for axis in sorted(axes):
        shape.insert(axis, 1)
    name = b.constant(np.array(sorted(axes), dtype=np.int64))
    b.add("Unsqueeze", [x.name, name], tuple(shape), x.dtype, exact=x.exact, bound=x.bound)


def identity(b: Builder) -> None:
    x = b.value()
    op = b.choice("Identity", "Dropout") if x.dtype == "float32" else "Identity"
    b.add(op, [x.name], x.shape, x.dtype, exact=x.exact, bound=x.bound)


def reduction(op: str) -> Callable[[Builder], None]:
    def build(b: Builder) -> None:
        x = b.value("float32", (1, 5))
        axes = sorted(b.draw(st.sets(st.integers(0, x.rank - 1))))
        keep = b.integer(0, 1)
        reduced = axes or range(x.rank)
        shape = tuple(1 if i in reduced else size for i, size in enumerate(x.shape) if keep or i not in reduced)
        inputs, attributes = [x.name], {"keepdims": keep}
        given = [b.choice(axis, axis - x.rank) for axis in axes]
        if axes and (b.opset >= 18 or (op == "ReduceSum" and b.opset >= 13)):
            inputs.append(b.constant(np.array(given, dtype=np.int64)))
        elif axes:
            attributes["axes"] = given
        bound = x.bound * (x.elements if op == "ReduceSum" else 1)
        b.add(op, inputs, shape, exact=x.exact and op in ("ReduceMax", "ReduceMin"), bound=bound, **attributes)

    build.__name__ = op.lower()
    return build


def arg_max(b: Builder) -> None:
    x = b.value("float32", (1, 4), exact=True)
    axis, keep = b.integer(-x.rank, x.rank - 1), b.integer(0, 1)
    shape = tuple(1 if a == axis % x.rank else size for a, size in enumerate(x.shape) if keep or a != axis % x.rank)
    attributes = {"select_last_index": 1} if b.flag() else {}
    b.add("ArgMax", [x.name], shape, "int64", exact=True, bound=float(max(x.shape)), axis=axis, keepdims=keep,
          **attributes)  # fmt: skip


def cast(b: Builder) -> None:
    x = b.input(b.choice(*ONNX_TYPES), b.shape(b.integer(0, 3))) if b.flag() else b.value(exact=True)
    to = b.choice(*ONNX_TYPES)
    # What ONNX Runtime does with a float beyond the integer's range depends on the CPU.
    beyond = {"int8": 127, "uint8": -1}.get(to, 1e9) < x.bound
    if x.dtype == "float32" and beyond:
        to = "int32"
    bound = {"bool": 1.0, "int8": 128.0, "uint8": 255.0}.get(to, x.bound)
    b.add("Cast", [x.name], x.shape, to, exact=True, bound=bound, to=ONNX_TYPES[to])


OPERATORS: tuple[Callable[[Builder], None], ...] = (
    gemm, matmul, long_matmul, conv, max_pool, average_pool, global_pool, batch_norm, leaky_relu, clip, softmax,
    flatten, reshape, transpose, concat, squeeze, unsqueeze, identity, arg_max, cast,
    unary("Relu", lambda x: x, True), unary("Sigmoid", lambda x: 1.0, False), unary("Tanh", lambda x: 1.0, False),
    binary("Add"), binary("Sub"), binary("Mul"), binary("Div"), reduction("ReduceMean"),
)  # fmt: skip

MORE_OPERATORS: tuple[Callable[[Builder], None], ...] = (
    unary("Exp", lambda x: float(np.exp(x)), False, limit=5.0), unary("Abs", lambda x: x, True),
    unary("Neg", lambda x: x, True), unary("Erf", lambda x: 1.0, False),
    binary("Max"), binary("Min"), reduction("ReduceSum"), reduction("ReduceMax"), reduction("ReduceMin"),
)  # fmt: skip


@st.composite
def models(
    draw: st.DrawFn,
    operators: tuple[Callable[[Builder], None], ...] = OPERATORS + MORE_OPERATORS,
    max_nodes: int = 6,
    wild: bool = False,
) -> tuple[onnx.ModelProto, dict[str, Array], set[str]]:
    """A random model, inputs for it, and the names of those values that every implementation must have bit for bit.

    With `wild`, float inputs hold NaNs, infinities, zeros of both signs, subnormals and random bits.
    """
    b = Builder(draw, draw(st.sampled_from((13, 17, 18)), label="opset"), wild)
    for _ in range(draw(st.integers(1, max_nodes), label="nodes")):
        draw(st.sampled_from(operators))(b)
    if not b.nodes or all(node.op_type == "Constant" for node in b.nodes):
        identity(b)
    return b.model(), b.feeds, {value.name for value in b.values if value.exact}
