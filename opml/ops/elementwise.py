"""What functions that go element by element share: loops with a place for a function, and how they become kernels.

A loop is a plain function in which `F` (for float32) and `G` (for integers) are global names. `specialise` gives it a
meaning for them, so that a primitive is one line in a table.
"""

from collections.abc import Callable
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from opml.graph import TensorType
from opml.ops.base import (
    BOOL,
    FLOAT32,
    clear,
    element_size,
    input_address,
    jit,
    load_int,
    order_flip,
    out_address,
    param,
    param_f32,
    store_int,
    template,
)
from opml.ops.checks import Shape, refuse, strides_of
from vm.guest.elements import load_f32_at, store_f32_at
from vm.guest.intrinsics import load_f32, udiv, urem

# Parameters of functions of one tensor: elements, dtype, two numbers. And of several: elements, dtype, dimensions;
# these run from the innermost out: of each its size, then the distances in bytes along each input.
LENGTH, DTYPE, P, Q = range(4)
RANK, DIMS = 2, 3
MAX_RANK = 7
A_STRIDES, B_STRIDES, C_STRIDES = DIMS + MAX_RANK, DIMS + 2 * MAX_RANK, DIMS + 3 * MAX_RANK

F: Any = None
G: Any = None


def specialise(loop: Callable[..., None], module: ModuleType, name: str, **functions: Any) -> Any:
    """A loop with its functions as `NAME_tiles`, and `NAME_tile`, which computes one tile; both globals of `module`.

    (A function handed to a jitted one would be neither cached nor named reproducibly, and the guest is compiled by
    name. The copy's code is said to lie in `module`'s file, whose imports tell when a cached kernel is stale.)
    """
    for kernel, suffix in ((loop, "tiles"), (_one_tile, "tile")):
        code = kernel.__code__.replace(co_filename=str(module.__file__))
        copy = FunctionType(code, {**kernel.__globals__, **functions}, f"{name}_{suffix}")
        copy.__qualname__, copy.__module__ = copy.__name__, module.__name__
        functions["TILES"] = made = jit(copy)
        setattr(module, copy.__name__, made)
    return getattr(module, f"{name}_tile"), getattr(module, f"{name}_tiles")


TILES: Any = None


def _one_tile(r, t):  # type: ignore[no-untyped-def]
    TILES(r, t, 1)


@template
def each_float(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[i] = f(x[i]) over the elements of some tiles; the rest of the last leaf is zero."""
    x, y, stop = input_address(r, 0), out_address(r), min(8 * (first + count), param(r, LENGTH))
    for i in range(8 * first, stop):
        store_f32_at(y, i, f(load_f32_at(x, i)))
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def each_scaled(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[i] = f(x[i], p, q)."""
    x, y, stop = input_address(r, 0), out_address(r), min(8 * (first + count), param(r, LENGTH))
    p, q = param_f32(r, P), param_f32(r, Q)
    for i in range(8 * first, stop):
        store_f32_at(y, i, f(load_f32_at(x, i), p, q))
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def each_integer(g, r, first, count):  # type: ignore[no-untyped-def]
    """out[i] = g(x[i], p, q, flip) for integers, which are ordered after they are xored with `flip`."""
    x, y, dtype, p, q = input_address(r, 0), out_address(r), param(r, DTYPE), param(r, P), param(r, Q)
    size, flip = element_size(dtype), order_flip(dtype)
    stop = min(32 * (first + count), param(r, LENGTH) * size)
    for at in range(32 * first, stop, size):
        store_int(y + at, dtype, g(load_int(x + at, dtype), p, q, flip))
    clear(y + stop, y + 32 * (first + count))


def map_floats(r, first, count):  # type: ignore[no-untyped-def]
    """F(x)."""
    each_float(F, r, first, count)


def map_scaled(r, first, count):  # type: ignore[no-untyped-def]
    """F(x, p, q)."""
    each_scaled(F, r, first, count)


def map_integers(r, first, count):  # type: ignore[no-untyped-def]
    """G(x, p, q, flip)."""
    each_integer(G, r, first, count)


def map_numbers(r, first, count):  # type: ignore[no-untyped-def]
    """F(x) for float32, G(x, p, q, flip) for integers."""
    if param(r, DTYPE) == FLOAT32:
        each_float(F, r, first, count)
    else:
        each_integer(G, r, first, count)


def map_bounded(r, first, count):  # type: ignore[no-untyped-def]
    """F(x, p, q) for float32, G(x, p, q, flip) for integers."""
    if param(r, DTYPE) == FLOAT32:
        each_scaled(F, r, first, count)
    else:
        each_integer(G, r, first, count)


def classify_floats(r, first, count):  # type: ignore[no-untyped-def]
    """F(x, p, q) of float32, as a bool."""
    x, y, p, q = input_address(r, 0), out_address(r), param_f32(r, P), param_f32(r, Q)
    stop = min(32 * (first + count), param(r, LENGTH))
    for i in range(32 * first, stop):
        store_int(y + i, BOOL, np.int64(F(load_f32(x + 4 * i), p, q)))
    clear(y + stop, y + 32 * (first + count))


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
def pairs_of_floats(f, r, first, count):  # type: ignore[no-untyped-def]
    """out[e] = f(a[e'], b[e'']) over some tiles, by runs along the innermost dimension."""
    y, inner = out_address(r), param(r, DIMS)
    step_a, step_b = param(r, A_STRIDES), param(r, B_STRIDES)
    e, stop = 8 * first, min(8 * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        a = input_address(r, 0) + offset(r, e, A_STRIDES)
        b = input_address(r, 1) + offset(r, e, B_STRIDES)
        out = y + 4 * e
        # Along the innermost dimension at most one operand stands still, unless the output has one element.
        if step_b == 0:
            right = load_f32(b)
            for i in range(run):
                store_f32_at(out, i, f(load_f32_at(a, i), right))
        elif step_a == 0:
            left = load_f32(a)
            for i in range(run):
                store_f32_at(out, i, f(left, load_f32_at(b, i)))
        else:
            for i in range(run):
                store_f32_at(out, i, f(load_f32_at(a, i), load_f32_at(b, i)))
        e += run
    clear(y + 4 * stop, y + 32 * (first + count))


@template
def pairs_of_integers(g, r, first, count):  # type: ignore[no-untyped-def]
    """out[e] = g(a[e'], b[e''], flip, bits) for integers of `bits` bits, ordered after they are xored with `flip`."""
    y, inner, dtype = out_address(r), param(r, DIMS), param(r, DTYPE)
    step_a, step_b = param(r, A_STRIDES), param(r, B_STRIDES)
    size, flip = element_size(dtype), order_flip(dtype)
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        a = input_address(r, 0) + offset(r, e, A_STRIDES)
        b = input_address(r, 1) + offset(r, e, B_STRIDES)
        for i in range(run):
            value = g(load_int(a + step_a * i, dtype), load_int(b + step_b * i, dtype), flip, 8 * size)
            store_int(y + size * (e + i), dtype, value)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


def pair_floats(r, first, count):  # type: ignore[no-untyped-def]
    """F(a, b)."""
    pairs_of_floats(F, r, first, count)


def pair_integers(r, first, count):  # type: ignore[no-untyped-def]
    """G(a, b, flip, bits)."""
    pairs_of_integers(G, r, first, count)


def pair_numbers(r, first, count):  # type: ignore[no-untyped-def]
    """F for float32, G for integers."""
    if param(r, DTYPE) == FLOAT32:
        pairs_of_floats(F, r, first, count)
    else:
        pairs_of_integers(G, r, first, count)


def compare_numbers(r, first, count):  # type: ignore[no-untyped-def]
    """out[e] = F(a[e'], b[e'']), or G of values that are ordered as signed ones, as a bool."""
    y, inner, dtype = out_address(r), param(r, DIMS), param(r, DTYPE)
    step_a, step_b, flip = param(r, A_STRIDES), param(r, B_STRIDES), order_flip(dtype)
    e, stop = 32 * first, min(32 * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        a = input_address(r, 0) + offset(r, e, A_STRIDES)
        b = input_address(r, 1) + offset(r, e, B_STRIDES)
        if dtype == FLOAT32:
            for i in range(run):
                store_int(y + e + i, BOOL, np.int64(F(load_f32(a + step_a * i), load_f32(b + step_b * i))))
        else:
            for i in range(run):
                value = G(load_int(a + step_a * i, dtype) ^ flip, load_int(b + step_b * i, dtype) ^ flip)
                store_int(y + e + i, BOOL, np.int64(value))
        e += run
    clear(y + stop, y + 32 * (first + count))


def broadcast(op: str, *shapes: Shape) -> Shape:
    """The shape to which some shapes broadcast."""
    rank = max(map(len, shapes))
    padded = [(1,) * (rank - len(shape)) + shape for shape in shapes]
    out = tuple(max(sizes) for sizes in zip(*padded, strict=True))
    if any(size not in (1, wide) for shape in padded for size, wide in zip(shape, out, strict=True)):
        raise refuse(op, f"shapes {' and '.join(str(list(shape)) for shape in shapes)} do not broadcast")
    return out


def loops(out: Shape, *shapes: Shape) -> list[tuple[int, ...]]:
    """Nested loops, from the innermost out: (size, step along each input in elements), as few as possible."""
    padded = [(1,) * (len(out) - len(shape)) + shape for shape in shapes]
    strides = [strides_of(shape) for shape in padded]
    nest: list[tuple[int, ...]] = []
    for d in reversed(range(len(out))):
        if out[d] == 1:
            continue
        steps = tuple(step[d] if shape[d] != 1 else 0 for step, shape in zip(strides, padded, strict=True))
        if nest and steps == tuple(step * nest[-1][0] for step in nest[-1][1:]):
            nest[-1] = (nest[-1][0] * out[d], *nest[-1][1:])
        else:
            nest.append((out[d], *steps))
    return nest or [(1,) * (1 + len(shapes))]


def check_loops(op: str, out: Shape, inputs: list[TensorType]) -> None:
    """Refuses what takes more nested loops than a record has room for."""
    shapes = [kind.shape for kind in inputs]
    if len(loops(out, *shapes)) > MAX_RANK:
        raise refuse(op, f"broadcasting {' with '.join(str(list(s)) for s in shapes)} takes more than {MAX_RANK} loops")


def loop_words(out: Shape, inputs: list[TensorType]) -> list[int]:
    """The parameters from RANK on: the number of loops, their sizes, and each input's steps in bytes."""
    nest = loops(out, *(kind.shape for kind in inputs))
    words = [len(nest)]
    for column, scale in enumerate([1, *(kind.dtype.size for kind in inputs)]):
        words += [loop[column] * scale for loop in nest] + [0] * (MAX_RANK - len(nest))
    return words
