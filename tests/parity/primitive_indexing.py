"""Examples of the primitives that index, sort and select; indices are any numbers at all."""

from math import prod

import numpy as np
from hypothesis import strategies as st
from primitive_base import DTYPES, Array, Draw, Sample, case, shape, values

INDICES = ("int64", "int32")
EXTREMES = [-(1 << 63), (1 << 63) - 1, 1 << 62, -(1 << 62), -1, 0, 1 << 31, -(1 << 31)]


def indices(draw: Draw, size: tuple[int, ...], n: int, dtype: str | None = None) -> Array:
    """Places among n, from either end; a quarter of them outside, up to the ends of the dtype."""
    dtype = dtype or draw(st.sampled_from(INDICES))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    good = rng.integers(-n, n, size)
    near, far = rng.choice([n, n + 1, -n - 1, -n - 2], size), rng.choice(np.array(EXTREMES), size)
    return np.asarray(np.choose(rng.integers(0, 8, size) % 5 % 3, [good, near, far])).astype(dtype)


@case("gather")
def gather(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw, 1, 3, 40))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    where = indices(draw, shape(draw, 0, 2, max(90 * x.shape[axis] // x.size, 1)), x.shape[axis])
    return Sample([x, where], {"axis": axis} | draw(st.sampled_from([{}, {"zeros": 1}])))


def within(draw: Draw, whole: tuple[int, ...], axis: int) -> tuple[int, ...]:
    """A shape that is no larger, but for its axis, which is any up to 6."""
    return tuple(draw(st.integers(1, 6 if d == axis else n)) for d, n in enumerate(whole))


@case("gather_elements")
def gather_elements(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw, 1, 4, 40))
    axis = draw(st.integers(0, x.ndim - 1))
    return Sample([x, indices(draw, within(draw, x.shape, axis), x.shape[axis])], {"axis": axis})


@case("gather_nd")
def gather_nd(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw, 1, 4, 60))
    batch = draw(st.integers(0, x.ndim - 1))
    k = draw(st.integers(1, x.ndim - batch))
    inner = prod(x.shape[batch + k :])
    tuples = shape(draw, 0, 2, max(80 // (prod(x.shape[:batch]) * inner), 1))
    where = indices(draw, (*x.shape[:batch], *tuples, k), draw(st.sampled_from(x.shape[batch : batch + k])))
    return Sample([x, where], {"batch_dims": batch})


def reducing(draw: Draw) -> tuple[str, str]:
    """A dtype, and a reduction that it has."""
    reduction = draw(st.sampled_from(["none", "add", "mul", "min", "max"]))
    return draw(st.sampled_from(DTYPES if reduction == "none" else [d for d in DTYPES if d in ARITHMETIC])), reduction


ARITHMETIC = ("float32", "int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")


@case("scatter_elements")
def scatter_elements(draw: Draw, op: str) -> Sample:
    dtype, reduction = reducing(draw)
    x = values(draw, dtype, shape(draw, 1, 4, 60))
    axis = draw(st.integers(-x.ndim, x.ndim - 1))
    where = indices(draw, within(draw, x.shape, axis % x.ndim), x.shape[axis])
    return Sample([x, where, values(draw, dtype, where.shape)], {"axis": axis, "reduction": reduction})


@case("scatter_nd")
def scatter_nd(draw: Draw, op: str) -> Sample:
    dtype, reduction = reducing(draw)
    x = values(draw, dtype, shape(draw, 1, 4, 60))
    k = draw(st.integers(1, x.ndim))
    tuples = shape(draw, 0, 2, 12)
    where = indices(draw, (*tuples, k), draw(st.sampled_from(x.shape[:k])))
    inputs: list[Array | None] = [x, where, values(draw, dtype, (*tuples, *x.shape[k:]))]
    if draw(st.booleans()):
        inputs.append(indices(draw, (1,), prod(tuples), where.dtype.name))
    return Sample(inputs, {"reduction": reduction})


@case("tensor_scatter")
def tensor_scatter(draw: Draw, op: str) -> Sample:
    dtype, size = draw(st.sampled_from(DTYPES)), shape(draw, 2, 4, 80)
    axis = draw(st.integers(1, len(size) - 1))
    update = tuple(draw(st.integers(1, n)) if d == axis else n for d, n in enumerate(size))
    inputs: list[Array | None] = [values(draw, dtype, size), values(draw, dtype, update)]
    if draw(st.booleans()):
        inputs.append(indices(draw, size[:1], size[axis]))
    return Sample(inputs, {"axis": axis, "circular": draw(st.integers(0, 1))})


@case("one_hot")
def one_hot(draw: Draw, op: str) -> Sample:
    size, depth = shape(draw, 0, 2, 20), draw(st.integers(1, 6))
    pair = values(draw, draw(st.sampled_from(DTYPES)), (2,))
    where = indices(draw, size, depth, "int64")
    return Sample([where, pair], {"depth": depth, "axis": draw(st.integers(-1, len(size)))})


@case("trilu")
def trilu(draw: Draw, op: str) -> Sample:
    x = values(draw, draw(st.sampled_from(DTYPES)), shape(draw, 2, 4))
    k = draw(st.sampled_from([0, 1, -1, 3, -3, 1 << 40, -1 << 40]))
    return Sample([x], {"k": k, "upper": draw(st.integers(0, 1))})


@case("reverse_sequence")
def reverse_sequence(draw: Draw, op: str) -> Sample:
    x, batch = values(draw, draw(st.sampled_from(DTYPES)), shape(draw, 2, 4)), draw(st.integers(0, 1))
    return Sample([x, indices(draw, (x.shape[batch],), x.shape[1 - batch])], {"batch_axis": batch})


def rows(draw: Draw) -> Array:
    """[rows, n, width], with many equal items."""
    size = (draw(st.integers(1, 3)), draw(st.integers(1, 20)), draw(st.sampled_from([1, 1, 2])))
    x = values(draw, draw(st.sampled_from(SORTED)), size)
    return np.where(values(draw, "bool", size).view(np.uint8) != 0, x, x.reshape(-1)[0]).astype(x.dtype)


SORTED = tuple(d for d in DTYPES if d in (*ARITHMETIC, "bool"))


@case("rank")
def rank(draw: Draw, op: str) -> Sample:
    return Sample([rows(draw)], {"descending": draw(st.integers(0, 1))})


@case("changes")
def changes(draw: Draw, op: str) -> Sample:
    return Sample([rows(draw)], {})


@case("order")
def order(draw: Draw, op: str) -> Sample:
    """Ranks, or any numbers."""
    lines, n = draw(st.integers(1, 4)), draw(st.integers(1, 20))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x = rng.permuted(np.tile(np.arange(n), (lines, 1)), axis=1)
    if draw(st.booleans()):
        x = indices(draw, (lines, n), n, "int64")
    return Sample([x], {"k": draw(st.integers(1, n))})


@case("running_count")
def running_count(draw: Draw, op: str) -> Sample:
    return Sample([values(draw, draw(st.sampled_from(SORTED)), shape(draw, 0, 3))], {})


def counts(draw: Draw, size: tuple[int, ...]) -> Array:
    """Running counts, or any numbers."""
    if draw(st.integers(0, 3)) == 0:
        return values(draw, "int64", size)
    return np.cumsum(values(draw, "bool", size).view(np.uint8) != 0).astype(np.int64).reshape(size)


@case("positions")
def positions(draw: Draw, op: str) -> Sample:
    x = counts(draw, shape(draw, 1, 4, 30))
    capacity = draw(st.integers(1, x.size))
    return Sample([x], {"capacity": capacity, "fill": draw(st.sampled_from([0, -1]))})


@case("group_sizes")
def group_sizes(draw: Draw, op: str) -> Sample:
    return Sample([counts(draw, (draw(st.integers(1, 40)),))], {})


@case("nms_select")
def nms_select(draw: Draw, op: str) -> Sample:
    x = counts(draw, (draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 7))))
    return Sample([x, indices(draw, x.shape, x.shape[2], "int64")], {"capacity": draw(st.integers(1, x.size))})


@case("nms")
def nms(draw: Draw, op: str) -> Sample:
    """Boxes on a coarse grid, of which many overlap, or any numbers; an order that need not be one."""
    batches, classes, n = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 9))
    boxes = values(draw, "int32", (batches, n, 4), low=0, high=6).astype(np.float32)
    if draw(st.integers(0, 3)) == 0:
        boxes = values(draw, "float32", (batches, n, 4))
    scores = values(draw, "float32", (batches, classes, n))
    order = np.argsort(-scores, axis=2)
    if draw(st.booleans()):
        order = indices(draw, scores.shape, n, "int64")
    overlap = values(draw, "float32", (1,)) if draw(st.booleans()) else np.array([0.3], np.float32)
    limit = values(draw, "int64", (1,)) if draw(st.booleans()) else None
    score = values(draw, "float32", (1,)) if draw(st.booleans()) else None
    attrs = {"limit": draw(st.integers(0, n)), "center": draw(st.integers(0, 1))}
    return Sample([boxes, scores, order.astype(np.int64), overlap, limit, score], attrs)
