"""What sorts and selects. A result whose size is data has room for the most there can be, and a count (`select`)."""

from math import prod

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Count
from opml.lowering.call import Call, lowers
from opml.lowering.indexing import cut


def select(c: Call, x: str, count: str, axis: int = 0) -> str:
    """A tensor of which as much is meant along `axis` as `count` (int64 [1]) says; cut where that is constant."""
    known = c.build.value(count)
    if known is not None:
        return cut(c, x, [(axis, 0, 1, int(known[0]))])
    c.build.counts[x] = Count(count, axis)
    return x


def last_of(c: Call, counts: str) -> str:
    """The last element of running counts: int64 [1]."""
    n = c.build.type(counts).elements
    return c.emit("slice", [c.view(counts, (n,))], starts=[n - 1], steps=[1], sizes=[1])


def empty(c: Call, shape: list[int], like: str = "") -> str:
    """A constant without elements: int64, or of the type of `like`."""
    return c.build.constant(np.zeros(shape, c.build.type(like).dtype.numpy if like else np.int64))


@lowers("TopK")
def top_k(c: Call) -> tuple[str, str]:
    """Values and indices, always sorted. NaN is greater than every number; of equals the first comes first."""
    x, rank = c.input(), c.rank()
    axis = c.axis(c.integer("axis", -1), rank)
    largest, _ = (c.flag("largest", 1), c.flag("sorted", 1)) if c.opset >= 11 else (1, 1)
    given = [c.integer("k", -1)] if c.opset < 10 else c.constant_ints(1, "K")
    n = c.shape()[axis]
    if len(given) != 1 or not 0 <= given[0] <= n:
        raise UnsupportedError(f"K {given} of {n} elements")
    k = given[0]
    perm = [*(d for d in range(rank) if d != axis), axis]
    back = [perm.index(d) for d in range(rank)]
    shape = [c.shape()[d] for d in perm[:-1]]
    if k == 0:
        shape.insert(axis, 0)
        return empty(c, shape, x), empty(c, shape)
    lines = c.view(c.build.transpose(x, perm), (prod(shape), n))
    ranks = c.emit("rank", [c.view(lines, (prod(shape), n, 1))], descending=largest)
    order = c.emit("order", [ranks], k=k)
    values = c.emit("gather_elements", [lines, order], axis=1)
    first, second = (c.build.transpose(c.view(y, (*shape, k)), back) for y in (values, order))
    return first, second


@lowers("NonZero")
def non_zero(c: Call) -> str:
    """The coordinates, int64 [rank, count], in the order of memory; a scalar counts as a vector."""
    dims = list(c.shape()) or [1]
    if 0 in dims:
        return empty(c, [len(dims), 0])
    counts = c.emit("running_count", [c.input()])
    return select(c, c.emit("positions", [counts], dims=dims), last_of(c, counts), 1)


@lowers("Compress")
def compress(c: Call) -> str:
    """What the condition takes along an axis, or of all elements; where the condition has ended, nothing is taken."""
    x, condition = c.input(0), c.input(1)
    if "axis" in c.node.attrs:
        axis = c.axis(c.integer("axis", 0), c.rank())
    else:
        x, axis = c.view(x, (prod(c.shape()),)), 0
    n = min(c.build.type(condition).elements, c.build.shape(x)[axis])
    if c.rank(1) != 1 or n == 0:
        raise UnsupportedError(f"a condition of shape {list(c.shape(1))} for {list(c.shape())}")
    counts = c.emit("running_count", [cut(c, condition, [(0, 0, 1, n)])])
    places = c.view(c.emit("positions", [counts], fill=-1), (n,))
    return select(c, c.emit("gather", [x, places], axis=axis, zeros=1), last_of(c, counts), axis)


@lowers("Unique")
def unique(c: Call) -> tuple[str, ...]:
    """Distinct elements, or slices along an axis; where each is first, which each element is, and how many there are.

    Order and equality are those of `opml.ops.sort`: all NaN are equal, and so are +0 and -0; a group shows its first.
    """
    x, sorted_ = c.input(), c.flag("sorted", 1)
    if "axis" in c.node.attrs:
        axis = c.axis(c.integer("axis", 0), c.rank())
        x = c.build.transpose(x, [axis, *(d for d in range(c.rank()) if d != axis)])
    else:
        x, axis = c.view(x, (prod(c.shape()),)), 0
    shape = c.build.shape(x)
    n, width = shape[0], prod(shape[1:])
    items = c.view(x, (n, width))
    ranks = c.view(c.emit("rank", [c.view(items, (1, n, width))], descending=0), (n,))
    order = c.view(c.emit("order", [c.view(ranks, (1, n))], k=n), (n,))
    ordered = c.emit("gather", [items, order], axis=0)
    heads = c.view(c.emit("changes", [c.view(ordered, (1, n, width))]), (n,))
    counts = c.emit("running_count", [heads])
    one = c.build.constant(np.ones(1, np.int64))
    # Of each item the number of its group in ascending order, and of each group the item that is its first.
    group = c.emit("sub", [c.emit("gather", [counts, ranks], axis=0), one])
    starts = c.view(c.emit("positions", [counts], fill=-1), (n,))
    first = _picked(c, order, starts)
    sizes = c.emit("group_sizes", [counts])
    if not sorted_:
        # By first appearance: an item is its group's first where its rank is the start of a group.
        counts = c.emit("running_count", [c.emit("gather", [heads, ranks], axis=0)])
        firsts = c.view(c.emit("positions", [counts], fill=-1), (n,))
        mine = c.emit("gather", [first, group], axis=0)
        sizes = c.emit("gather", [sizes, _picked(c, group, firsts)], axis=0, zeros=1)
        group, first = c.emit("sub", [c.emit("gather", [counts, mine], axis=0), one]), firsts
    count = last_of(c, counts)
    values = c.view(c.emit("gather", [items, first], axis=0, zeros=1), shape)
    values = c.build.transpose(values, [*range(1, axis + 1), 0, *range(axis + 1, len(shape))])
    # An absent first item is -1 so far.
    indices = c.emit("max", [first, c.build.constant(np.zeros(1, np.int64))])
    return select(c, values, count, axis), select(c, indices, count), group, select(c, sizes, count)


def _picked(c: Call, x: str, places: str) -> str:
    """x[places], and -1 where the place is -1."""
    picked = c.emit("gather", [x, places], axis=0, zeros=1)
    return c.emit("add", [picked, c.emit("min", [places, c.build.constant(np.zeros(1, np.int64))])])


@lowers("NonMaxSuppression")
def non_max_suppression(c: Call) -> str:
    """Rows (batch, class, box), int64 [count, 3]: of each batch and class the kept boxes, the best first."""
    boxes, scores, center = c.input(0), c.input(1), c.flag("center_point_box")
    if c.rank(0) != 3 or c.rank(1) != 3:
        raise UnsupportedError(f"boxes {list(c.shape(0))} and scores {list(c.shape(1))}")
    batches, classes, n = c.shape(1)
    limit, given = n, ""
    if not c.optional(2):
        limit = 0
    elif (most := c.build.value(c.input(2))) is None:
        given = c.view(c.input(2), (1,))
    elif most.size == 1:
        limit = min(max(int(most.reshape(())), 0), n)
    else:
        raise UnsupportedError(f"input 'max_output_boxes_per_class' has {most.size} elements")
    overlap = c.view(c.input(3), (1,)) if c.optional(3) else c.build.constant(np.zeros(1, np.float32))
    least = c.view(c.input(4), (1,)) if c.optional(4) else ""
    if limit == 0:
        return empty(c, [0, 3])
    lines = c.view(scores, (batches * classes, n, 1))
    ranks = c.emit("rank", [lines], descending=1)
    order = c.view(c.emit("order", [ranks], k=n), (batches, classes, n))
    counts = c.emit("nms", [boxes, scores, order, overlap, given, least], limit=limit, center=center)
    rows = c.emit("nms_select", [counts, order], capacity=batches * classes * limit)
    return select(c, rows, last_of(c, counts))
