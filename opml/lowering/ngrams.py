"""How often n-grams of integers occur in a row: each place of the row is compared with each n-gram that is known."""

from itertools import pairwise

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import Array
from opml.lowering.call import Call, lowers
from opml.lowering.indexing import cut


@lowers("TfIdfVectorizer")
def tf_idf(c: Call) -> str:
    """Rows [C] or [N, C] → float32 counts, weights of what occurs, or weighted counts, in the columns asked for."""
    mode, columns, grams = c.text("mode", ""), c.integers("ngram_indexes"), _grams(c)
    shortest, longest = c.integer("min_gram_length", 0), c.integer("max_gram_length", 0)
    skips = c.integer("max_skip_count", -1) + 1
    if mode not in ("TF", "IDF", "TFIDF") or not 1 <= shortest <= longest or skips < 1:
        raise UnsupportedError(f"mode {mode!r} of n-grams of {shortest} to {longest} elements, {skips - 1} skipped")
    if not columns or len(columns) != sum(map(len, grams)) or len({*columns}) < len(columns) or min(columns) < 0:
        raise UnsupportedError("attribute 'ngram_indexes' does not name one column for each n-gram")
    if not 1 <= c.rank() <= 2 or 0 in c.shape():
        raise UnsupportedError(f"a tensor of shape {list(c.shape())}")
    rows = c.view(c.input(), c.shape() if c.rank() == 2 else (1, *c.shape()))
    x = rows if c.build.type(rows).dtype.value == "int64" else c.emit("cast", [rows], to="int64")
    n, length = c.build.shape(x)

    counts = []
    for size, known in enumerate(grams, 1):
        total = c.build.filled((n, len(known))) if len(known) else ""
        # Between neighbours of one element there is nothing to skip.
        reach = range(1, 1 + (skips if size > 1 else 1)) if len(known) and shortest <= size <= longest else ()
        for step in reach:
            places = length - step * (size - 1)
            if places < 1:
                break
            total = c.emit("add", [total, _occurrences(c, x, known, step, places)])
        counts += [total] * bool(total)

    width = max(columns) + 1
    c.build.take(8 * width)
    source = np.full(width, len(columns), np.int64)
    source[columns] = np.arange(len(columns))
    table = c.build.concat([*counts, c.build.filled((n, 1))], 1)
    y = c.emit("gather", [table, c.build.constant(source)], axis=1)
    return c.view(_weighted(c, y, mode, columns), (n, width) if c.rank() == 2 else (width,))


def _grams(c: Call) -> list[Array]:
    """The n-grams that are known, by their length: int64 [K, 1], [K, 2], …"""
    pool, starts = c.integers("pool_int64s") or [], c.integers("ngram_counts") or []
    edges = [*starts, len(pool)]
    fits = all(0 <= a <= b <= len(pool) and not (b - a) % n for n, (a, b) in enumerate(pairwise(edges), 1))
    if not pool or not fits or starts[0] != 0:
        raise UnsupportedError(f"attribute 'ngram_counts' is {starts[:8]} for {len(pool)} integers of 'pool_int64s'")
    return [np.array(pool[a:b], np.int64).reshape(-1, n) for n, (a, b) in enumerate(pairwise(edges), 1)]


def _occurrences(c: Call, x: str, known: Array, step: int, places: int) -> str:
    """How often each n-gram occurs in x [N, C], its elements `step` apart: float32 [N, K]."""
    n, found = c.build.shape(x)[0], ""
    for index in range(known.shape[1]):
        here = c.view(cut(c, x, [(1, index * step, 1, places)]), (n, places, 1))
        same = c.emit("equal", [here, c.build.shared(known[:, index].reshape(1, 1, -1))])
        found = c.emit("and", [found, same]) if found else same
    return c.emit("reduce_sum", [c.emit("cast", [found], to="float32")], axes=[1], keepdims=0)


def _weighted(c: Call, counts: str, mode: str, columns: list[int]) -> str:
    """What a mode makes of counts. Weights belong to n-grams in the standard, to columns in its runtimes: opml has what
    is both.
    """
    weights = c.numbers("weights")
    if mode == "TF":
        return counts
    if mode == "IDF":
        counts = c.emit("clip", [counts], min=0.0, max=1.0)
    if not weights:
        return counts
    if columns != [*range(len(columns))] or len(weights) != len(columns):
        raise UnsupportedError("attribute 'weights' with columns in another order than the n-grams")
    return c.emit("mul", [counts, c.build.constant(np.array(weights, np.float32))])
