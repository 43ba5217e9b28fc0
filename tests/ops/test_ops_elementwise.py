"""Unary and binary operators, casts: fast = definition, bit for bit; and what each does with odd values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import SPECIALS, Array, assert_same_bits, floats, integers
from ops_runtime import run_onnx

from opml.ops import evaluate

CUTS = st.lists(st.integers(1, 20), max_size=3)
FLOAT_UNARY = {
    "relu": ("Relu", {}), "leaky_relu": ("LeakyRelu", {"alpha": 0.2}), "sigmoid": ("Sigmoid", {}), "tanh": ("Tanh", {}),
    "exp": ("Exp", {}), "log": ("Log", {}), "sqrt": ("Sqrt", {}), "abs": ("Abs", {}), "neg": ("Neg", {}),
    "erf": ("Erf", {}), "floor": ("Floor", {}), "ceil": ("Ceil", {}), "reciprocal": ("Reciprocal", {}),
    "hard_sigmoid": ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}),
}  # fmt: skip
BINARY = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "max": "Max", "min": "Min"}
DTYPES = ["float32", "int64", "int32", "int8", "uint8", "bool"]


def as_array(leaves: Array, like: Array) -> Array:
    return leaves[: like.nbytes].view(like.dtype).reshape(like.shape)


@pytest.mark.parametrize("name", FLOAT_UNARY)
@settings(max_examples=12)
@given(st.integers(1, 70), st.sampled_from([0.0, 0.5, 1.0]), CUTS, st.integers(0, 99))
def test_unary_is_its_definition_and_near_onnx(name: str, n: int, odd: float, cuts: list[int], seed: int) -> None:
    op, attrs = FLOAT_UNARY[name]
    x = floats(seed, (n,), odd, 3)
    if name in ("log", "sqrt") and not odd:
        x = np.abs(x)
    ours = as_array(assert_same_bits(name, [x], dict(attrs), cuts), x)
    assert not (np.isnan(ours) & (ours.view(np.uint32) != 0x7FC00000)).any(), "every NaN is the canonical one"
    if not odd:
        assert np.allclose(ours, run_onnx(op, [x], **attrs), rtol=1e-4, atol=1e-6)


@settings(max_examples=30)
@given(st.sampled_from(["float32", "int32", "int64"]), st.integers(1, 40), CUTS, st.integers(0, 99))
def test_clip_neg_abs_relu_of_all_numbers(dtype: str, n: int, cuts: list[int], seed: int) -> None:
    x = floats(seed, (n,), 0.5) if dtype == "float32" else integers(seed, (n,), dtype)
    for name in ("neg", "abs", "relu"):
        assert_same_bits(name, [x], {}, cuts)
    bounds = {"min": -2, "max": 3}
    ours = as_array(assert_same_bits("clip", [x], dict(bounds), cuts), x)
    assert np.array_equal(ours, np.clip(x, x.dtype.type(-2), x.dtype.type(3)), equal_nan=dtype == "float32")
    assert_same_bits("clip", [x], {}, cuts)
    assert_same_bits("clip", [x], {"min": 5, "max": 1}, cuts)


def f32(*values: float) -> Array:
    return np.array(values, np.float32)


def bits(values: Array) -> list[int]:
    return [int(v) for v in values.view(np.uint32)]


def test_zeros_and_nans_follow_the_written_rules() -> None:
    assert bits(evaluate("relu", [f32(-0.0, 0.0, np.nan, -1.0)], {})) == [0, 0, 0x7FC00000, 0]
    zeros, swapped = f32(0.0, -0.0), f32(-0.0, 0.0)
    assert bits(evaluate("max", [zeros, swapped], {})) == [0, 0]
    assert bits(evaluate("min", [zeros, swapped], {})) == [0x80000000, 0x80000000]
    assert np.isnan(evaluate("max", [f32(np.nan, 1), f32(1, np.nan)], {})).all()
    assert bits(evaluate("neg", [f32(0.0, -0.0)], {})) == [0x80000000, 0]
    assert bits(evaluate("leaky_relu", [f32(-0.0)], {"alpha": 0.5})) == [0x80000000]
    assert bits(evaluate("ceil", [f32(-0.5, -0.0)], {})) == [0x80000000, 0x80000000]
    assert bits(evaluate("floor", [f32(0.5, -0.0, -0.5)], {})) == [0, 0x80000000, 0xBF800000]
    assert evaluate("exp", [f32(-np.inf, np.inf, 0, 88.8, -104)], {}).tolist() == [0, np.inf, 1, np.inf, 0]
    assert evaluate("log", [f32(0, -0.0, np.inf, 1)], {}).tolist() == [-np.inf, -np.inf, np.inf, 0]
    assert np.isnan(evaluate("log", [f32(-1, -np.inf, -1e-45)], {})).all()
    assert evaluate("tanh", [f32(-np.inf, np.inf, -0.0)], {}).tolist() == [-1, 1, 0]


@pytest.mark.parametrize("name", BINARY)
@settings(max_examples=25)
@given(
    st.lists(st.tuples(st.integers(1, 5), st.sampled_from("abx")), min_size=0, max_size=4), st.integers(0, 2),
    st.sampled_from(["float32", "int32", "int64"]), st.sampled_from([0.0, 0.4]), CUTS,
)  # fmt: skip
def test_binary_broadcasts(
    name: str, dims: list[tuple[int, str]], cut: int, dtype: str, odd: float, cuts: list[int]
) -> None:
    """Dimensions marked a or b are 1 in that operand; b may lack the leading ones."""
    left = tuple(1 if mark == "a" else size for size, mark in dims)
    right = tuple(1 if mark == "b" else size for size, mark in dims)[cut:]
    if dtype == "float32":
        a, b = floats(1, left, odd), floats(2, right, odd)
    else:
        a, b = integers(1, left, dtype), integers(2, right, dtype)
    for p, q in ((a, b), (b, a)):
        leaves = assert_same_bits(name, [p, q], {}, cuts)
        if dtype == "float32" and not odd:
            theirs = run_onnx(BINARY[name], [p, q])
            assert np.allclose(as_array(leaves, theirs), theirs, rtol=1e-6)
        elif dtype != "float32" and name != "div":
            with np.errstate(over="ignore"):
                numpy = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
                theirs = np.asarray(numpy[name](p, q))
            assert np.array_equal(as_array(leaves, theirs), theirs)


@pytest.mark.parametrize("dtype", ["int32", "int64"])
def test_integer_division_truncates_and_is_total(dtype: str) -> None:
    info = np.iinfo(dtype)
    a = np.array([7, -7, 7, -7, 5, 0, info.min, info.min, info.min, info.max, info.min], dtype)
    b = np.array([2, 2, -2, -2, 0, 0, -1, 1, info.min, -1, 0], dtype)
    expected = [3, -3, -3, 3, 0, 0, info.min, info.min, 1, -info.max, 0]
    assert evaluate("div", [a, b], {}).tolist() == expected
    assert evaluate("div", [a, b], {}, fast=True).tolist() == expected


def c_cast(value: float, dtype: str) -> float | int | bool:
    """The written rule of a cast from float32."""
    if dtype == "bool":
        return value != 0
    if np.isnan(value):
        return 0
    info = np.iinfo(dtype)
    return max(min(int(value), info.max), info.min) if np.isfinite(value) else (info.max if value > 0 else info.min)


@pytest.mark.parametrize("target", DTYPES)
@settings(max_examples=20)
@given(st.sampled_from(DTYPES), st.integers(1, 70), CUTS, st.integers(0, 99))
def test_casts_are_total(target: str, source: str, n: int, cuts: list[int], seed: int) -> None:
    if source == "float32":
        scale = np.float32(10.0) ** np.random.default_rng(seed).integers(-2, 20, n).astype(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            x: Array = floats(seed, (n,), 0.3) * scale
    else:
        x = integers(seed, (n,), source)
    leaves = assert_same_bits("cast", [x], {"to": target}, cuts)
    like = np.zeros(n, target)
    ours = as_array(leaves, like)
    if source == target == "float32":
        assert ours.tobytes() == x.tobytes()
    elif source == "float32":
        assert ours.tolist() == [c_cast(float(value), target) for value in x]
    else:
        assert np.array_equal(ours, x.astype(target))


def test_a_bool_is_whatever_is_not_zero() -> None:
    x = np.array([0, 1, 2, 255], np.uint8).view(bool)
    assert evaluate("cast", [x], {"to": "int32"}).tolist() == [0, 1, 1, 1]
    assert evaluate("cast", [x], {"to": "bool"}).view(np.uint8).tolist() == [0, 1, 1, 1]


def test_copies_keep_the_bits_of_nan_and_arithmetic_does_not() -> None:
    assert evaluate("copy", [SPECIALS], {}).tobytes() == SPECIALS.tobytes()
    added = evaluate("add", [SPECIALS, np.zeros(1, np.float32)], {})
    assert {int(v) for v in added.view(np.uint32)[np.isnan(added)]} == {0x7FC00000}
    assert bits(evaluate("add", [f32(1e-45), f32(1e-45)], {})) == [2], "subnormals are kept"
