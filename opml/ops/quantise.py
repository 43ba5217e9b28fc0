"""Floats to small integers and back, with a scale and a zero point for all, along an axis, or for each block.

dequantize: (x - zero) * scale, the difference exact, one rounding for float32 and one for the product.
quantize: x / scale (or x * scale) to the nearest integer, ties to even, NaN to 0, plus zero, saturated.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import ROUNDER, ROUNDER_BITS, ZERO
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    INT8,
    Attrs,
    Op,
    Types,
    clear,
    element_size,
    input_address,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
    store_int,
)
from opml.ops.checks import axis_attr, flag_attr, int_attr, only, refuse, strides_of, take_dtype, take_inputs
from opml.ops.narrow import make_narrow, make_widen
from vm.constants import LEAF_BYTES
from vm.guest.intrinsics import (
    f32_bits,
    i64_f32,
    load_f32,
    store_f32,
    udiv,
    urem,
)

QUANTISE, DEQUANTISE = "quantize", "dequantize"
SMALL = tuple(dtype for dtype in DType if dtype.value in ("int8", "uint8", "int16", "uint16"))

# Parameters: elements; sizes of the tensor seen as [outer, axis, inner], and of a block along the axis; the distances,
# in elements, between neighbouring scales; codes of the dtypes; the range of a quantised value; whether to multiply.
LENGTH, AXIS, INNER, BLOCK, OUTER_STEP, AXIS_STEP, INNER_STEP, FROM, TO, LOW, HIGH, MULTIPLY = range(12)


@jit
def scale_run(r, e):  # type: ignore[no-untyped-def]
    """For element e: which scale is its own, how many elements follow in order, and how far apart their scales are."""
    axis, inner, block = param(r, AXIS), param(r, INNER), param(r, BLOCK)
    i, rest = urem(e, inner), udiv(e, inner)
    a, outer = urem(rest, axis), udiv(rest, axis)
    at = outer * param(r, OUTER_STEP) + udiv(a, block) * param(r, AXIS_STEP) + i * param(r, INNER_STEP)
    if inner > 1:
        return at, inner - i, param(r, INNER_STEP)
    if block == 1:
        return at, axis - a, param(r, AXIS_STEP)
    return at, min(block - urem(a, block), axis - a), 0


@jit
def zero_point(r, at, dtype):  # type: ignore[no-untyped-def]
    """Zero point number `at`; 0 where there are none."""
    zeros = input_address(r, 2)
    return load_int(zeros + at * element_size(dtype), dtype) if zeros != 0 else 0


@jit
def dequantize_run(x, y, scales, r, at, run, step, dtype):  # type: ignore[no-untyped-def]
    """`run` elements, whose scales lie `step` apart, one by one."""
    size = element_size(dtype)
    for i in range(run):
        value = load_int(x + size * i, dtype) - zero_point(r, at + i * step, dtype)
        store_f32(y + 4 * i, i64_f32(value) * load_f32(scales + 4 * i * step))


_widen_signed, _widen_unsigned = make_widen(True), make_widen(False)


@jit
def dequantize_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, dtype = input_address(r, 0), out_address(r), param(r, FROM)
    size = element_size(dtype)
    e, stop = 8 * first, min(8 * (first + count), param(r, LENGTH))
    while e < stop:
        at, run, step = scale_run(r, e)
        run = min(run, stop - e)
        source, target, scales, whole = x + size * e, y + 4 * e, input_address(r, 1) + 4 * at, 0
        if step == 0 and size == 1:
            whole = run & ~15
            scale, zero = load_f32(scales), zero_point(r, at, dtype)
            if dtype == INT8:
                _widen_signed(source, target, run >> 4, scale, zero)
            else:
                _widen_unsigned(source, target, run >> 4, scale, zero)
        rest = at + whole * step
        dequantize_run(source + size * whole, target + 4 * whole, scales, r, rest, run - whole, step, dtype)
        e += run
    clear(y + 4 * stop, y + LEAF_BYTES * (first + count))


@jit
def dequantize_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, dtype = input_address(r, 0), out_address(r), param(r, FROM)
    e, stop = 8 * t, min(8 * (t + 1), param(r, LENGTH))
    while e < stop:
        at, run, step = scale_run(r, e)
        run = min(run, stop - e)
        scales = input_address(r, 1) + 4 * at
        dequantize_run(x + element_size(dtype) * e, y + 4 * e, scales, r, at, run, step, dtype)
        e += run
    clear(y + 4 * stop, y + LEAF_BYTES * (t + 1))


@jit
def rounded(value, low, high):  # type: ignore[no-untyped-def]
    """The integer nearest to a float, ties to even, at least `low` and at most `high` (floats below 2^22); NaN as 0.

    In the sum with 3 * 2^22 the lowest bits are those of the integer.
    """
    value = value if value == value else ZERO
    value = value if value > low else low
    value = value if value < high else high
    return f32_bits(value + ROUNDER) - ROUNDER_BITS


@jit
def quantize_run(x, y, r, at, run, step):  # type: ignore[no-untyped-def]
    """`run` elements, whose scales lie `step` apart, one by one."""
    source, dtype, low, high = param(r, FROM), param(r, TO), param(r, LOW), param(r, HIGH)
    size, width, multiply = element_size(source), element_size(dtype), param(r, MULTIPLY) != 0
    for i in range(run):
        scale, zero = load_f32(input_address(r, 1) + 4 * (at + i * step)), zero_point(r, at + i * step, dtype)
        value = load_f32(x + 4 * i) if source == FLOAT32 else i64_f32(load_int(x + size * i, source))
        value = value * scale if multiply else value / scale
        store_int(y + width * i, dtype, rounded(value, i64_f32(low - zero), i64_f32(high - zero)) + zero)


_from_floats, _from_integers = make_narrow(False, False), make_narrow(True, False)
_scaled_floats, _scaled_integers = make_narrow(False, True), make_narrow(True, True)


@jit
def quantize_chunks(x, y, r, at, chunks):  # type: ignore[no-untyped-def]
    """16 * chunks elements of four bytes with one scale, to bytes."""
    scale, zero = load_f32(input_address(r, 1) + 4 * at), zero_point(r, at, param(r, TO))
    low, high = i64_f32(param(r, LOW) - zero), i64_f32(param(r, HIGH) - zero)
    if param(r, FROM) == FLOAT32:
        if param(r, MULTIPLY) != 0:
            _scaled_floats(x, y, chunks, scale, low, high, zero)
        else:
            _from_floats(x, y, chunks, scale, low, high, zero)
    elif param(r, MULTIPLY) != 0:
        _scaled_integers(x, y, chunks, scale, low, high, zero)
    else:
        _from_integers(x, y, chunks, scale, low, high, zero)


@jit
def quantize_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, size, width = input_address(r, 0), out_address(r), element_size(param(r, FROM)), element_size(param(r, TO))
    leaf = udiv(LEAF_BYTES, width)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        at, run, step = scale_run(r, e)
        run, whole = min(run, stop - e), 0
        if step == 0 and width == 1 and size == 4:
            whole = run & ~15
            quantize_chunks(x + size * e, y + width * e, r, at, run >> 4)
        quantize_run(x + size * (e + whole), y + width * (e + whole), r, at + whole * step, run - whole, step)
        e += run
    clear(y + width * stop, y + LEAF_BYTES * (first + count))


@jit
def quantize_tile(r, t):  # type: ignore[no-untyped-def]
    x, y, size, width = input_address(r, 0), out_address(r), element_size(param(r, FROM)), element_size(param(r, TO))
    leaf = udiv(LEAF_BYTES, width)
    e, stop = leaf * t, min(leaf * (t + 1), param(r, LENGTH))
    while e < stop:
        at, run, step = scale_run(r, e)
        run = min(run, stop - e)
        quantize_run(x + size * e, y + width * e, r, at, run, step)
        e += run
    clear(y + width * stop, y + LEAF_BYTES * (t + 1))


@dataclass(frozen=True)
class Grid:
    """How scales lie over a tensor: [outer, axis, inner], `block` along the axis, and the distances of scales."""

    axis: int
    inner: int
    block: int
    steps: tuple[int, int, int]

    @classmethod
    def read(cls, op: str, x: TensorType, scale: TensorType, attrs: Attrs) -> "Grid":
        """One scale for all; or a vector of them along `axis`; or, with `block` > 0, a tensor that is short there."""
        take_dtype(op, scale, (DType.FLOAT32,))
        block = int_attr(op, attrs, "block", 0)
        if scale.elements == 1 and len(scale.shape) < 2 and block == 0:
            return cls(1, x.elements, 1, (0, 0, 0))
        axis = axis_attr(op, attrs, len(x.shape))
        size, inner = x.shape[axis], strides_of(x.shape)[axis]
        if block == 0:
            if scale.shape != (size,):
                raise refuse(op, f"scales of shape {list(scale.shape)} for axis {axis} of {list(x.shape)}")
            return cls(size, inner, 1, (0, 1, 0))
        parts = -(-size // block) if block > 0 else 0
        if scale.shape != (*x.shape[:axis], parts, *x.shape[axis + 1 :]):
            raise refuse(op, f"scales of shape {list(scale.shape)} for blocks of {block} in {list(x.shape)}")
        return cls(size, inner, block, (parts * inner, inner, 1))

    def words(self) -> list[int]:
        return [self.axis, self.inner, self.block, *self.steps]


def _zeros(op: str, types: Types, scale: TensorType, dtype: DType) -> None:
    zero = types[2] if len(types) > 2 else None
    if zero is not None and (zero.shape != scale.shape or zero.dtype is not dtype):
        raise refuse(op, f"zero points of {zero}, not {dtype.value} {list(scale.shape)}")


def infer_dequantize(types: Types, attrs: Attrs) -> TensorType:
    """x of small integers or int32, scale, and maybe zeros like x's elements; attributes axis, block."""
    x, scale = take_inputs(DEQUANTISE, types, 2, 3)
    only(DEQUANTISE, attrs, "axis", "block")
    take_dtype(DEQUANTISE, x, (*SMALL, DType.INT32))
    Grid.read(DEQUANTISE, x, scale, attrs)
    _zeros(DEQUANTISE, types, scale, x.dtype)
    return TensorType(DType.FLOAT32, x.shape)


def params_dequantize(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, scale = take_inputs(DEQUANTISE, types, 2, 3)
    return [out.elements, *Grid.read(DEQUANTISE, x, scale, attrs).words(), DTYPE_CODES[x.dtype]]


def _range(attrs: Attrs) -> tuple[DType, int, int]:
    """The dtype to quantise to, and the range within it: of all its bits, or of as many as `bits` says."""
    name = attrs.get("to")
    dtype = next((kind for kind in SMALL if kind.value == name), None)
    if dtype is None:
        raise refuse(QUANTISE, f"to {name!r} is not among {', '.join(kind.value for kind in SMALL)}")
    info = np.iinfo(dtype.numpy)
    bits = int_attr(QUANTISE, attrs, "bits", info.bits)
    if not 1 < bits <= info.bits:
        raise refuse(QUANTISE, f"to {bits} bits of {name}")
    return dtype, int(info.min) >> (info.bits - bits), int(info.max) >> (info.bits - bits)


def infer_quantize(types: Types, attrs: Attrs) -> TensorType:
    """x float32 or int32, scale, and maybe zeros of dtype `to`; attributes to, bits, axis, block, multiply."""
    x, scale = take_inputs(QUANTISE, types, 2, 3)
    only(QUANTISE, attrs, "to", "bits", "axis", "block", "multiply")
    take_dtype(QUANTISE, x, (DType.FLOAT32, DType.INT32))
    flag_attr(QUANTISE, attrs, "multiply")
    Grid.read(QUANTISE, x, scale, attrs)
    dtype, _, _ = _range(attrs)
    _zeros(QUANTISE, types, scale, dtype)
    return TensorType(dtype, x.shape)


def params_quantize(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, scale = take_inputs(QUANTISE, types, 2, 3)
    dtype, low, high = _range(attrs)
    grid, codes = Grid.read(QUANTISE, x, scale, attrs), [DTYPE_CODES[x.dtype], DTYPE_CODES[dtype]]
    return [out.elements, *grid.words(), *codes, low, high, flag_attr(QUANTISE, attrs, "multiply")]


def _cost(each: int) -> Any:
    def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (256 + each)

    return cost


OPS = [
    Op(DEQUANTISE, 416, infer_dequantize, params_dequantize, dequantize_tile, _cost(2 * COST_FLOAT), dequantize_tiles),
    Op(
        QUANTISE,
        417,
        infer_quantize,
        params_quantize,
        quantize_tile,
        _cost(COST_DIVIDE + 5 * COST_FLOAT),
        quantize_tiles,
    ),
]
