"""Gathers, scatters, sorting and selecting beside numpy, with indices that lead anywhere."""

import numpy as np
import pytest
from ops_helpers import Array, assert_same_bits, floats, integers

from opml.errors import UnsupportedError
from opml.graph import DType, TensorType
from opml.ops import OPS, evaluate
from opml.program import MAX_TILE_STEPS

DTYPES = ("float32", "int64", "int32", "int16", "int8", "uint8", "uint16", "uint32", "uint64", "bool")
EXTREMES = np.array([-(1 << 63), (1 << 63) - 1, 1 << 62, -(1 << 62), 1 << 32, -1, 0, 6, 7, 8, -7, -8], np.int64)


def some(dtype: str, *shape: int, seed: int = 0) -> Array:
    return floats(seed, shape, odd=0.3) if dtype == "float32" else integers(seed, shape, dtype)


def within(indices: Array, n: int) -> Array:
    """The written rule: from the end if negative, then the nearest that there is. Python's integers do not overflow."""
    places = [min(max(int(i) + n if i < 0 else int(i), 0), n - 1) for i in indices.reshape(-1)]
    return np.array(places, np.int64).reshape(indices.shape)


def same(name: str, inputs: list[Array | None], expected: Array, **attrs: object) -> None:
    """Definition and fast kernel give the expected bits."""
    leaves = assert_same_bits(name, inputs, attrs, cuts=(1, 3))  # type: ignore[arg-type]
    assert leaves[: expected.nbytes].tobytes() == np.ascontiguousarray(expected).tobytes()


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("axis", [0, 1, 2, -1])
def test_gather(dtype: str, axis: int) -> None:
    x = some(dtype, 7, 7, 7)
    same("gather", [x, EXTREMES], np.take(x, within(EXTREMES, 7), axis), axis=axis)
    small = np.array([[0, -1], [3, -7], [1 << 31 - 1, -(1 << 31)]], np.int32)
    same("gather", [x, small], np.take(x, within(small, 7), axis), axis=axis)


def test_gather_of_nothing_is_zeros() -> None:
    x = some("int16", 3, 7)
    expected = np.where((EXTREMES >= 0) & (EXTREMES < 7), np.take(x, within(EXTREMES, 7), 1), 0).astype(np.int16)
    same("gather", [x, EXTREMES], expected, axis=1, zeros=1)


@pytest.mark.parametrize("dtype", DTYPES)
def test_gather_elements_and_nd(dtype: str) -> None:
    x = some(dtype, 3, 7, 4)
    indices = np.resize(EXTREMES, (2, 9, 4))
    same("gather_elements", [x, indices], np.take_along_axis(x[:2], within(indices, 7), 1), axis=1)
    pairs = np.resize(np.append(EXTREMES, 1), (3, 5, 2))
    first, second = within(pairs[..., 0], 7), within(pairs[..., 1], 4)
    expected = np.stack([x[b][first[b], second[b]] for b in range(3)])
    same("gather_nd", [x, pairs], expected, batch_dims=1)


REDUCTIONS = {"none": None, "add": np.add, "mul": np.multiply, "min": np.minimum, "max": np.maximum}


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_scatters_apply_updates_in_their_order(dtype: str, reduction: str) -> None:
    """One after the other into numpy's memory, each sum rounded."""
    if dtype == "bool" and reduction != "none":
        with pytest.raises(UnsupportedError, match="bool"):
            evaluate(
                "scatter_nd", [np.ones(3, bool), np.zeros((1, 1), np.int64), np.ones(1, bool)], {"reduction": "add"}
            )
        return
    # Numbers without NaN, of which numpy keeps the payload; both zeros, which have an order here.
    make = (
        (lambda s, *shape: floats(s, shape)) if dtype == "float32" else (lambda s, *shape: some(dtype, *shape, seed=s))
    )
    x, indices = make(1, 7, 3), np.resize(EXTREMES, (12, 2))
    updates = make(2, 12, 2)
    expected = x.copy()
    with np.errstate(all="ignore"):
        for i, j in np.ndindex(indices.shape):
            place = (within(indices, 7)[i, j], j)
            old, new = expected[place], updates[i, j]
            expected[place] = new if reduction == "none" else REDUCTIONS[reduction](old, new)  # type: ignore[misc]
        same("scatter_elements", [x, indices, updates], expected, axis=0, reduction=reduction)

        rows = make(3, 12, 3)
        expected = x.copy()
        for i, place in enumerate(within(EXTREMES, 7)):
            old = expected[place]
            expected[place] = rows[i] if reduction == "none" else REDUCTIONS[reduction](old, rows[i])  # type: ignore[misc]
        same("scatter_nd", [x, EXTREMES[:, None], rows], expected, reduction=reduction)


def test_scatter_applies_as_many_tuples_as_count() -> None:
    x, rows = np.zeros(7, np.int32), np.arange(1, 13, dtype=np.int32)
    for count in (-(1 << 63), 0, 5, 12, 13, (1 << 63) - 1):
        n = min(max(count, 0), 12)
        expected = x.copy()
        for i, place in enumerate(within(EXTREMES[:n], 7)):
            expected[place] = rows[i]
        same("scatter_nd", [x, EXTREMES[:, None], rows, np.array([count])], expected)


@pytest.mark.parametrize("circular", [0, 1])
def test_tensor_scatter(circular: int) -> None:
    cache, update = some("int16", 12, 2, 7, 3), some("int16", 12, 2, 4, 3, seed=1)
    expected = cache.copy()
    for b, start in enumerate(within(EXTREMES, 7)):
        for i in range(4):
            at = start + i
            if circular or at < 7:
                expected[b, :, at % 7] = update[b, :, i]
    same("tensor_scatter", [cache, update, EXTREMES], expected, axis=2, circular=circular)


def test_one_hot_is_off_outside() -> None:
    wrapped = np.where(EXTREMES < 0, EXTREMES + 7, EXTREMES)
    expected = np.where(wrapped[:, None] == np.arange(7), np.int8(5), np.int8(-3))
    same("one_hot", [EXTREMES, np.array([-3, 5], np.int8)], expected, depth=7, axis=-1)
    same("one_hot", [EXTREMES, np.array([-3, 5], np.int8)], expected.T, depth=7, axis=0)


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [0, 2, -3, 99, -99])
def test_trilu(k: int, upper: int) -> None:
    x = some("float32", 2, 5, 7)
    bits = (np.triu if upper else np.tril)(x.view(np.int32), k)
    same("trilu", [x], bits.view(np.float32), k=k, upper=upper)


@pytest.mark.parametrize("batch", [0, 1])
def test_reverse_sequence(batch: int) -> None:
    x = some("int64", 12, 7, 2)
    expected = x.copy()
    for b, length in enumerate(np.clip(EXTREMES, 0, 7)):
        expected[b, :length] = x[b, :length][::-1]
    axes = (1, 0, 2) if batch else (0, 1, 2)
    same("reverse_sequence", [x.transpose(axes), EXTREMES], expected.transpose(axes), batch_axis=batch)


@pytest.mark.parametrize("descending", [0, 1])
@pytest.mark.parametrize("dtype", DTYPES)
def test_ranks_are_a_stable_sort(dtype: str, descending: int) -> None:
    """NaN above all, both zeros equal, of equals the first first; uint64 beyond the signed range."""
    x = some(dtype, 3, 90)
    x[:, 30:60] = x[:, :30]
    plain = [[float("inf") if v != v else v for v in row] for row in x.tolist()]
    nan = [[v != v for v in row] for row in x.tolist()]
    expected = np.zeros(x.shape, np.int64)
    for r in range(3):
        sign = -1 if descending else 1
        order = sorted(range(90), key=lambda i: (sign * nan[r][i], sign * plain[r][i], i))
        expected[r, order] = np.arange(90)
    same("rank", [x[..., None]], expected, descending=descending)
    same("order", [expected], np.argsort(expected, axis=1)[:, :10].astype(np.int64), k=10)


def test_rows_are_compared_element_by_element() -> None:
    x = integers(1, (1, 40, 3), "bool")
    order = sorted(range(40), key=lambda i: (x[0, i].tolist(), i))
    same("rank", [x], np.argsort(order).astype(np.int64)[None], descending=0)
    ordered = x[:, order]
    changes = [True, *(ordered[0, i].tolist() != ordered[0, i - 1].tolist() for i in range(1, 40))]
    same("changes", [ordered], np.array([changes]))


@pytest.mark.parametrize("dtype", [*DTYPES, "float16", "float64"])
def test_what_is_not_zero_is_counted_and_found(dtype: str) -> None:
    """-0 is zero; a NaN and the smallest subnormal number are not."""
    x = np.zeros((4, 5, 6), dtype)
    taken = np.random.default_rng(0).random(x.shape) < 0.3
    x[taken] = some(dtype, int(taken.sum())) if dtype in DTYPES else np.float32(1e-7)
    if dtype.startswith("float"):
        x[~taken] = -0.0
        x[0, 0, :2] = [np.nan, np.finfo(dtype).smallest_subnormal]
    running = np.cumsum(x.reshape(-1) != 0).astype(np.int64).reshape(x.shape)
    same("running_count", [x], running)
    found = np.stack(np.nonzero(x)).astype(np.int64)
    for fill in (0, -1):
        expected = np.full((3, 120), fill, np.int64)
        expected[:, : found.shape[1]] = found
        same("positions", [running], expected, fill=fill)


def test_what_does_not_fit_is_refused() -> None:
    x, i = np.zeros((3, 4), np.float32), np.zeros((2, 4), np.int64)
    refusals: list[tuple[str, list[Array], dict[str, object]]] = [
        ("gather", [x, i.astype(np.float32)], {"axis": 0}),
        ("gather", [x, i], {"axis": 2}),
        ("gather_elements", [x, np.zeros((3, 5), np.int64)], {"axis": 0}),
        ("gather_nd", [x, np.zeros((2, 3), np.int64)], {"batch_dims": 0}),
        ("gather_nd", [x, np.zeros((2, 1), np.int64)], {"batch_dims": 1}),
        ("scatter_elements", [x, i, x], {"axis": 0}),
        ("scatter_elements", [x, i, x[:2]], {"axis": 0, "reduction": "mean"}),
        ("scatter_elements", [x, i, i], {"axis": 0}),
        ("scatter_nd", [x, np.zeros((2, 1), np.int64), x], {}),
        ("scatter_nd", [x, np.zeros((3, 1), np.int64), x, np.zeros(2, np.int64)], {}),
        ("tensor_scatter", [x, np.zeros((3, 5), np.float32)], {"axis": 1}),
        ("tensor_scatter", [x, x], {"axis": 0}),
        ("one_hot", [i, x[0]], {"depth": 3, "axis": 0}),
        ("one_hot", [i, x[0, :2]], {"depth": 0, "axis": 0}),
        ("trilu", [x[0]], {}),
        ("reverse_sequence", [x, np.zeros(4, np.int64)], {"batch_axis": 0}),
        ("rank", [x], {}),
        ("order", [i], {"k": 5}),
        ("positions", [i], {"dims": [2, 3]}),
        ("positions", [i], {"capacity": 9}),
        ("group_sizes", [i], {}),
        ("nms_select", [i, i], {"capacity": 1}),
    ]
    for name, inputs, attrs in refusals:
        with pytest.raises(UnsupportedError, match=name):
            evaluate(name, inputs, attrs)  # type: ignore[arg-type]


LARGE: list[tuple[str, list[TensorType | None], dict[str, object]]] = [
    ("rank", [TensorType(DType.FLOAT32, (1, 1_000_000, 1))], {"descending": 1}),
    ("order", [TensorType(DType.INT64, (1, 10_000_000))], {"k": 100}),
    ("positions", [TensorType(DType.INT64, (10_000_000,))], {}),
    (
        "nms",
        [
            TensorType(DType.FLOAT32, (1, 30_000, 4)),
            TensorType(DType.FLOAT32, (1, 90, 30_000)),
            TensorType(DType.INT64, (1, 90, 30_000)),
            TensorType(DType.FLOAT32, (1,)),
            None,
            None,
        ],
        {"limit": 30_000, "center": 0},
    ),
]


@pytest.mark.parametrize(("name", "types", "attrs"), LARGE)
def test_a_tile_of_a_large_one_is_small_enough(name: str, types: list[TensorType | None], attrs: dict) -> None:  # type: ignore[type-arg]
    out = OPS[name].infer(types, attrs)
    assert OPS[name].cost(types, out, attrs) < MAX_TILE_STEPS
