"""Convolution and pooling → their primitives; a window over one axis is one over two, of height 1."""

from math import prod

from opml.errors import UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers
from opml.lowering.powers import magnitude_power, root


@lowers("Conv")
def conv(c: Call) -> str:
    window = Window(c, list(c.shape(1)[2:]))
    return convolve(c, c.input(0), c.input(1), c.optional(2), window.attrs(), c.integer("group", 1))


def convolve(c: Call, x: str, weight: str, bias: str, attrs: dict[str, list[int]], group: int) -> str:
    """x [N, C, *spatial] by weight [O, C/group, *kernel], over any number of axes up to five."""
    shape, axes = c.build.shape(x), len(c.build.shape(x)) - 2
    if axes != 1:
        inputs = [x, weight, bias] if bias else [x, weight]
        return c.emit("conv" if axes == 2 else "conv_nd", inputs, group=group, **attrs)
    x, kernel = c.view(x, (*shape[:2], 1, shape[2])), c.build.shape(weight)
    weight = c.view(weight, (*kernel[:2], 1, kernel[2]))
    before, after = attrs["pads"]
    flat = {name: [1, *attrs[name]] for name in ("strides", "dilations")} | {"pads": [0, before, 0, after]}
    y = c.emit("conv", [x, weight, bias] if bias else [x, weight], group=group, **flat)
    return c.view(y, (*c.build.shape(y)[:2], c.build.shape(y)[3]))


@lowers("MaxPool")
def max_pool(c: Call) -> tuple[str, ...]:
    """Values, and where they lie. The maximum over a box is the maximum along one axis after the other."""
    window, ceil_mode, column_major = Window(c), c.flag("ceil_mode"), c.flag("storage_order")
    x, dtype = c.input(), c.build.type(c.input()).dtype
    if dtype in (DType.INT8, DType.UINT8):
        x = c.emit("cast", [x], to="float32")  # every one of them is a binary32
    y = pool(c, "maxpool", x, window, ceil_mode=ceil_mode)
    if dtype is not c.build.type(y).dtype:
        y = c.emit("cast", [y], to=dtype.value)
    if len(c.node.outputs) < 2 or not c.node.outputs[1]:
        return (y,)
    flags = {"ceil_mode": ceil_mode, "column_major": column_major}
    return y, c.emit("maxpool_index", [x], kernel=window.kernel, **flags, **window.attrs())


@lowers("AveragePool")
def average_pool(c: Call) -> str:
    """The mean over a box is the mean along one axis of those along the others."""
    flags = {name: c.flag(name) for name in ("ceil_mode", "count_include_pad")}
    return pool(c, "avgpool", c.input(), Window(c), **flags)


@lowers("LpPool")
def lp_pool(c: Call) -> str:
    """The p-th root of the sum of p-th powers; the sum is a convolution with ones, each channel for itself."""
    window, p = Window(c), c.integer("p", 2)
    x, shape = c.input(), c.shape()
    if p < 1:
        raise UnsupportedError(f"attribute 'p' is {p}")
    if c.flag("ceil_mode"):
        window.stretch()
    powers = c.view(magnitude_power(c, x, p), (prod(shape[:2]), 1, *shape[2:]))
    ones = c.build.filled((1, 1, *window.kernel), 1.0)
    sums = convolve(c, powers, ones, "", window.attrs(), 1)
    return root(c, c.view(sums, (*shape[:2], *c.build.shape(sums)[2:])), p)


@lowers("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool")
def global_pool(c: Call) -> str:
    x, rank = c.input(), c.rank()
    if rank < 3:
        raise UnsupportedError(f"a tensor of {rank} dimensions has nothing to pool")
    axes = list(range(2, rank))
    if c.op == "GlobalLpPool":
        p = c.integer("p", 2)
        if p < 1:
            raise UnsupportedError(f"attribute 'p' is {p}")
        return root(c, c.emit("reduce_sum", [magnitude_power(c, x, p)], axes=axes, keepdims=1), p)
    op = "reduce_mean" if c.op == "GlobalAveragePool" else "reduce_max"
    return c.emit(op, [x], axes=axes, keepdims=1)


def pool(c: Call, op: str, x: str, window: "Window", **flags: int) -> str:
    """A pooling primitive over two axes: over the last two, then over each other one, the inner ones as its lines."""
    shape = list(c.build.shape(x))
    end = len(shape)
    while end > 2:
        start = max(end - 2, 2) if end == len(shape) else end - 1
        inner = prod(shape[end:])
        size = shape[start:end]
        attrs = {name: getattr(window, name)[start - 2 : end - 2] for name in ("kernel", "strides", "dilations")}
        pads = [window.pads[axis - 2] for axis in range(start, end)]
        pads += [window.pads[len(shape) - 4 + axis] for axis in range(start, end)]
        if len(size) == 1:
            # The axis is the height of a plane whose width is all that is within it.
            size = [*size, inner]
            attrs = {name: [*values, 1] for name, values in attrs.items()}
            pads = [pads[0], 0, pads[1], 0]
        lifted = c.view(x, (1, prod(shape[:start]), *size))
        y = c.emit(op, [lifted], pads=pads, **attrs, **flags)
        shape[start:end] = c.build.shape(y)[2 : 2 + end - start]
        x = c.view(y, shape)
        end = start
    return x


class Window:
    """Kernel, strides, pads and dilations of a node, with `auto_pad` resolved."""

    def __init__(self, c: Call, kernel: list[int] | None = None) -> None:
        self.spatial = list(c.shape()[2:])
        rank = len(self.spatial)
        if rank < 1:
            raise UnsupportedError(f"a tensor of {c.rank()} dimensions has no spatial one")
        given = c.integers("kernel_shape")
        if kernel is None and given is None:
            raise UnsupportedError("attribute 'kernel_shape' is missing")
        if kernel is not None and given is not None and given != kernel:
            raise UnsupportedError(f"attribute 'kernel_shape' is {given}, but the weight's kernel is {kernel}")
        self.kernel = sized("kernel_shape", kernel or given or [], rank)
        self.strides = sized("strides", c.integers("strides") or [1] * rank, rank)
        self.dilations = sized("dilations", c.integers("dilations") or [1] * rank, rank)
        for name in ("kernel", "strides", "dilations"):
            if any(size < 1 for size in getattr(self, name)):
                raise UnsupportedError(f"{name} {getattr(self, name)} must be positive")
        self.pads = self._pads(c.text("auto_pad", "NOTSET"), c.integers("pads"), rank)

    def _pads(self, auto: str, given: list[int] | None, rank: int) -> list[int]:
        """What is added before each spatial axis, then after each."""
        if auto == "NOTSET":
            return sized("pads", given or [0] * 2 * rank, 2 * rank)
        if given is not None and any(given):
            raise UnsupportedError(f"attribute 'pads' beside auto_pad {auto!r}")
        if auto == "VALID":
            return [0] * 2 * rank
        totals = [
            max(0, (-(-size // stride) - 1) * stride + reach - size)
            for size, stride, reach in zip(self.spatial, self.strides, self._reaches(), strict=True)
        ]
        return shared_pads(auto, totals)

    def _reaches(self) -> list[int]:
        """What a window spans of each axis."""
        return [(k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True)]

    def stretch(self) -> None:
        """Padding that gives as many windows as ceil mode would."""
        rank = len(self.spatial)
        for axis, (size, stride, reach) in enumerate(zip(self.spatial, self.strides, self._reaches(), strict=True)):
            room = size + self.pads[axis] + self.pads[rank + axis] - reach
            count = -(-room // stride)
            if room >= 0 and room % stride and count * stride < size + self.pads[axis]:
                self.pads[rank + axis] += count * stride - room

    def attrs(self) -> dict[str, list[int]]:
        """The attributes that primitives of windows share."""
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}


def sized(name: str, values: list[int], count: int) -> list[int]:
    """The attribute's values, if there are as many as the input's axes need."""
    if len(values) != count:
        raise UnsupportedError(f"attribute {name!r} is {values}; the input's dimensions need {count} entries")
    return values


def shared_pads(auto: str, totals: list[int]) -> list[int]:
    """Padding divided equally between both ends of each axis; what is left over comes where `auto_pad` says."""
    if auto not in ("SAME_UPPER", "SAME_LOWER"):
        raise UnsupportedError(f"attribute 'auto_pad' is {auto!r}")
    small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
    return [*small, *large] if auto == "SAME_UPPER" else [*large, *small]
