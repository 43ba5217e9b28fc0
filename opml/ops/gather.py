"""Elements picked by indices that are data: gather, gather_elements, gather_nd.

An index that is data never leads outside (`wrapped`): a negative one counts from the end, and what is still outside
becomes the nearest that there is.
"""

from math import prod

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_TILE,
    DTYPE_CODES,
    INT64,
    Attrs,
    Op,
    Types,
    clear,
    copy_element,
    element_size,
    input_address,
    jit,
    leaf_elements,
    load_int,
    out_address,
    param,
)
from opml.ops.checks import axis_attr, flag_attr, int_attr, only, refuse, strides_of, take_dtype, take_inputs
from opml.ops.movement import MAX_RANK, View, copy_run
from opml.ops.rows import middle
from vm.guest.intrinsics import load_i32, load_i64, store_i32, udiv, urem

INDICES = (DType.INT64, DType.INT32)

LENGTH, SIZE, INDEX = range(3)


@jit
def wrapped(index, n):  # type: ignore[no-untyped-def]
    """An index into n elements, n > 0, made from any int64."""
    if index < 0:
        index += n
    return min(max(index, 0), n - 1)


# gather: the output is [outer, COUNT, INNER], the input [outer, N, INNER].
N, INNER, COUNT, ZEROS = 3, 4, 5, 6


@jit
def gather_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, indices, y = input_address(r, 0), input_address(r, 1), out_address(r)
    size, dtype, zeros = param(r, SIZE), param(r, INDEX), param(r, ZEROS)
    n, inner, many, step = param(r, N), param(r, INNER), param(r, COUNT), element_size(param(r, INDEX))
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        line, at = udiv(e, inner), urem(e, inner)
        run = min(inner - at, stop - e)
        outer = udiv(line, many)
        index = load_int(indices + step * (line - outer * many), dtype)
        if zeros != 0 and (index < 0 or index >= n):
            clear(y + size * e, y + size * (e + run))
        else:
            source = x + size * ((outer * n + wrapped(index, n)) * inner + at)
            copy_run(y + size * e, source, run, size, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def gather_tile(r, t):  # type: ignore[no-untyped-def]
    gather_tiles(r, t, 1)


@jit
def gather_fast(r, first, count):  # type: ignore[no-untyped-def]
    """The same; where single floats are gathered by int64 indices, a line of them at a time."""
    if param(r, INNER) != 1 or param(r, SIZE) != 4 or param(r, INDEX) != INT64 or param(r, ZEROS) != 0:
        gather_tiles(r, first, count)
        return
    x, indices, y, n, many = input_address(r, 0), input_address(r, 1), out_address(r), param(r, N), param(r, COUNT)
    e, stop = 8 * first, min(8 * (first + count), param(r, LENGTH))
    while e < stop:
        outer = udiv(e, many)
        at = e - outer * many
        run, source = min(many - at, stop - e), x + 4 * outer * n
        for i in range(run):
            store_i32(y + 4 * (e + i), load_i32(source + 4 * wrapped(load_i64(indices + 8 * (at + i)), n)))
        e += run
    clear(y + 4 * stop, y + 32 * (first + count))


def infer_gather(types: Types, attrs: Attrs) -> TensorType:
    """x and indices (int64 or int32, any shape); attribute axis. With `zeros`, an index outside 0..n-1 gives zeros."""
    x, indices = take_inputs("gather", types, 2)
    take_dtype("gather", indices, INDICES)
    only("gather", attrs, "axis", "zeros")
    flag_attr("gather", attrs, "zeros")
    axis = axis_attr("gather", attrs, len(x.shape))
    return TensorType(x.dtype, x.shape[:axis] + indices.shape + x.shape[axis + 1 :])


def params_gather(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, indices = take_inputs("gather", types, 2)
    axis = axis_attr("gather", attrs, len(x.shape))
    _, n, inner = middle(x, axis, axis)
    code = DTYPE_CODES[indices.dtype]
    return [out.elements, x.dtype.size, code, n, inner, indices.elements, flag_attr("gather", attrs, "zeros")]


# gather_elements: output dimensions from the innermost out, each with its distance in x in bytes, 0 along the axis.
AXIS_N, AXIS_STRIDE, RANK, DIMS = 3, 4, 5, 6
STRIDES = DIMS + MAX_RANK


@jit
def gather_elements_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, indices, y = input_address(r, 0), input_address(r, 1), out_address(r)
    size, dtype, rank = param(r, SIZE), param(r, INDEX), param(r, RANK)
    n, stride, step = param(r, AXIS_N), param(r, AXIS_STRIDE), element_size(param(r, INDEX))
    leaf = udiv(32, size)
    stop = min(leaf * (first + count), param(r, LENGTH))
    for e in range(leaf * first, stop):
        rest, source = e, x + stride * wrapped(load_int(indices + step * e, dtype), n)
        for d in range(rank):
            source += urem(rest, param(r, DIMS + d)) * param(r, STRIDES + d)
            rest = udiv(rest, param(r, DIMS + d))
        copy_element(y + size * e, source, size)
    clear(y + size * stop, y + 32 * (first + count))


@jit
def gather_elements_tile(r, t):  # type: ignore[no-untyped-def]
    gather_elements_tiles(r, t, 1)


def _elements_nest(x: TensorType, shape: tuple[int, ...], axis: int) -> list[tuple[int, int]]:
    strides = strides_of(x.shape)
    strides[axis] = 0
    return View(shape, 0, strides).loops()


def infer_gather_elements(types: Types, attrs: Attrs) -> TensorType:
    """x and indices of one rank, the indices' shape within x's but for the axis; the output has the indices' shape."""
    x, indices = take_inputs("gather_elements", types, 2)
    take_dtype("gather_elements", indices, INDICES)
    only("gather_elements", attrs, "axis")
    axis = axis_attr("gather_elements", attrs, len(x.shape))
    sizes = list(zip(x.shape, indices.shape, strict=False))
    if len(indices.shape) != len(x.shape) or any(i > n for d, (n, i) in enumerate(sizes) if d != axis):
        raise refuse("gather_elements", f"indices {list(indices.shape)} do not fit into {list(x.shape)}")
    if len(_elements_nest(x, indices.shape, axis)) > MAX_RANK:
        raise refuse("gather_elements", f"of {list(x.shape)} takes more than {MAX_RANK} loops")
    return TensorType(x.dtype, indices.shape)


def params_gather_elements(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, indices = take_inputs("gather_elements", types, 2)
    axis = axis_attr("gather_elements", attrs, len(x.shape))
    size, nest = x.dtype.size, _elements_nest(x, indices.shape, axis)
    padding = [0] * (MAX_RANK - len(nest))
    words = [out.elements, size, DTYPE_CODES[indices.dtype], x.shape[axis], strides_of(x.shape)[axis] * size]
    return [*words, len(nest), *(n for n, _ in nest), *padding, *(stride * size for _, stride in nest)]


# gather_nd: the output is [batch, TUPLES, INNER], the input [batch, sizes..., INNER].
ND_INNER, TUPLES, BATCH, K, SIZES = 3, 4, 5, 6, 7


@jit
def gather_nd_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, indices, y = input_address(r, 0), input_address(r, 1), out_address(r)
    size, dtype, inner, k = param(r, SIZE), param(r, INDEX), param(r, ND_INNER), param(r, K)
    step = element_size(dtype)
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        line, at = udiv(e, inner), urem(e, inner)
        run = min(inner - at, stop - e)
        slice_ = 0
        for d in range(k):
            n = param(r, SIZES + d)
            slice_ = slice_ * n + wrapped(load_int(indices + step * (line * k + d), dtype), n)
        source = udiv(line, param(r, TUPLES)) * param(r, BATCH) + slice_ * inner + at
        copy_run(y + size * e, x + size * source, run, size, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def gather_nd_tile(r, t):  # type: ignore[no-untyped-def]
    gather_nd_tiles(r, t, 1)


def infer_gather_nd(types: Types, attrs: Attrs) -> TensorType:
    """x [*batch, *sizes, *inner] and indices [*batch, ..., K] for K sizes; attribute batch_dims."""
    x, indices = take_inputs("gather_nd", types, 2)
    take_dtype("gather_nd", indices, INDICES)
    only("gather_nd", attrs, "batch_dims")
    batch = int_attr("gather_nd", attrs, "batch_dims", 0)
    k = indices.shape[-1] if indices.shape else 0
    fits = 0 <= batch < min(len(x.shape), len(indices.shape)) and x.shape[:batch] == indices.shape[:batch]
    if not fits or not 1 <= k <= min(len(x.shape) - batch, MAX_RANK):
        raise refuse("gather_nd", f"indices {list(indices.shape)} with {batch} batch dimensions for {list(x.shape)}")
    return TensorType(x.dtype, indices.shape[:-1] + x.shape[batch + k :])


def params_gather_nd(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, indices = take_inputs("gather_nd", types, 2)
    batch, k = int_attr("gather_nd", attrs, "batch_dims", 0), indices.shape[-1]
    words = [out.elements, x.dtype.size, DTYPE_CODES[indices.dtype], prod(x.shape[batch + k :])]
    return [*words, prod(indices.shape[batch:-1]), prod(x.shape[batch:]), k, *x.shape[batch : batch + k]]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * (96 + 24 * MAX_RANK)


OPS = [
    Op("gather", 288, infer_gather, params_gather, gather_tile, cost, gather_fast),
    Op(
        *("gather_elements", 289, infer_gather_elements, params_gather_elements),
        *(gather_elements_tile, cost, gather_elements_tiles),
    ),
    Op("gather_nd", 290, infer_gather_nd, params_gather_nd, gather_nd_tile, cost, gather_nd_tiles),
]
