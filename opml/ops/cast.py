"""Conversions between dtypes, all total.

Float to integer: towards zero, saturating, NaN to 0. Integer to float, and float to float: nearest even, beyond the
range infinite, NaN canonical. Integer to integer: the low bits. Anything to bool: whether it is not zero (NaN is not).
bool to anything: 0 or 1. A dtype to itself: the same bits, but a bool becomes 0 or 1.

Only integers compute here, since the machine has no float but float32: a finite number is `significand * 2**exponent`.
"""

import numpy as np

from opml.graph import DType, TensorType
from opml.numerics import INFINITY_BITS, MAGNITUDE
from opml.ops.base import (
    BOOL,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT16,
    FLOAT32,
    UINT64,
    Attrs,
    Op,
    Types,
    clear,
    copy_element,
    element_size,
    input_address,
    int_word,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
    store_int,
)
from opml.ops.checks import only, refuse, take_inputs
from vm.guest.intrinsics import (
    i64_f32,
    load_i32,
    load_i64,
    load_u16,
    shr,
    store_f32,
    store_i16,
    store_i32,
    store_i64,
    udiv,
    ult,
    wrap_sub,
)

NAME = "cast"
# LOW and HIGH bound an integer target (HIGH as unsigned); the rest are the bits of fraction and exponent of floats.
LENGTH, FROM, TO, LOW, HIGH, FRACTION, EXPONENT, NEW_FRACTION, NEW_EXPONENT = range(9)
FORMATS = {DType.FLOAT16: (10, 5), DType.BFLOAT16: (7, 8), DType.FLOAT32: (23, 8), DType.FLOAT64: (52, 11)}


@jit
def bit_length(n):  # type: ignore[no-untyped-def]
    """Bits of an unsigned 64-bit integer up to its highest 1."""
    length = 0
    for step in (32, 16, 8, 4, 2, 1):
        if shr(n, step & 63) != 0:
            n = shr(n, step & 63)
            length += step
    return length + n


@jit
def ones(n):  # type: ignore[no-untyped-def]
    """n low bits."""
    return wrap_sub(1 << (n & 63), 1)


@jit
def load_bits(address, dtype):  # type: ignore[no-untyped-def]
    """The bits of a float of a dtype."""
    if element_size(dtype) == 2:
        return load_u16(address)
    return load_i32(address) if dtype == FLOAT32 else load_i64(address)


@jit
def store_bits(address, dtype, bits):  # type: ignore[no-untyped-def]
    if element_size(dtype) == 2:
        store_i16(address, bits)
    elif dtype == FLOAT32:
        store_i32(address, bits)
    else:
        store_i64(address, bits)


@jit
def significand_of(bits, fraction, exponent):  # type: ignore[no-untyped-def]
    """The whole number of units in the last place that a float is."""
    normal = np.int64((bits >> (fraction & 63)) & ones(exponent) != 0)
    return (bits & ones(fraction)) | (normal << (fraction & 63))


@jit
def scale_of(bits, fraction, exponent):  # type: ignore[no-untyped-def]
    """The binary exponent of its last place."""
    return max((bits >> (fraction & 63)) & ones(exponent), 1) - ones(exponent - 1) - fraction


@jit
def round_to(negative, significand, scale, fraction, exponent):  # type: ignore[no-untyped-def]
    """The bits of the float of a format nearest to ±significand * 2**scale (unsigned, any 64 bits), ties to even."""
    least = 1 - ones(exponent - 1) - fraction
    unit = max(scale + bit_length(significand) - fraction - 1, least)
    shift = unit - scale
    if shift <= 0:
        rounded = significand << (-shift & 63)
    elif shift < 64:
        rounded = shr(significand, shift & 63)
        rest = significand & ones(shift)
        half = 1 << ((shift - 1) & 63)
        rounded += np.int64(ult(half, rest) or (rest == half and (rounded & 1) == 1))
    else:
        rounded = 0
    infinity = ones(exponent) << (fraction & 63)
    bits = min(((unit - least) << (fraction & 63)) + rounded, infinity) if significand != 0 else 0
    return bits | (np.int64(negative) << ((fraction + exponent) & 63))


@jit
def float_float(bits, fraction, exponent, new_fraction, new_exponent):  # type: ignore[no-untyped-def]
    """A float of one format as one of another."""
    negative = ((bits >> ((fraction + exponent) & 63)) & 1) != 0
    if (bits >> (fraction & 63)) & ones(exponent) == ones(exponent):
        infinity = ones(new_exponent) << (new_fraction & 63)
        if bits & ones(fraction) != 0:
            return infinity | (1 << ((new_fraction - 1) & 63))
        return infinity | (np.int64(negative) << ((new_fraction + new_exponent) & 63))
    significand, scale = significand_of(bits, fraction, exponent), scale_of(bits, fraction, exponent)
    return round_to(negative, significand, scale, new_fraction, new_exponent)


@jit
def float_int(bits, fraction, exponent, low, high):  # type: ignore[no-untyped-def]
    """The integer part of a float, clamped to [low, high] (high as unsigned); 0 for NaN."""
    significand, scale = significand_of(bits, fraction, exponent), scale_of(bits, fraction, exponent)
    if scale >= 0:
        fits = bit_length(significand) + scale <= 64 and (bits >> (fraction & 63)) & ones(exponent) != ones(exponent)
        magnitude = significand << (scale & 63) if fits else -1
    else:
        magnitude = shr(significand, -scale & 63) if scale > -64 else 0
    if ((bits >> ((fraction + exponent) & 63)) & 1) != 0:
        value = low if ult(wrap_sub(0, low), magnitude) else wrap_sub(0, magnitude)
    else:
        value = high if ult(high, magnitude) else magnitude
    nan = (bits >> (fraction & 63)) & ones(exponent) == ones(exponent) and bits & ones(fraction) != 0
    return 0 if nan else value


@jit
def f32_i64(bits, low, high):  # type: ignore[no-untyped-def]
    """The integer part of the binary32 with these (sign-extended) bits, clamped to [low, high]; 0 for NaN."""
    magnitude = bits & MAGNITUDE
    shift = (magnitude >> 23) - 150
    fraction = (magnitude & 0x7FFFFF) | 0x800000
    value = fraction << (shift & 63) if shift >= 0 else fraction >> (-shift & 63)
    value = value if shift > -24 else 0
    if shift >= 40:
        value = 0x7FFFFFFFFFFFFFFF
        if bits < 0:
            value = -0x7FFFFFFFFFFFFFFF - 1
    elif bits < 0:
        value = -value
    return min(max(value, low), high) if magnitude <= INFINITY_BITS else 0


@jit
def float_element(r, x, y):  # type: ignore[no-untyped-def]
    """Converts the float at x."""
    source, target, fraction, exponent = param(r, FROM), param(r, TO), param(r, FRACTION), param(r, EXPONENT)
    bits = load_bits(x, source)
    if target == BOOL:
        store_int(y, BOOL, np.int64(bits & ones(fraction + exponent) != 0))
    elif target >= FLOAT16:
        store_bits(y, target, float_float(bits, fraction, exponent, param(r, NEW_FRACTION), param(r, NEW_EXPONENT)))
    elif source == FLOAT32 and target != UINT64:
        store_int(y, target, f32_i64(bits, param(r, LOW), param(r, HIGH)))
    else:
        store_int(y, target, float_int(bits, fraction, exponent, param(r, LOW), param(r, HIGH)))


@jit
def int_element(r, x, y):  # type: ignore[no-untyped-def]
    """Converts the integer at x to a float."""
    value, signed = load_int(x, param(r, FROM)), param(r, LOW) != 0
    negative = signed and value < 0
    magnitude = wrap_sub(0, value) if negative else value
    store_bits(y, param(r, TO), round_to(negative, magnitude, 0, param(r, NEW_FRACTION), param(r, NEW_EXPONENT)))


@jit
def cast_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, source, target = input_address(r, 0), out_address(r), param(r, FROM), param(r, TO)
    size, width = element_size(source), element_size(target)
    leaf = udiv(32, width)
    start, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    if source == target and source != BOOL:
        for i in range(start, stop):
            copy_element(y + width * i, x + width * i, width)
    elif source >= FLOAT16:
        for i in range(start, stop):
            float_element(r, x + size * i, y + width * i)
    elif target == FLOAT32 and size < 8:
        for i in range(start, stop):
            store_f32(y + 4 * i, i64_f32(load_int(x + size * i, source)))
    elif target >= FLOAT16:
        for i in range(start, stop):
            int_element(r, x + size * i, y + width * i)
    elif target == BOOL:
        for i in range(start, stop):
            store_int(y + i, BOOL, np.int64(load_int(x + size * i, source) != 0))
    else:
        for i in range(start, stop):
            store_int(y + width * i, target, load_int(x + size * i, source))
    clear(y + width * stop, y + 32 * (first + count))


@jit
def cast_tile(r, t):  # type: ignore[no-untyped-def]
    cast_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """Any dtype; attribute `to`, a dtype's name."""
    (x,) = take_inputs(NAME, types, 1)
    only(NAME, attrs, "to")
    try:
        return TensorType(DType(attrs.get("to")), x.shape)
    except ValueError:
        raise refuse(NAME, f"to {attrs.get('to')!r} is not supported") from None


def _bounds(dtype: DType) -> list[int]:
    """LOW and HIGH of an integer dtype; of what is none, 0 and 1."""
    if dtype in FORMATS or dtype is DType.BOOL:
        return [0, 1]
    info = np.iinfo(dtype.numpy)
    return [int(info.min), int_word(int(info.max))]


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs(NAME, types, 1)
    # Of an integer that becomes a float, LOW tells whether it has a sign.
    bounds = _bounds(x.dtype if out.dtype in FORMATS else out.dtype)
    formats = [*FORMATS.get(x.dtype, (1, 1)), *FORMATS.get(out.dtype, (1, 1))]
    return [out.elements, DTYPE_CODES[x.dtype], DTYPE_CODES[out.dtype], *bounds, *formats]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * (64 + COST_FLOAT)


def infer_bitcast(types: Types, attrs: Attrs) -> TensorType:
    """The same bits under another dtype of the same size, attribute `to`."""
    (x,) = take_inputs("bitcast", types, 1)
    only("bitcast", attrs, "to")
    try:
        dtype = DType(attrs.get("to"))
    except ValueError:
        raise refuse("bitcast", f"to {attrs.get('to')!r} is not supported") from None
    if dtype.size != x.dtype.size:
        raise refuse("bitcast", f"{x.dtype.value} has {x.dtype.size} bytes, {dtype.value} has {dtype.size}")
    return TensorType(dtype, x.shape)


def params_bitcast(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    """Those of a cast of integers of this size to themselves."""
    integer = TensorType(_INTEGERS[out.dtype.size], out.shape)
    return params([integer], integer, {})


_INTEGERS = {1: DType.INT8, 2: DType.INT16, 4: DType.INT32, 8: DType.INT64}

OPS = [
    Op(NAME, 96, infer, params, cast_tile, cost, cast_tiles),
    Op("bitcast", 173, infer_bitcast, params_bitcast, cast_tile, cost, cast_tiles),
]
