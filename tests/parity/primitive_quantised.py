"""Cases of the primitives on small integers and on constants of few bits."""

from hypothesis import strategies as st
from primitive_base import Array, Draw, Sample, case, present, shape, values
from primitive_linear import window

from opml.ops import quantise
from opml.ops.base import Attrs
from opml.ops.few_bits import pack_codes, panels_of


def constant(draw: Draw, k: int, n: int) -> tuple[list[Array | None], Attrs]:
    """Codes, scales and zeros of a quantised constant, and its attributes."""
    bits, group = draw(st.sampled_from((2, 4, 8))), draw(st.sampled_from((1, 3, 16, 32, 2 * k)))
    codes = values(draw, "uint8", (k, n), low=0, high=(1 << bits) - 1)
    grid = (-(-k // group), n)
    scales = values(draw, "float32", grid, odd=draw(st.integers(0, 4)) == 0)
    kind = draw(st.sampled_from(("float32", "uint8", "")))
    zeros = panels_of(values(draw, kind, grid)) if kind else None
    attrs: Attrs = {"bits": bits, "k": k, "n": n, "group": group}
    return [pack_codes(codes, bits), panels_of(scales), zeros], attrs if kind else {**attrs, "zero": 7.5}


@case("qmatmul")
def qmatmul(draw: Draw, op: str) -> Sample:
    m, n = draw(st.integers(1, 4)), draw(st.sampled_from((1, 3, 8, 17, 70)))
    k = draw(st.sampled_from((1, 5, 17, 64, 515)))
    m = m if m * n * k < 8000 else 1
    operands, attrs = constant(draw, k, n)
    a = values(draw, "float32", (m, k), odd=draw(st.integers(0, 3)) == 0)
    bias = [values(draw, "float32", draw(st.sampled_from(((n,), (1,), ()))))] if draw(st.booleans()) else []
    return Sample([a, *operands, *bias], attrs, (1, 2, 3) if operands[2] is not None else (1, 2))


@case("qgather")
def qgather(draw: Draw, op: str) -> Sample:
    n, k = draw(st.sampled_from((1, 8, 17, 70))), draw(st.sampled_from((1, 5, 17, 64)))
    operands, attrs = constant(draw, k, n)
    shape = draw(st.sampled_from(((), (1,), (2, 2), (5,))))
    dtype = draw(st.sampled_from(("int32", "int64")))
    indices = values(draw, dtype, shape) if draw(st.booleans()) else values(draw, dtype, shape, low=-n, high=n - 1)
    return Sample([indices, *operands][: 4 if operands[2] is not None else 3], attrs)


def grid(draw: Draw, size: tuple[int, ...]) -> tuple[tuple[int, ...], Attrs]:
    """The shape of scales for a tensor, and the attributes that say so."""
    kind = draw(st.sampled_from(("all", "axis", "block") if size else ("all",)))
    if kind == "all":
        return draw(st.sampled_from(((), (1,)))), {}
    axis = draw(st.integers(-len(size), len(size) - 1))
    if kind == "axis":
        return (size[axis],), {"axis": axis}
    block = draw(st.integers(1, size[axis] + 1))
    parts = list(size)
    parts[axis] = -(-size[axis] // block)
    return tuple(parts), {"axis": axis, "block": block}


SMALL = [dtype.value for dtype in quantise.SMALL]


@case("dequantize")
def dequantize(draw: Draw, op: str) -> Sample:
    size = shape(draw)
    parts, attrs = grid(draw, size)
    dtype = draw(st.sampled_from((*SMALL, "int32")))
    inputs = [values(draw, dtype, size), values(draw, "float32", parts)]
    return Sample([*inputs, values(draw, dtype, parts)] if draw(st.booleans()) else inputs, attrs)


@case("quantize")
def quantize(draw: Draw, op: str) -> Sample:
    size = shape(draw)
    parts, attrs = grid(draw, size)
    dtype = draw(st.sampled_from(SMALL))
    attrs |= {"to": dtype, "multiply": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        attrs["bits"] = draw(st.sampled_from((2, 4, 8)))
    inputs = [values(draw, draw(st.sampled_from(("float32", "int32"))), size), values(draw, "float32", parts)]
    return Sample([*inputs, values(draw, dtype, parts)] if draw(st.booleans()) else inputs, attrs)


BYTES = st.sampled_from(("int8", "uint8"))


def zero_point(draw: Draw, dtype: str, size: int) -> Array | None:
    """One zero point, or as many as there are rows, columns or channels, or none."""
    count = draw(st.sampled_from(((), (1,), (size,))))
    return present(draw, values(draw, dtype, count))


def cut(inputs: list[Array | None]) -> list[Array | None]:
    while inputs[-1] is None:
        inputs.pop()
    return inputs


@case("matmul_int")
def matmul_int(draw: Draw, op: str) -> Sample:
    m, n = draw(st.integers(1, 5)), draw(st.sampled_from((1, 3, 8, 17, 40)))
    k = draw(st.sampled_from((1, 2, 5, 17, 259)))
    left, right = draw(BYTES), draw(BYTES)
    batch = draw(st.sampled_from(((), (2,))))
    a = values(draw, left, (*draw(st.sampled_from(((), batch))), m, k))
    b = values(draw, right, (*draw(st.sampled_from(((), batch))), k, n))
    return Sample(cut([a, b, zero_point(draw, left, m), zero_point(draw, right, n)]), {})


@case("conv_int")
def conv_int(draw: Draw, op: str) -> Sample:
    group, channels, out = (draw(st.integers(1, 2)) for _ in range(3))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kernel, attrs = window(draw, height, width, pooling=False)
    left, right = draw(BYTES), draw(BYTES)
    x = values(draw, left, (draw(st.integers(1, 2)), channels * group, height, width))
    w = values(draw, right, (out * group, channels, *kernel))
    inputs = [x, w, zero_point(draw, left, 1), zero_point(draw, right, out * group)]
    return Sample(cut(inputs), {**attrs, "group": group}, (1,))
