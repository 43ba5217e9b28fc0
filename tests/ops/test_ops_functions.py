"""Comparisons, logic, shifts, remainders, powers and conversions of every dtype against numpy."""

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import SPECIALS, Array, floats, integers

from opml import powers
from opml.graph import DType
from opml.ops import evaluate

INTEGERS = ["int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64"]
NUMBERS = ["float32", *INTEGERS]
STORED: dict[str, Any] = {"float16": np.float16, "bfloat16": ml_dtypes.bfloat16, "float64": np.float64}
FLOATS: dict[str, Any] = {"float32": np.float32, **STORED}
SEEDS = st.integers(0, 2**16)

# numpy warns of what is meant here: overflow, division by 0, NaN.
pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")


def numbers(dtype: str, seed: int, size: int = 64) -> Array:
    return floats(seed, (size,), 0.5) if dtype == "float32" else integers(seed, (size,), dtype)


def pair(dtype: str, seed: int) -> tuple[Array, Array]:
    a, b = numbers(dtype, seed), numbers(dtype, seed + 1)
    b[::4] = a[::4]
    return a, b


@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_comparisons(dtype: str, seed: int) -> None:
    a, b = pair(dtype, seed)
    for name, reference in (("equal", np.equal), ("less", np.less), ("less_equal", np.less_equal)):
        assert np.array_equal(evaluate(name, [a, b], {}, fast=True), reference(a, b)), name
    condition = np.less(a, b)
    assert evaluate("where", [condition, a, b], {}).tobytes() == np.where(condition, a, b).tobytes()


@pytest.mark.parametrize("dtype", NUMBERS)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_order_and_sign(dtype: str, seed: int) -> None:
    """uint64 is where a signed comparison would be wrong."""
    a, b = pair(dtype, seed)
    for name, reference in (("max", np.maximum), ("min", np.minimum)):
        assert np.array_equal(evaluate(name, [a, b], {}, fast=True), reference(a, b), equal_nan=dtype == "float32")
    with np.errstate(invalid="ignore"):
        for name, reference in (("sign", np.sign), ("abs", np.abs)):
            found = evaluate(name, [a], {}, fast=True)
            assert np.array_equal(found, reference(a), equal_nan=dtype == "float32"), name
    assert evaluate("argmax", [np.nan_to_num(a)], {"axis": 0, "keepdims": 0}) == np.nan_to_num(a).argmax()
    info = np.finfo("float32") if dtype == "float32" else np.iinfo(dtype)
    bounds = (0, 100) if dtype == "float32" else (3, int(info.max) - 2)
    clipped = evaluate("clip", [a], {"min": bounds[0], "max": bounds[1]})
    assert np.array_equal(clipped, np.clip(a, *(np.array(bounds, dtype))), equal_nan=dtype == "float32")


@pytest.mark.parametrize("dtype", INTEGERS)
@settings(max_examples=10)
@given(seed=SEEDS)
def test_integers(dtype: str, seed: int) -> None:
    a, b = pair(dtype, seed)
    bits, kind = np.iinfo(dtype).bits, np.dtype(dtype)
    for name, reference in (("and", np.bitwise_and), ("or", np.bitwise_or), ("xor", np.bitwise_xor)):
        assert np.array_equal(evaluate(name, [a, b], {}, fast=True), reference(a, b))
    assert np.array_equal(evaluate("bitwise_not", [a], {}), np.bitwise_not(a))
    with np.errstate(all="ignore"):
        for name, reference in (("add", np.add), ("sub", np.subtract), ("mul", np.multiply)):
            assert np.array_equal(evaluate(name, [a, b], {}, fast=True), reference(a, b))
        assert np.array_equal(evaluate("mod", [a, b], {}), np.mod(a, b))
        assert np.array_equal(evaluate("fmod", [a, b], {}), np.fmod(a, b))
    expected = [
        0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
        for x, y in zip(ints(a), ints(b), strict=True)
    ]
    assert evaluate("div", [a, b], {}).tolist() == np.array([wrap(v, kind) for v in expected], dtype).tolist()
    few = (np.arange(64) % (bits + 3)).astype(dtype)
    left = [wrap(x << s if s < bits else 0, kind) for x, s in zip(ints(a), ints(few), strict=True)]
    right = [x >> s for x, s in zip(ints(a), ints(few), strict=True)]
    assert evaluate("shift_left", [a, few], {}).tolist() == left
    assert evaluate("shift_right", [a, few], {}).tolist() == right
    power = [wrap(pow(x, s), kind) for x, s in zip(ints(a), ints(few), strict=True)]
    assert evaluate("pow", [a, few], {}).tolist() == power


def ints(values: Array) -> list[int]:
    return [int(value) for value in values]


def wrap(value: int, dtype: np.dtype[Any]) -> int:
    info = np.iinfo(dtype)
    return (value - info.min) % (1 << info.bits) + info.min


def test_integers_beyond_what_numpy_defines() -> None:
    """Division by 0 gives 0; negative powers their integer part; shifts by the width or a negative count the sign."""
    x = np.array([7, -7, 0, 1, -1], np.int32)
    zero, minus = np.zeros(5, np.int32), np.full(5, -3, np.int32)
    for name in ("div", "mod", "fmod"):
        assert evaluate(name, [x, zero], {}).tolist() == [0] * 5
    assert evaluate("pow", [x, minus], {}).tolist() == [0, 0, 0, 1, -1]
    for places in (np.full(5, 32, np.int32), minus):
        assert evaluate("shift_right", [x, places], {}).tolist() == [0, -1, 0, 0, -1]
        assert evaluate("shift_left", [x, places], {}).tolist() == [0] * 5


@settings(max_examples=20)
@given(seed=SEEDS)
def test_the_remainder_of_floats_is_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = (rng.integers(0, 2**32, 2000, dtype=np.uint32).view(np.float32) for _ in range(2))
    a[:500], b[:500] = (rng.choice(SPECIALS, 500) for _ in range(2))
    with np.errstate(invalid="ignore"):
        found, expected = evaluate("fmod", [a, b], {}, fast=True), np.fmod(a, b)
    nan = np.isnan(expected)
    assert np.array_equal(found.view(np.uint32)[~nan], expected.view(np.uint32)[~nan])
    assert np.isnan(found[nan]).all()


ODD = np.array([0, -0.0, 1, -1, 2, -2, 3, -3, 0.5, -0.5, np.inf, -np.inf, np.nan, 1e-45, -1e-45, 3e38, -3e38, 2.5,
                16777217, 16777215, -16777215], np.float32)  # fmt: skip


def test_powers_of_special_numbers_are_those_of_c() -> None:
    x, y = (part.ravel() for part in np.meshgrid(ODD, ODD))
    with np.errstate(all="ignore"):
        expected = np.power(x.astype(np.float64), y.astype(np.float64)).astype(np.float32)
    found = evaluate("pow", [x, y], {}, fast=True)
    assert np.array_equal(found, expected, equal_nan=True)
    known = ~np.isnan(expected)
    assert np.array_equal(np.signbit(found)[known], np.signbit(expected)[known])


def test_the_error_of_powers() -> None:
    """docs/numerics.md states it: against binary64, over the whole range of results."""
    rng, worst = np.random.default_rng(5), 0.0
    for scale in (1e-5, 1e-2, 0.3, 3, 30):
        x = np.exp(scale * rng.standard_normal(400_000)).astype(np.float32)
        y = (rng.uniform(-88, 88, x.size) / np.log(x.astype(np.float64))).astype(np.float32)
        fit = np.isfinite(y) & (x > 0) & np.isfinite(x)
        exact = np.power(x[fit].astype(np.float64), y[fit].astype(np.float64))
        found = evaluate("pow", [x[fit], y[fit]], {}, fast=True).astype(np.float64)
        unit = 2.0 ** np.maximum(np.frexp(exact)[1] - 24, -149)
        worst = max(worst, float((np.abs(found - exact) / unit).max()))
    print(f"\npow: {worst:.2f} ulp")
    assert worst <= 3.5


def test_the_remainder_and_integer_powers_are_total() -> None:
    assert math.isnan(powers.remainder(np.float32(1), np.float32(0)))
    assert powers.integer_power(-1, -5, False) == -1
    assert powers.integer_power(3, -1, True) == pow(3, 2**64 - 1, 2**64) - 2**64


@pytest.mark.parametrize("source", FLOATS)
@pytest.mark.parametrize("target", FLOATS)
@settings(max_examples=5)
@given(seed=SEEDS)
def test_floats_to_floats(source: str, target: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    word = np.dtype(f"uint{8 * np.dtype(FLOATS[source]).itemsize}")
    x = rng.integers(0, np.iinfo(word).max, 3000, word, endpoint=True).view(FLOATS[source])
    with np.errstate(all="ignore"):
        near = (rng.standard_normal(3000).astype(np.float32) * np.exp2(rng.integers(-149, 127, 3000))).astype(
            FLOATS[source]
        )
        x = np.concatenate([x, near])
        expected = x.astype(FLOATS[target])
    found = evaluate("cast", [x], {"to": target}, fast=True)
    view = np.dtype(f"uint{8 * expected.dtype.itemsize}")
    same = found.view(view) == expected.view(view)
    if (source, target) == ("float64", "bfloat16"):
        same |= np.abs(found.view(view).astype(int) - expected.view(view).astype(int)) == 1  # ml_dtypes rounds twice
    if source != target:
        same |= np.isnan(found.astype(np.float64)) & np.isnan(expected.astype(np.float64))
    assert same.all()


@pytest.mark.parametrize("dtype", INTEGERS)
@pytest.mark.parametrize("other", FLOATS)
@settings(max_examples=5)
@given(seed=SEEDS)
def test_integers_to_floats_and_back(dtype: str, other: str, seed: int) -> None:
    x = integers(seed, (500,), dtype)
    found = evaluate("cast", [x], {"to": other}, fast=True)
    expected_bits, bits = (
        v.view(f"int{8 * found.dtype.itemsize}").astype(np.int64) for v in (x.astype(FLOATS[other]), found)
    )
    # ml_dtypes rounds to float32 before it rounds to bfloat16.
    assert np.abs(expected_bits - bits).max() <= (other == "bfloat16")
    info, y = np.iinfo(dtype), floats(seed, (500,), 0.3, float(np.iinfo(dtype).max)).astype(FLOATS[other])
    clamped = [
        0 if math.isnan(v) else info.max if v == math.inf else info.min if v == -math.inf else int(v)
        for v in map(float, y)
    ]
    expected = [min(max(v, int(info.min)), int(info.max)) for v in clamped]
    assert evaluate("cast", [y], {"to": dtype}, fast=True).tolist() == expected


def test_a_bitcast_keeps_the_bits() -> None:
    x = SPECIALS
    assert evaluate("bitcast", [x], {"to": "uint32"}).tobytes() == x.tobytes()
    assert evaluate("bitcast", [x.view(np.int32)], {"to": "float32"}).tobytes() == x.tobytes()
    assert DType("bfloat16").numpy == evaluate("bitcast", [np.zeros(2, np.float16)], {"to": "bfloat16"}).dtype
