"""Operators that move elements and keep their bits: any dtype."""

from typing import Any

import numpy as np

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_TILE,
    Attrs,
    Op,
    Types,
    clear,
    copy_element,
    input_address,
    int_word,
    jit,
    leaf_elements,
    out_address,
    param,
)
from opml.ops.checks import Shape, axis_attr, ints_attr, only, refuse, strides_of, take_inputs
from vm.guest.intrinsics import (
    load_i32,
    load_i64,
    load_u8,
    load_u16,
    store_i8,
    store_i16,
    store_i32,
    store_i64,
    udiv,
    urem,
)

LENGTH, SIZE = 0, 1


@jit
def copy_run(target, source, n, step, size):  # type: ignore[no-untyped-def]
    """n elements of `size` bytes from addresses `step` bytes apart to neighbouring ones."""
    if size == 4:
        if step == 4:
            for i in range(n):
                store_i32(target + 4 * i, load_i32(source + 4 * i))
        else:
            for i in range(n):
                store_i32(target + 4 * i, load_i32(source + i * step))
    elif size == 8:
        for i in range(n):
            store_i64(target + 8 * i, load_i64(source + i * step))
    elif size == 2:
        for i in range(n):
            store_i16(target + 2 * i, load_u16(source + i * step))
    elif step == 1:
        for i in range(n):
            store_i8(target + i, load_u8(source + i))
    else:
        for i in range(n):
            store_i8(target + i, load_u8(source + i * step))


# transpose, slice, expand, copy: the element of the output at (i, j, ...) is the input's at base + i*si + j*sj + ...
# Dimensions run from the innermost out: their sizes, then the distances in bytes.
BASE, RANK, DIMS = 2, 3, 4
MAX_RANK = 8
STRIDES = DIMS + MAX_RANK


@jit
def strided_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, size, rank, inner = out_address(r), param(r, SIZE), param(r, RANK), param(r, DIMS)
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        rest, source = e, input_address(r, 0) + param(r, BASE)
        for d in range(rank):
            source += urem(rest, param(r, DIMS + d)) * param(r, STRIDES + d)
            rest = udiv(rest, param(r, DIMS + d))
        copy_run(y + size * e, source, run, param(r, STRIDES), size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def strided_tile(r, t):  # type: ignore[no-untyped-def]
    strided_tiles(r, t, 1)


SHORT = 16  # elements; dividing out where a shorter run lies takes longer than copying it


@jit
def weave(target, source, inner, lines, step, pitch, size):  # type: ignore[no-untyped-def]
    """Lines of `inner` elements, `step` bytes apart, from addresses `pitch` bytes apart to neighbouring ones."""
    width = size * inner
    for k in range(inner):
        a, b = target + size * k, source + step * k
        if size == 4:
            for j in range(lines):
                store_i32(a + j * width, load_i32(b + j * pitch))
        else:
            for j in range(lines):
                copy_element(a + j * width, b + j * pitch, size)


@jit
def strided_fast(r, first, count):  # type: ignore[no-untyped-def]
    """The same, with many short runs at a time."""
    y, size, rank, inner = out_address(r), param(r, SIZE), param(r, RANK), param(r, DIMS)
    if rank < 2 or inner >= SHORT:
        strided_tiles(r, first, count)
        return
    leaf, next_size, step, pitch = udiv(32, size), param(r, DIMS + 1), param(r, STRIDES), param(r, STRIDES + 1)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        rest, source = e, input_address(r, 0) + param(r, BASE)
        for d in range(rank):
            source += urem(rest, param(r, DIMS + d)) * param(r, STRIDES + d)
            rest = udiv(rest, param(r, DIMS + d))
        i, line = urem(e, inner), urem(udiv(e, inner), next_size)
        lines = min(next_size - line, udiv(stop - e, inner)) if i == 0 else 0
        if lines > 0:
            weave(y + size * e, source, inner, lines, step, pitch, size)
            e += lines * inner
        else:
            run = min(inner - i, stop - e)
            copy_run(y + size * e, source, run, step, size)
            e += run
    clear(y + size * stop, y + 32 * (first + count))


# concat: lines of WIDTH elements, of which input i gives WIDTHS + i.
WIDTH, WIDTHS = 2, 3


@jit
def concat_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, size, width = out_address(r), param(r, SIZE), param(r, WIDTH)
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        line, at, i = udiv(e, width), urem(e, width), 0
        while at >= param(r, WIDTHS + i):
            at -= param(r, WIDTHS + i)
            i += 1
        part = param(r, WIDTHS + i)
        run = min(part - at, stop - e)
        copy_run(y + size * e, input_address(r, i) + size * (line * part + at), run, size, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def concat_tile(r, t):  # type: ignore[no-untyped-def]
    concat_tiles(r, t, 1)


# pad: dimensions from the innermost out, of each the sizes of output and input and the padding before it.
PAD_VALUE, PAD_RANK, PAD_OUT = 2, 3, 4
PAD_MAX_RANK = 6
PAD_IN, PAD_BEFORE = PAD_OUT + PAD_MAX_RANK, PAD_OUT + 2 * PAD_MAX_RANK


@jit
def pad_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, y, size, rank, value = input_address(r, 0), out_address(r), param(r, SIZE), param(r, PAD_RANK), param(r, 2)
    leaf = udiv(32, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        rest, at, stride, inside = e, 0, size, True
        for d in range(rank):
            index = urem(rest, param(r, PAD_OUT + d)) - param(r, PAD_BEFORE + d)
            inside = inside and 0 <= index < param(r, PAD_IN + d)
            at += index * stride
            stride *= param(r, PAD_IN + d)
            rest = udiv(rest, param(r, PAD_OUT + d))
        if inside:
            copy_element(y + size * e, x + at, size)
        elif size == 4:
            store_i32(y + 4 * e, value)
        elif size == 8:
            store_i64(y + 8 * e, value)
        elif size == 2:
            store_i16(y + 2 * e, value)
        else:
            store_i8(y + e, value)
    clear(y + size * stop, y + 32 * (first + count))


@jit
def pad_tile(r, t):  # type: ignore[no-untyped-def]
    pad_tiles(r, t, 1)


class View:
    """A strided view of an input: its shape, and in elements its base and strides."""

    def __init__(self, shape: Shape, base: int, strides: list[int]) -> None:
        self.shape, self.base, self.strides = shape, base, strides

    def loops(self) -> list[tuple[int, int]]:
        """(size, stride) from the innermost out, as few as possible."""
        nest: list[tuple[int, int]] = []
        for size, stride in zip(reversed(self.shape), reversed(self.strides), strict=True):
            if size == 1:
                continue
            if nest and stride == nest[-1][0] * nest[-1][1]:
                nest[-1] = (nest[-1][0] * size, nest[-1][1])
            else:
                nest.append((size, stride))
        return nest or [(1, 1)]


def view_transpose(x: TensorType, attrs: Attrs) -> View:
    rank = len(x.shape)
    only("transpose", attrs, "perm")
    perm = ints_attr("transpose", attrs, "perm", None, rank)
    if sorted(perm) != list(range(rank)):
        raise refuse("transpose", f"perm {perm} does not permute {rank} dimensions")
    strides = strides_of(x.shape)
    return View(tuple(x.shape[p] for p in perm), 0, [strides[p] for p in perm])


def view_slice(x: TensorType, attrs: Attrs) -> View:
    only("slice", attrs, "starts", "steps", "sizes")
    rank = len(x.shape)
    starts, sizes = (ints_attr("slice", attrs, name, None, rank) for name in ("starts", "sizes"))
    steps = ints_attr("slice", attrs, "steps", [1] * rank, rank)
    for dim, start, step, size in zip(x.shape, starts, steps, sizes, strict=True):
        if size < 1 or not 0 <= start < dim or not 0 <= start + (size - 1) * step < dim:
            raise refuse("slice", f"starts {starts}, steps {steps}, sizes {sizes} leave {list(x.shape)}")
    strides = strides_of(x.shape)
    base = sum(start * stride for start, stride in zip(starts, strides, strict=True))
    return View(tuple(sizes), base, [step * stride for step, stride in zip(steps, strides, strict=True)])


def view_expand(x: TensorType, attrs: Attrs) -> View:
    only("expand", attrs, "shape")
    shape = tuple(ints_attr("expand", attrs, "shape"))
    source = (1,) * (len(shape) - len(x.shape)) + x.shape
    if len(source) != len(shape) or any(s < 1 or d not in (1, s) for d, s in zip(source, shape, strict=True)):
        raise refuse("expand", f"{list(x.shape)} does not broadcast to {list(shape)}")
    strides = [0 if d == 1 else stride for d, stride in zip(source, strides_of(source), strict=True)]
    return View(shape, 0, strides)


def view_copy(x: TensorType, attrs: Attrs) -> View:
    only("copy", attrs, "shape")
    shape = tuple(ints_attr("copy", attrs, "shape", list(x.shape)))
    if min(shape, default=1) < 1 or TensorType(x.dtype, shape).elements != x.elements:
        raise refuse("copy", f"{list(x.shape)} has not as many elements as {list(shape)}")
    return View(shape, 0, strides_of(shape))


def _make_view(name: str, code: int, view: Any) -> Op:
    def infer(types: Types, attrs: Attrs) -> TensorType:
        (x,) = take_inputs(name, types, 1)
        seen: View = view(x, attrs)
        if len(seen.loops()) > MAX_RANK:
            raise refuse(name, f"of {list(x.shape)} takes more than {MAX_RANK} loops")
        return TensorType(x.dtype, seen.shape)

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        (x,) = take_inputs(name, types, 1)
        seen: View = view(x, attrs)
        size, nest = x.dtype.size, seen.loops()
        padding = [0] * (MAX_RANK - len(nest))
        dims = [n for n, _ in nest] + padding
        return [out.elements, size, seen.base * size, len(nest), *dims, *(stride * size for _, stride in nest)]

    def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (64 + 16 * MAX_RANK)

    return Op(name, code, infer, params, strided_tile, cost, strided_fast)


def infer_concat(types: Types, attrs: Attrs) -> TensorType:
    """Two to four tensors that differ in size along one axis only; attribute axis."""
    inputs = take_inputs("concat", types, max(len(types), 2), max(len(types), 2))
    if len(inputs) > 4:
        raise refuse("concat", f"takes 2 to 4 inputs, not {len(inputs)}")
    only("concat", attrs, "axis")
    head = inputs[0]
    axis = axis_attr("concat", attrs, len(head.shape))
    for x in inputs:
        if x.dtype is not head.dtype:
            raise refuse("concat", f"dtypes {head.dtype.value} and {x.dtype.value} differ")
        if x.shape[:axis] + x.shape[axis + 1 :] != head.shape[:axis] + head.shape[axis + 1 :] or len(x.shape) <= axis:
            raise refuse("concat", f"shapes {[list(i.shape) for i in inputs]} differ besides axis {axis}")
    total = sum(x.shape[axis] for x in inputs)
    return TensorType(head.dtype, (*head.shape[:axis], total, *head.shape[axis + 1 :]))


def params_concat(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    axis = axis_attr("concat", attrs, len(out.shape))
    widths = [strides_of(x.shape)[axis] * x.shape[axis] for x in types if x is not None]
    return [out.elements, out.dtype.size, sum(widths), *widths]


def infer_pad(types: Types, attrs: Attrs) -> TensorType:
    """x with `pads` (all before, then all after) elements of `value` around it."""
    (x,) = take_inputs("pad", types, 1)
    only("pad", attrs, "pads", "value")
    rank = len(x.shape)
    pads = ints_attr("pad", attrs, "pads", None, 2 * rank)
    if rank > PAD_MAX_RANK or min(pads, default=0) < 0 or max(pads, default=0) >= 1 << 31:
        raise refuse("pad", f"of {list(x.shape)} by {pads}: at most {PAD_MAX_RANK} dimensions, no negative pads")
    _pad_word(x.dtype, attrs)
    return TensorType(x.dtype, tuple(pads[d] + n + pads[rank + d] for d, n in enumerate(x.shape)))


def _pad_word(dtype: DType, attrs: Attrs) -> int:
    value = attrs.get("value", 0)
    if dtype.is_float and isinstance(value, int | float):
        with np.errstate(over="ignore"):
            return int(np.array(value).astype(dtype.numpy).view(f"int{8 * dtype.size}"))
    info = (0, 1) if dtype is DType.BOOL else None
    if not dtype.is_float and isinstance(value, int):
        low, high = info or (int(np.iinfo(dtype.numpy).min), int(np.iinfo(dtype.numpy).max))
        if low <= value <= high:
            return int_word(value)
    raise refuse("pad", f"value {value!r} is not {dtype.value}")


def params_pad(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    (x,) = take_inputs("pad", types, 1)
    rank = len(x.shape)
    before = ints_attr("pad", attrs, "pads", None, 2 * rank)[:rank]
    words = [out.elements, x.dtype.size, _pad_word(x.dtype, attrs), rank]
    for sizes in (out.shape, x.shape, before):
        words += [*reversed(sizes), *[0] * (PAD_MAX_RANK - rank)]
    return words


def cost_moves(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * 256


OPS = [
    _make_view("transpose", 80, view_transpose),
    Op("concat", 81, infer_concat, params_concat, concat_tile, cost_moves, concat_tiles),
    _make_view("copy", 82, view_copy),
    _make_view("slice", 83, view_slice),
    Op("pad", 84, infer_pad, params_pad, pad_tile, cost_moves, pad_tiles),
    _make_view("expand", 85, view_expand),
]
