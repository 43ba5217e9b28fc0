"""Updates written to places that are data: scatter_elements, scatter_nd, tensor_scatter.

Places are made of indices as in `opml.ops.gather`. Updates are applied one after the other, in the order in which they
lie in memory: without a reduction the last one to a place stays; sums, products, minima and maxima start from the
element that was there. Bits of elements without an update are kept.
"""

from math import prod

from opml.graph import DType, TensorType
from opml.numerics import maximum, minimum
from opml.ops.base import (
    COST_FLOAT,
    COST_TILE,
    DTYPE_CODES,
    FLOAT32,
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
    order_flip,
    out_address,
    param,
    store_int,
)
from opml.ops.checks import axis_attr, flag_attr, only, refuse, take_dtype, take_inputs
from opml.ops.gather import INDICES, wrapped
from opml.ops.movement import MAX_RANK, copy_run
from opml.ops.rows import middle
from vm.guest.intrinsics import load_f32, store_f32, udiv, urem, wrap_add, wrap_mul

REDUCTIONS = ("none", "add", "mul", "min", "max")
NONE, ADD, MUL, MIN, MAX = range(5)

LENGTH, SIZE, DTYPE, REDUCTION, INDEX = range(5)


@jit
def less(a, b, dtype):  # type: ignore[no-untyped-def]
    """a < b, of elements as `load_int` gives them."""
    return a ^ order_flip(dtype) < b ^ order_flip(dtype)


@jit
def apply(target, source, dtype, size, reduction):  # type: ignore[no-untyped-def]
    """One update: the element at `source` comes to the one at `target`."""
    if reduction == NONE:
        copy_element(target, source, size)
    elif dtype == FLOAT32:
        old, new = load_f32(target), load_f32(source)
        if reduction == ADD:
            store_f32(target, old + new)
        elif reduction == MUL:
            store_f32(target, old * new)
        elif reduction == MIN:
            store_f32(target, minimum(old, new))
        else:
            store_f32(target, maximum(old, new))
    else:
        a, b = load_int(target, dtype), load_int(source, dtype)
        if reduction == ADD:
            store_int(target, dtype, wrap_add(a, b))
        elif reduction == MUL:
            store_int(target, dtype, wrap_mul(a, b))
        elif reduction == MIN:
            store_int(target, dtype, b if less(b, a, dtype) else a)
        else:
            store_int(target, dtype, b if less(a, b, dtype) else a)


# scatter_elements: dimensions from the innermost out, of each the sizes of data and of indices. AXIS is one of them,
# ALONG the distance in the indices between neighbours along it.
AXIS, ALONG, RANK, DATA_DIMS = 5, 6, 7, 8
INDEX_DIMS = DATA_DIMS + MAX_RANK


@jit
def scatter_elements_tile(r, t):  # type: ignore[no-untyped-def]
    """An element looks for its updates along its line of indices."""
    x, indices, updates, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    size, dtype, reduction, index_dtype = param(r, SIZE), param(r, DTYPE), param(r, REDUCTION), param(r, INDEX)
    rank, axis, along, step = param(r, RANK), param(r, AXIS), param(r, ALONG), element_size(param(r, INDEX))
    n, many = param(r, DATA_DIMS + axis), param(r, INDEX_DIMS + axis)
    leaf = udiv(32, size)
    stop = min(leaf * (t + 1), param(r, LENGTH))
    for e in range(leaf * t, stop):
        copy_element(y + size * e, x + size * e, size)
        rest, start, stride, place, inside = e, 0, 1, 0, True
        for d in range(rank):
            at = urem(rest, param(r, DATA_DIMS + d))
            rest = udiv(rest, param(r, DATA_DIMS + d))
            if d == axis:
                place = at
            else:
                inside = inside and at < param(r, INDEX_DIMS + d)
                start += at * stride
            stride *= param(r, INDEX_DIMS + d)
        if inside:
            for i in range(many):
                u = start + i * along
                if wrapped(load_int(indices + step * u, index_dtype), n) == place:
                    apply(y + size * e, updates + size * u, dtype, size, reduction)
    clear(y + size * stop, y + 32 * (t + 1))


@jit
def scatter_elements_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """An update looks for its element; along a line the order is the same."""
    x, indices, updates, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    size, dtype, reduction, index_dtype = param(r, SIZE), param(r, DTYPE), param(r, REDUCTION), param(r, INDEX)
    rank, axis, step = param(r, RANK), param(r, AXIS), element_size(param(r, INDEX))
    leaf, total = udiv(32, size), 1
    start, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    copy_run(y + size * start, x + size * start, stop - start, size, size)
    clear(y + size * stop, y + 32 * (first + count))
    for d in range(rank):
        total *= param(r, INDEX_DIMS + d)
    for u in range(total):
        rest, e, stride = u, 0, 1
        for d in range(rank):
            n = param(r, DATA_DIMS + d)
            at = urem(rest, param(r, INDEX_DIMS + d))
            rest = udiv(rest, param(r, INDEX_DIMS + d))
            if d == axis:
                at = wrapped(load_int(indices + step * u, index_dtype), n)
            e += at * stride
            stride *= n
        if start <= e < stop:
            apply(y + size * e, updates + size * u, dtype, size, reduction)


def _reduction(op: str, x: TensorType, updates: TensorType, attrs: Attrs) -> int:
    reduction = attrs.get("reduction", "none")
    if reduction not in REDUCTIONS:
        raise refuse(op, f"reduction {reduction!r} is not among {', '.join(REDUCTIONS)}")
    if reduction != "none":
        take_dtype(op, x, ARITHMETIC)
    if updates.dtype is not x.dtype:
        raise refuse(op, f"updates are {updates.dtype.value}, the data {x.dtype.value}")
    return REDUCTIONS.index(str(reduction))


ARITHMETIC = tuple(d for d in DType if d is DType.FLOAT32 or d.numpy.kind in "iu")


def _nest(x: TensorType, indices: TensorType, axis: int) -> tuple[list[tuple[int, int]], int]:
    """(data size, indices size) of the dimensions from the innermost out, as few as possible; which one is the axis."""
    nest: list[tuple[int, int]] = []
    found, fresh = 0, True
    for d in range(len(x.shape) - 1, -1, -1):
        sizes = (x.shape[d], indices.shape[d])
        if d == axis:
            found, fresh = len(nest), True
            nest.append(sizes)
        elif not fresh and nest[-1][0] == nest[-1][1]:
            nest[-1] = (nest[-1][0] * sizes[0], nest[-1][1] * sizes[1])
        else:
            nest.append(sizes)
            fresh = False
    return nest, found


def infer_scatter_elements(types: Types, attrs: Attrs) -> TensorType:
    """data, indices (int64 or int32) and updates of the indices' shape; attributes axis and reduction."""
    name = "scatter_elements"
    x, indices, updates = take_inputs(name, types, 3)
    take_dtype(name, indices, INDICES)
    only(name, attrs, "axis", "reduction")
    axis = axis_attr(name, attrs, len(x.shape))
    _reduction(name, x, updates, attrs)
    sizes = list(zip(x.shape, indices.shape, strict=False))
    if len(indices.shape) != len(x.shape) or any(i > n for d, (n, i) in enumerate(sizes) if d != axis):
        raise refuse(name, f"indices {list(indices.shape)} do not fit into {list(x.shape)}")
    if updates.shape != indices.shape:
        raise refuse(name, f"updates {list(updates.shape)} for indices {list(indices.shape)}")
    if len(_nest(x, indices, axis)[0]) > MAX_RANK:
        raise refuse(name, f"of {list(x.shape)} takes more than {MAX_RANK} loops")
    return x


def params_scatter_elements(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, indices, updates = take_inputs("scatter_elements", types, 3)
    nest, axis = _nest(x, indices, axis_attr("scatter_elements", attrs, len(x.shape)))
    padding = [0] * (MAX_RANK - len(nest))
    along = prod(i for _, i in nest[:axis])
    words = [out.elements, x.dtype.size, DTYPE_CODES[x.dtype], _reduction("scatter_elements", x, updates, attrs)]
    words += [DTYPE_CODES[indices.dtype], axis, along, len(nest)]
    return [*words, *(n for n, _ in nest), *padding, *(i for _, i in nest)]


def _step(x: TensorType, reduction: int) -> int:
    """Instructions of one update, from above."""
    if reduction == NONE or x.dtype is not DType.FLOAT32:
        return 96
    return 96 + (5 if reduction in (MIN, MAX) else 1) * COST_FLOAT


def cost_scatter_elements(types: Types, out: TensorType, attrs: Attrs) -> int:
    x, indices, updates = take_inputs("scatter_elements", types, 3)
    many = indices.shape[axis_attr("scatter_elements", attrs, len(x.shape))]
    update = _step(x, _reduction("scatter_elements", x, updates, attrs))
    return COST_TILE + leaf_elements(out) * (64 + 32 * MAX_RANK + many * (32 + update))


# scatter_nd: places are tuples of K indices into SIZES; each holds INNER elements. The fourth input, if any, is how
# many of the tuples count.
ND_INNER, TUPLES, K, SIZES = 5, 6, 7, 8


@jit
def scatter_nd_tiles(r, first, count):  # type: ignore[no-untyped-def]
    x, indices, updates, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    size, dtype, reduction, index_dtype = param(r, SIZE), param(r, DTYPE), param(r, REDUCTION), param(r, INDEX)
    inner, tuples, k, step = param(r, ND_INNER), param(r, TUPLES), param(r, K), element_size(param(r, INDEX))
    if input_address(r, 3) != 0:
        tuples = min(tuples, max(load_int(input_address(r, 3), index_dtype), 0))
    leaf = udiv(32, size)
    start, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    copy_run(y + size * start, x + size * start, stop - start, size, size)
    clear(y + size * stop, y + 32 * (first + count))
    for u in range(tuples):
        slice_ = 0
        for d in range(k):
            n = param(r, SIZES + d)
            slice_ = slice_ * n + wrapped(load_int(indices + step * (u * k + d), index_dtype), n)
        place = slice_ * inner
        source = updates + size * (u * inner - place)
        for e in range(max(place, start), min(place + inner, stop)):
            apply(y + size * e, source + size * e, dtype, size, reduction)


@jit
def scatter_nd_tile(r, t):  # type: ignore[no-untyped-def]
    scatter_nd_tiles(r, t, 1)


def infer_scatter_nd(types: Types, attrs: Attrs) -> TensorType:
    """data [*sizes, *inner], indices [..., K] for K sizes, updates [..., *inner], and, if need be, a count [1]."""
    name = "scatter_nd"
    x, indices, updates, *_ = take_inputs(name, types, 3, 4)
    take_dtype(name, indices, INDICES)
    only(name, attrs, "reduction")
    _reduction(name, x, updates, attrs)
    k = indices.shape[-1] if indices.shape else 0
    if not 1 <= k <= min(len(x.shape), MAX_RANK) or updates.shape != indices.shape[:-1] + x.shape[k:]:
        shapes = f"indices {list(indices.shape)} and updates {list(updates.shape)}"
        raise refuse(name, f"{shapes} for data {list(x.shape)}")
    if len(types) == 4 and types[3] != TensorType(indices.dtype, (1,)):
        raise refuse(name, f"the count must be {indices.dtype.value} [1]")
    return x


def params_scatter_nd(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, indices, updates = take_inputs("scatter_nd", types, 3, 4)[:3]
    k = indices.shape[-1]
    words = [out.elements, x.dtype.size, DTYPE_CODES[x.dtype], _reduction("scatter_nd", x, updates, attrs)]
    return [*words, DTYPE_CODES[indices.dtype], prod(x.shape[k:]), prod(indices.shape[:-1]), k, *x.shape[:k]]


def cost_scatter_nd(types: Types, out: TensorType, attrs: Attrs) -> int:
    x, indices, updates = take_inputs("scatter_nd", types, 3, 4)[:3]
    k, inner = indices.shape[-1], prod(x.shape[indices.shape[-1] :])
    update = min(leaf_elements(out), inner) * _step(x, _reduction("scatter_nd", x, updates, attrs))
    return COST_TILE + leaf_elements(out) * 16 + prod(indices.shape[:-1]) * (48 + 24 * k + update)


# tensor_scatter: the cache is [BATCH_LINES per batch, N, INNER], the update has M lines for each N.
BATCH_LINES, N, M, TS_INNER, CIRCULAR, TS_INDEX = 2, 3, 4, 5, 6, 7


@jit
def tensor_scatter_tiles(r, first, count):  # type: ignore[no-untyped-def]
    """Line `at` of the axis is the update's line `at - start`, where there is one; in a circle, its last one."""
    x, updates, starts, y = input_address(r, 0), input_address(r, 1), input_address(r, 2), out_address(r)
    size, lines, n, m, inner = param(r, SIZE), param(r, BATCH_LINES), param(r, N), param(r, M), param(r, TS_INNER)
    dtype, leaf = param(r, TS_INDEX), udiv(32, param(r, SIZE))
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        line, offset = udiv(e, inner), urem(e, inner)
        run = min(inner - offset, stop - e)
        outer, at = udiv(line, n), urem(line, n)
        start = 0
        if starts != 0:
            start = wrapped(load_int(starts + element_size(dtype) * udiv(outer, lines), dtype), n)
        row = at - start
        if row < 0 and param(r, CIRCULAR) != 0:
            row += n
        source = updates + size * ((outer * m + row) * inner + offset) if 0 <= row < m else x + size * e
        copy_run(y + size * e, source, run, size, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def tensor_scatter_tile(r, t):  # type: ignore[no-untyped-def]
    tensor_scatter_tiles(r, t, 1)


def infer_tensor_scatter(types: Types, attrs: Attrs) -> TensorType:
    """cache, update of the same shape but for fewer lines along `axis` (not 0), starts [batch]; attribute circular."""
    name = "tensor_scatter"
    x, updates, *_ = take_inputs(name, types, 2, 3)
    only(name, attrs, "axis", "circular")
    flag_attr(name, attrs, "circular")
    axis = axis_attr(name, attrs, len(x.shape))
    fits = [m <= n if d == axis else m == n for d, (n, m) in enumerate(zip(x.shape, updates.shape, strict=False))]
    if axis == 0 or len(updates.shape) != len(x.shape) or not all(fits) or updates.dtype is not x.dtype:
        raise refuse(name, f"an update {list(updates.shape)} along axis {axis} of {list(x.shape)}")
    starts = types[2] if len(types) == 3 else None
    if starts is not None:
        take_dtype(name, starts, INDICES)
        if starts.shape != x.shape[:1]:
            raise refuse(name, f"starts {list(starts.shape)} for {x.shape[0]} batches")
    return x


def params_tensor_scatter(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    x, updates = take_inputs("tensor_scatter", types, 2, 3)
    axis = axis_attr("tensor_scatter", attrs, len(x.shape))
    outer, n, inner = middle(x, axis, axis)
    starts = types[2] if len(types) == 3 else None
    code = DTYPE_CODES[starts.dtype if starts is not None else DType.INT64]
    circular = flag_attr("tensor_scatter", attrs, "circular")
    return [out.elements, x.dtype.size, outer // x.shape[0], n, updates.shape[axis], inner, circular, code]


def cost_tensor_scatter(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * 160


OPS = [
    Op(
        *("scatter_elements", 292, infer_scatter_elements, params_scatter_elements),
        *(scatter_elements_tile, cost_scatter_elements, scatter_elements_tiles),
    ),
    Op("scatter_nd", 293, infer_scatter_nd, params_scatter_nd, scatter_nd_tile, cost_scatter_nd, scatter_nd_tiles),
    Op(
        *("tensor_scatter", 294, infer_tensor_scatter, params_tensor_scatter),
        *(tensor_scatter_tile, cost_tensor_scatter, tensor_scatter_tiles),
    ),
]
