"""Convolution and pooling → their two-dimensional primitives; one-dimensional ones through a view of height 1."""

from math import prod

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers


@lowers("Conv")
def conv(c: Call) -> str:
    x, weight, bias = c.input(0), c.input(1), c.optional(2)
    window = Window(c, list(c.shape(1)[2:]))
    x, weight = window.lift(x), window.lift(weight)
    y = c.emit("conv", [x, weight, bias] if bias else [x, weight], group=c.integer("group", 1), **window.attrs())
    return window.lower(y)


@lowers("MaxPool")
def max_pool(c: Call) -> str:
    c.only("storage_order", 0)
    window = Window(c)
    x = window.lift(c.input())
    y = c.emit("maxpool", [x], kernel=window.kernel, ceil_mode=c.flag("ceil_mode"), **window.attrs())
    return window.lower(y)


@lowers("AveragePool")
def average_pool(c: Call) -> str:
    window = Window(c)
    x = window.lift(c.input())
    flags = {name: c.flag(name) for name in ("ceil_mode", "count_include_pad")}
    return window.lower(c.emit("avgpool", [x], kernel=window.kernel, **flags, **window.attrs()))


@lowers("GlobalAveragePool", "GlobalMaxPool")
def global_pool(c: Call) -> str:
    if c.rank() < 3:
        raise UnsupportedError(f"a tensor of {c.rank()} dimensions has nothing to pool")
    op = "reduce_mean" if c.op == "GlobalAveragePool" else "reduce_max"
    return c.emit(op, [c.input()], axes=list(range(2, c.rank())), keepdims=1)


class Window:
    """Kernel, strides, pads and dilations of a node, made two-dimensional, with `auto_pad` resolved."""

    def __init__(self, c: Call, kernel: list[int] | None = None) -> None:
        self.call = c
        self.spatial = list(c.shape()[2:])
        rank = len(self.spatial)
        if c.rank() not in (3, 4):
            raise UnsupportedError(f"a tensor of {c.rank()} dimensions; opml has one or two spatial ones")
        given = c.integers("kernel_shape")
        if kernel is None and given is None:
            raise UnsupportedError("attribute 'kernel_shape' is missing")
        if kernel is not None and given is not None and given != kernel:
            raise UnsupportedError(f"attribute 'kernel_shape' is {given}, but the weight's kernel is {kernel}")
        self.kernel = self._sized("kernel_shape", kernel or given or [], rank)
        self.strides = self._sized("strides", c.integers("strides") or [1] * rank, rank)
        self.dilations = self._sized("dilations", c.integers("dilations") or [1] * rank, rank)
        for name in ("kernel", "strides", "dilations"):
            if any(size < 1 for size in getattr(self, name)):
                raise UnsupportedError(f"{name} {getattr(self, name)} must be positive")
        self.pads = self._pads(c.text("auto_pad", "NOTSET"), c.integers("pads"), rank)
        if rank == 1:
            self.kernel, self.strides, self.dilations = (
                [1, *sizes] for sizes in (self.kernel, self.strides, self.dilations)
            )
            self.pads = [0, self.pads[0], 0, self.pads[1]]

    def _sized(self, name: str, values: list[int], rank: int) -> list[int]:
        if len(values) != rank:
            raise UnsupportedError(f"attribute {name!r} is {values}; the input has {rank} spatial dimensions")
        return values

    def _pads(self, auto: str, given: list[int] | None, rank: int) -> list[int]:
        """What is added before each spatial axis, then after each."""
        if auto == "NOTSET":
            return self._sized("pads", given or [0] * 2 * rank, 2 * rank)
        if given is not None and any(given):
            raise UnsupportedError(f"attribute 'pads' beside auto_pad {auto!r}")
        if auto == "VALID":
            return [0] * 2 * rank
        if auto not in ("SAME_UPPER", "SAME_LOWER"):
            raise UnsupportedError(f"attribute 'auto_pad' is {auto!r}")
        totals = [
            max(0, (-(-size // stride) - 1) * stride + (kernel - 1) * dilation + 1 - size)
            for size, stride, kernel, dilation in zip(
                self.spatial, self.strides, self.kernel, self.dilations, strict=True
            )
        ]
        small, large = [total // 2 for total in totals], [total - total // 2 for total in totals]
        return [*small, *large] if auto == "SAME_UPPER" else [*large, *small]

    def attrs(self) -> dict[str, list[int]]:
        """The attributes that all three primitives share."""
        return {"strides": self.strides, "pads": self.pads, "dilations": self.dilations}

    def lift(self, name: str) -> str:
        """[N, C, W] as [N, C, 1, W]."""
        shape = self.call.build.shape(name)
        return self.call.view(name, (*shape[:2], 1, shape[2])) if len(shape) == 3 else name

    def lower(self, name: str) -> str:
        """The result with as many dimensions as the node's input."""
        shape = self.call.build.shape(name)
        return self.call.view(name, (*shape[:2], prod(shape[2:]))) if len(self.spatial) == 1 else name
