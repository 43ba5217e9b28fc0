"""Pools, reductions, softmax, argmax and moves: fast = definition, near numpy and ONNX Runtime."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import Array, assert_same_bits, floats, integers
from ops_runtime import run_onnx

from opml.ops import evaluate

CUTS = st.lists(st.integers(1, 20), max_size=3)
ODD = st.sampled_from([0.0, 0.3])
SHAPE = st.lists(st.integers(1, 7), min_size=1, max_size=4)
LONG = st.sampled_from([1, 2, 8, 15, 16, 17, 33, 100])


def as_array(leaves: Array, like: Array) -> Array:
    return leaves[: like.nbytes].view(like.dtype).reshape(like.shape)


@settings(max_examples=60)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(1, 12), st.integers(1, 37),
    st.tuples(*[st.integers(1, 4)] * 4), st.tuples(*[st.integers(0, 3)] * 4), st.booleans(), st.booleans(), ODD, CUTS,
)  # fmt: skip
def test_pools(
    n: int, c: int, height: int, width: int, window: tuple[int, ...], pads: tuple[int, ...],
    ceil_mode: bool, count_pads: bool, odd: float, cuts: list[int],
) -> None:  # fmt: skip
    kernel, strides = list(window[:2]), list(window[2:])
    height, width = max(height, kernel[0]), max(width, kernel[1])
    pads_ = [min(pads[i], kernel[i % 2] - 1) for i in range(4)]
    x = floats(1, (n, c, height, width), odd)
    attrs = {"strides": strides, "pads": pads_, "ceil_mode": int(ceil_mode)}
    most = assert_same_bits("maxpool", [x], {"kernel": kernel, **attrs}, cuts)  # type: ignore[dict-item]
    mean = assert_same_bits(
        "avgpool",
        [x],
        {"kernel": kernel, "count_include_pad": int(count_pads), **attrs},
        cuts,  # type: ignore[dict-item]
    )
    if not odd:
        theirs = run_onnx("MaxPool", [x], kernel_shape=kernel, **attrs)
        assert np.array_equal(as_array(most, theirs), theirs)
        theirs = run_onnx("AveragePool", [x], kernel_shape=kernel, count_include_pad=int(count_pads), **attrs)
        assert np.allclose(as_array(mean, theirs), theirs, rtol=1e-4, atol=1e-6)


def test_dilated_maximum_and_nan() -> None:
    x = floats(3, (1, 2, 9, 9))
    attrs = {"kernel": [2, 3], "dilations": [3, 2], "pads": [1, 1, 1, 1]}
    leaves = assert_same_bits("maxpool", [x], attrs)  # type: ignore[arg-type]
    theirs = run_onnx("MaxPool", [x], kernel_shape=[2, 3], dilations=[3, 2], pads=[1, 1, 1, 1])
    assert np.array_equal(as_array(leaves, theirs), theirs)
    x[0, 0, 4, 4] = np.nan
    pooled = evaluate("maxpool", [x], {"kernel": [3, 3]})
    assert np.isnan(pooled).sum() == 9


@settings(max_examples=60)
@given(SHAPE, LONG, st.data(), st.sampled_from(["float32", "int32", "int64"]), ODD, CUTS)
def test_reductions(shape: list[int], long: int, data: st.DataObject, dtype: str, odd: float, cuts: list[int]) -> None:
    first = data.draw(st.integers(0, len(shape) - 1))
    last = data.draw(st.integers(first, len(shape) - 1))
    shape = [*shape[:last], long, *shape[last + 1 :]]
    keep = data.draw(st.integers(0, 1))
    x = floats(1, shape, odd) if dtype == "float32" else integers(1, shape, dtype)
    axes = list(range(first, last + 1))
    for name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"):
        if name == "reduce_mean" and dtype != "float32":
            continue
        leaves = assert_same_bits(name, [x], {"axes": axes, "keepdims": keep}, cuts)  # type: ignore[dict-item]
        if not odd:
            function = {"sum": np.sum, "mean": np.mean, "max": np.max, "min": np.min}[name[7:]]
            theirs = np.asarray(function(x, axis=tuple(axes), keepdims=bool(keep))).astype(dtype)
            assert np.allclose(as_array(leaves, theirs), theirs, rtol=1e-4, atol=1e-5)


def test_the_order_of_a_sum_is_the_written_one() -> None:
    x = floats(9, (1, 1003), scale=1e4)
    lanes = np.zeros(16, np.float32)
    for i, value in enumerate(x[0]):
        lanes[i % 16] += value
    for half in (8, 4, 2, 1):
        lanes = lanes[:half] + lanes[half : 2 * half]
    assert evaluate("reduce_sum", [x], {"axes": [1], "keepdims": 0})[0] == lanes[0]
    ascending = np.float32(0)
    for value in x[0]:
        ascending += value
    assert ascending != lanes[0], "another order gives other bits"


@settings(max_examples=40)
@given(SHAPE, LONG, st.data(), ODD, CUTS)
def test_softmax(shape: list[int], long: int, data: st.DataObject, odd: float, cuts: list[int]) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    shape[axis] = long
    x = floats(1, shape, odd, 5)
    leaves = assert_same_bits("softmax", [x], {"axis": axis - len(shape)}, cuts)
    if not odd:
        assert np.allclose(as_array(leaves, x), run_onnx("Softmax", [x], axis=axis), rtol=1e-4, atol=1e-7)


def test_softmax_of_infinities() -> None:
    x = np.array([[-np.inf, 0, -np.inf], [-np.inf] * 3, [np.inf, 0, 0], [np.nan, 0, 0]], np.float32)
    y = evaluate("softmax", [x], {"axis": 1})
    assert y[0].tolist() == [0, 1, 0]
    assert np.isnan(y[1:]).all()
    assert y.tobytes() == evaluate("softmax", [x], {"axis": 1}, fast=True).tobytes()


@settings(max_examples=40)
@given(
    SHAPE, st.data(), st.sampled_from(["float32", "int64", "int32", "int8", "uint8"]), st.integers(0, 1),
    st.integers(0, 1), CUTS,
)  # fmt: skip
def test_argmax(shape: list[int], data: st.DataObject, dtype: str, last: int, keep: int, cuts: list[int]) -> None:
    axis = data.draw(st.integers(0, len(shape) - 1))
    rng = np.random.default_rng(len(shape))
    x = rng.integers(0, 4, shape).astype(dtype)
    attrs = {"axis": axis, "keepdims": keep, "select_last": last}
    leaves = assert_same_bits("argmax", [x], attrs, cuts)  # type: ignore[arg-type]
    flipped = shape[axis] - 1 - np.argmax(np.flip(x, axis), axis)
    theirs = np.asarray(flipped if last else np.argmax(x, axis)).astype(np.int64)
    assert np.array_equal(as_array(leaves, theirs), theirs)


def test_argmax_ties_zeros_and_nan() -> None:
    def of(*values: float, last: int = 0) -> int:
        return int(evaluate("argmax", [np.array(values, np.float32)], {"axis": 0, "keepdims": 0, "select_last": last}))

    assert (of(1, 3, 3), of(1, 3, 3, last=1)) == (1, 2)
    assert (of(-0.0, 0.0), of(0.0, -0.0, last=1)) == (0, 1), "-0 equals +0"
    assert (of(1, np.inf, np.nan, 2, np.nan), of(1, np.nan, np.inf, np.nan, last=1)) == (2, 3)
    assert of(-np.inf, -1, -2, -1e-45) == 3


@settings(max_examples=60)
@given(SHAPE, st.data(), st.sampled_from(["float32", "int64", "int32", "int8", "uint8", "bool"]), CUTS)
def test_moves(shape: list[int], data: st.DataObject, dtype: str, cuts: list[int]) -> None:
    x = floats(1, shape, 0.3) if dtype == "float32" else integers(1, shape, dtype)

    def check(name: str, inputs: list[Array], attrs: dict[str, object], expected: Array) -> None:
        leaves = assert_same_bits(name, inputs, attrs, cuts)  # type: ignore[arg-type]
        assert leaves[: expected.nbytes].tobytes() == np.array(expected, order="C").tobytes()

    rank = len(shape)
    perm = data.draw(st.permutations(range(rank)))
    check("transpose", [x], {"perm": list(perm)}, x.transpose(perm))
    check("copy", [x], {"shape": [x.size]}, x)
    axis = data.draw(st.integers(0, rank - 1))
    parts = [
        np.take(x, range(size), axis)
        for size in data.draw(st.lists(st.integers(1, shape[axis]), min_size=1, max_size=3))
    ]
    check("concat", [x, *parts], {"axis": axis - rank}, np.concatenate([x, *parts], axis))
    starts = [data.draw(st.integers(0, size - 1)) for size in shape]
    steps = [data.draw(st.sampled_from([-2, -1, 1, 2])) for _ in shape]
    pieces = tuple(slice(start, None, step) for start, step in zip(starts, steps, strict=True))
    expected = x[pieces]
    check("slice", [x], {"starts": starts, "steps": steps, "sizes": list(expected.shape)}, expected)
    pads = [data.draw(st.integers(0, 2)) for _ in range(2 * rank)]
    value = 1 if dtype != "float32" else -1.5
    around = list(zip(pads[:rank], pads[rank:], strict=True))
    check("pad", [x], {"pads": pads, "value": value}, np.pad(x, around, constant_values=value))
    wide = (2, *(3 if size == 1 else size for size in shape))
    check("expand", [x], {"shape": list(wide)}, np.broadcast_to(x, wide))


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64"])
def test_pad_is_zero_without_a_value(dtype: str) -> None:
    x = np.ones((2, 2), dtype)
    assert evaluate("pad", [x], {"pads": [1, 0, 0, 1]}).tolist() == [[0, 0, 0], [1, 1, 0], [1, 1, 0]]
