"""Functions of two tensors with multidirectional broadcasting, element by element."""

from typing import Any

from opml import numerics
from opml.graph import TensorType
from opml.ops.base import (
    COST_DIVIDE,
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
    LEAF_FLOATS,
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
    template,
)
from opml.ops.checks import NUMBERS, Shape, only, refuse, strides_of, take_dtype, take_inputs
from vm.constants import LEAF_BYTES
from vm.guest.intrinsics import (
    load_f32,
    store_f32,
    udiv,
    urem,
    wrap_add,
    wrap_mul,
    wrap_sub,
)

# Parameters. Dimensions run from the innermost out; of each: its size, then the distances in bytes along a and b.
LENGTH, DTYPE, RANK, DIMS = range(4)
MAX_RANK = 7
A_STRIDES, B_STRIDES = DIMS + MAX_RANK, DIMS + 2 * MAX_RANK


@jit
def offset(r, e, strides):  # type: ignore[no-untyped-def]
    """Byte offset of the operand element that goes with output element e."""
    at = 0
    for d in range(param(r, RANK)):
        size = param(r, DIMS + d)
        at += urem(e, size) * param(r, strides + d)
        e = udiv(e, size)
    return at


@template
def pairs_f32(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[e] = f(a[e'], b[e'']) over some tiles, by runs along the innermost dimension; for float32."""
    y, inner = out_address(r), param(r, DIMS)
    step_a, step_b = param(r, A_STRIDES), param(r, B_STRIDES)
    e, stop = LEAF_FLOATS * first, min(LEAF_FLOATS * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        a = input_address(r, 0) + offset(r, e, A_STRIDES)
        b = input_address(r, 1) + offset(r, e, B_STRIDES)
        out = y + 4 * e
        # Along the innermost dimension at most one operand stands still, unless the output has one element.
        if step_b == 0:
            right = load_f32(b)
            for i in range(run):
                store_f32(out + 4 * i, f(load_f32(a + 4 * i), right))
        elif step_a == 0:
            left = load_f32(a)
            for i in range(run):
                store_f32(out + 4 * i, f(left, load_f32(b + 4 * i)))
        else:
            for i in range(run):
                store_f32(out + 4 * i, f(load_f32(a + 4 * i), load_f32(b + 4 * i)))
        e += run
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def pairs_int(f, r, first, count):  # type: ignore[no-untyped-def]
    """The same for integers."""
    y, dtype = out_address(r), param(r, DTYPE)
    size = element_size(dtype)
    leaf = udiv(LEAF_BYTES, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        a = load_int(input_address(r, 0) + offset(r, e, A_STRIDES), dtype)
        b = load_int(input_address(r, 1) + offset(r, e, B_STRIDES), dtype)
        store_int(y + size * e, dtype, f(a, b))
    clear(y + size * stop, y + 32 * (first + count))


@jit
def add_f32(a, b):  # type: ignore[no-untyped-def]
    return a + b


@jit
def sub_f32(a, b):  # type: ignore[no-untyped-def]
    return a - b


@jit
def mul_f32(a, b):  # type: ignore[no-untyped-def]
    return a * b


@jit
def div_f32(a, b):  # type: ignore[no-untyped-def]
    return a / b


@jit
def div_int(a, b):  # type: ignore[no-untyped-def]
    """Truncating quotient; x / 0 = 0 and the smallest / -1 = the smallest."""
    numerator, denominator = wrap_sub(0, a) if a < 0 else a, wrap_sub(0, b) if b < 0 else b
    quotient = udiv(numerator, denominator if b != 0 else 1)
    quotient = wrap_sub(0, quotient) if (a ^ b) < 0 else quotient
    return quotient if b != 0 else 0


@jit
def max_int(a, b):  # type: ignore[no-untyped-def]
    return max(a, b)


@jit
def min_int(a, b):  # type: ignore[no-untyped-def]
    return min(a, b)


@template
def by_dtype(f, g, r, first, count):  # type: ignore[no-untyped-def]
    """f for float32, g for integers."""
    if param(r, DTYPE) == FLOAT32:
        pairs_f32(f, r, first, count)
    else:
        pairs_int(g, r, first, count)


@jit
def add_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(add_f32, wrap_add, r, first, count)


@jit
def sub_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(sub_f32, wrap_sub, r, first, count)


@jit
def mul_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(mul_f32, wrap_mul, r, first, count)


@jit
def div_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(div_f32, div_int, r, first, count)


@jit
def max_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(numerics.maximum, max_int, r, first, count)


@jit
def min_tiles(r, first, count):  # type: ignore[no-untyped-def]
    by_dtype(numerics.minimum, min_int, r, first, count)


@jit
def add_tile(r, t):  # type: ignore[no-untyped-def]
    add_tiles(r, t, 1)


@jit
def sub_tile(r, t):  # type: ignore[no-untyped-def]
    sub_tiles(r, t, 1)


@jit
def mul_tile(r, t):  # type: ignore[no-untyped-def]
    mul_tiles(r, t, 1)


@jit
def div_tile(r, t):  # type: ignore[no-untyped-def]
    div_tiles(r, t, 1)


@jit
def max_tile(r, t):  # type: ignore[no-untyped-def]
    max_tiles(r, t, 1)


@jit
def min_tile(r, t):  # type: ignore[no-untyped-def]
    min_tiles(r, t, 1)


def broadcast(op: str, a: Shape, b: Shape) -> Shape:
    """The shape to which two shapes broadcast."""
    rank = max(len(a), len(b))
    left, right = (1,) * (rank - len(a)) + a, (1,) * (rank - len(b)) + b
    if any(p != q and 1 not in (p, q) for p, q in zip(left, right, strict=True)):
        raise refuse(op, f"shapes {list(a)} and {list(b)} do not broadcast")
    return tuple(q if p == 1 else p for p, q in zip(left, right, strict=True))


def loops(a: Shape, b: Shape, out: Shape) -> list[tuple[int, int, int]]:
    """Nested loops, from the innermost out: (size, step along a, step along b) in elements, as few as possible."""
    nest: list[tuple[int, int, int]] = []
    padded = [(1,) * (len(out) - len(shape)) + shape for shape in (a, b)]
    steps = [strides_of(shape) for shape in padded]
    for d in reversed(range(len(out))):
        if out[d] == 1:
            continue
        step_a, step_b = (steps[i][d] if padded[i][d] != 1 else 0 for i in (0, 1))
        if nest:
            size, inner_a, inner_b = nest[-1]
            if step_a == inner_a * size and step_b == inner_b * size:
                nest[-1] = (size * out[d], inner_a, inner_b)
                continue
        nest.append((out[d], step_a, step_b))
    return nest or [(1, 1, 1)]


def _make(name: str, code: int, tile: Any, tiles: Any, cost: int) -> Op:
    def infer(types: Types, attrs: Attrs) -> TensorType:
        a, b = take_inputs(name, types, 2)
        only(name, attrs)
        take_dtype(name, a, NUMBERS)
        if a.dtype is not b.dtype:
            raise refuse(name, f"dtypes {a.dtype.value} and {b.dtype.value} differ")
        shape = broadcast(name, a.shape, b.shape)
        if len(loops(a.shape, b.shape, shape)) > MAX_RANK:
            raise refuse(name, f"broadcasting {list(a.shape)} with {list(b.shape)} takes more than {MAX_RANK} loops")
        return TensorType(a.dtype, shape)

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        a, b = take_inputs(name, types, 2)
        nest = loops(a.shape, b.shape, out.shape)
        words = [out.elements, DTYPE_CODES[out.dtype], len(nest)]
        for column in range(3):
            scale = out.dtype.size if column else 1
            words += [loop[column] * scale for loop in nest] + [0] * (MAX_RANK - len(nest))
        return words

    def bound(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (64 + 24 * MAX_RANK + cost)

    return Op(name, code, infer, params, tile, bound, tiles)


OPS = [
    _make("add", 48, add_tile, add_tiles, COST_FLOAT),
    _make("sub", 49, sub_tile, sub_tiles, COST_FLOAT),
    _make("mul", 50, mul_tile, mul_tiles, COST_FLOAT),
    _make("div", 51, div_tile, div_tiles, COST_DIVIDE),
    _make("max", 52, max_tile, max_tiles, 5 * COST_FLOAT),
    _make("min", 53, min_tile, min_tiles, 5 * COST_FLOAT),
]
