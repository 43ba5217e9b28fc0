"""The softfloat against exact rational arithmetic, and against the hardware on millions of operands."""

import itertools
from fractions import Fraction

import numpy as np
import pytest
from guest_loops import ADD, DIV, MUL, SUB, first_wrong_fma, first_wrong_order, first_wrong_pair, first_wrong_sqrt
from hypothesis import example, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from opml import fpenv
from vm.guest import softfloat

Bits = NDArray[np.int32]

MASK = 0xFFFFFFFF
CORNERS = [
    sign | magnitude
    for sign in (0, 0x80000000)
    for magnitude in (
        *(0, 1, 2, 0x3FFFFF, 0x400000, 0x7FFFFE, 0x7FFFFF, 0x800000, 0x800001, 0xFFFFFF, 0x1000000),
        *(0x3F7FFFFF, 0x3F800000, 0x3F800001, 0x3FFFFFFF, 0x40000000, 0x34000000, 0x33FFFFFF, 0x33800000),
        *(0x7F000000, 0x7F7FFFFE, 0x7F7FFFFF, 0x7F800000, 0x7F800001, 0x7FC00000, 0x7FFFFFFF),
    )
]
operands = st.sampled_from(CORNERS) | st.integers(0, MASK)


def sext(bits: int) -> int:
    return bits - (bits >> 31 << 32)


def floats(*bits: int) -> NDArray[np.float32]:
    return np.array(bits, np.uint32).view(np.float32)


def is_finite(bits: int) -> bool:
    return bits & 0x7F800000 != 0x7F800000


def value(bits: int) -> Fraction:
    return Fraction(float(floats(bits)[0]))


def rounded(exact: Fraction, zero_sign: int) -> int:
    """The bits of the nearest binary32, ties to even; `zero_sign` is the sign of an exact zero."""
    if exact == 0:
        return zero_sign & 0x80000000
    sign, magnitude = 0x80000000 if exact < 0 else 0, abs(exact)
    # The exponent of the last place: the leading bit is 23 places up, but never below the smallest subnormal.
    place = max(magnitude.numerator.bit_length() - magnitude.denominator.bit_length() - 24, -149)
    while magnitude / Fraction(2) ** place >= 1 << 24:
        place += 1
    integer = round(magnitude / Fraction(2) ** place)  # Python rounds halves to even
    # An integer of 2**24 carries into the exponent by itself, past the largest number to infinity.
    return sign | min(((place + 149) << 23) + integer, 0x7F800000)


@settings(max_examples=400, deadline=None)
@given(operands, operands, operands)
@example(0x33800800, 0x3F7FF001, 0x3F800000)
def test_fma_is_the_rounded_exact_value(a: int, b: int, c: int) -> None:
    result = softfloat.fma(sext(a), sext(b), sext(c)) & MASK
    if is_finite(a) and is_finite(b) and is_finite(c):
        exact = value(a) * value(b) + value(c)
        both = (a ^ b) & c if value(a) * value(b) == 0 and value(c) == 0 else 0
        assert result == rounded(exact, both)
    else:
        with np.errstate(all="ignore"):  # an infinity or a NaN: rounding has no part in it
            x, y, z = floats(a, b, c).astype(np.float64)
            # A finite product may overflow only if z decides the result anyway, or x and y do.
            expected = np.float32(x * y + z)
        assert result == (0x7FC00000 if np.isnan(expected) else int(expected.view(np.uint32)))


@settings(max_examples=200, deadline=None)
@given(operands, operands)
def test_division_is_the_rounded_exact_value(a: int, b: int) -> None:
    result = softfloat.div(sext(a), sext(b)) & MASK
    if is_finite(a) and is_finite(b) and value(b) != 0:
        assert result == rounded(value(a) / value(b), a ^ b)
    else:
        with np.errstate(all="ignore"):
            expected = np.divide(*floats(a, b))
        assert result == (0x7FC00000 if np.isnan(expected) else int(expected.view(np.uint32)))


def test_fma_rounds_once() -> None:
    """The operands on which double arithmetic, rounded twice, is wrong; random trials do not find them."""
    a = np.float32(float.fromhex("0x1.001p-24"))
    b = np.float32(1 - 2.0**-12 + 2.0**-24)
    c = np.float32(1)
    bits = [int(x.view(np.int32)) for x in (a, b, c)]
    result = floats(softfloat.fma(*bits) & MASK)[0]
    assert float(result) == float.fromhex("0x1.000002p0")
    twice = np.float32(float(a) * float(b) + float(c))
    assert float(twice) == 1.0, "this is what the test is about"


def as_words(bits: object) -> Bits:
    return np.array(bits, np.uint32).view(np.int32)


def any_bits(rng: np.random.Generator, n: int) -> Bits:
    return rng.integers(-(1 << 31), 1 << 31, n, np.int64).astype(np.int32)


def near_one(rng: np.random.Generator, n: int) -> Bits:
    return as_words(rng.integers(100, 150, n) << 23 | rng.integers(0, 1 << 23, n) | rng.integers(0, 2, n) << 31)


def few_bits(rng: np.random.Generator, n: int) -> Bits:
    """Mantissas with which ties and exact cancellations happen."""
    fraction = rng.integers(0, 16, n) << 19 | rng.integers(0, 8, n)
    return as_words(rng.integers(110, 140, n) << 23 | fraction | rng.integers(0, 2, n) << 31)


def extreme(rng: np.random.Generator, n: int) -> Bits:
    """The ends of the exponent range and the middle, with the corners of the mantissa."""
    e = rng.choice([0, 0, 1, 2, 23, 24, 25, 63, 64, 126, 127, 128, 190, 253, 254, 255], n)
    fraction = rng.choice([0, 1, 2, 0x3FFFFF, 0x400000, 0x400001, 0x7FFFFE, 0x7FFFFF], n)
    fraction = np.where(rng.random(n) < 0.3, rng.integers(0, 1 << 23, n), fraction)
    return as_words(e << 23 | fraction | rng.integers(0, 2, n) << 31)


FAMILIES = {f.__name__: f for f in (any_bits, near_one, few_bits, extreme)}
N = 1_000_000


@pytest.mark.parametrize("family", FAMILIES)
def test_operations_equal_hardware(family: str) -> None:
    make = FAMILIES[family]
    rng = np.random.default_rng(7)
    a, b, c = make(rng, N), make(rng, N), make(rng, N)
    with fpenv.standard():
        wrong = {
            "fma": first_wrong_fma(a, b, c),
            "add": first_wrong_pair(ADD, a, b),
            "sub": first_wrong_pair(SUB, a, b),
            "mul": first_wrong_pair(MUL, a, b),
            "div": first_wrong_pair(DIV, a, b),
            "order": first_wrong_order(a, b),
            "equal": first_wrong_order(a, np.where(rng.random(N) < 0.5, a, a ^ np.int32(-1 << 31))),
            "sqrt": first_wrong_sqrt(a),
        }
    assert set(wrong.values()) == {-1}, [(name, i, a[i], b[i], c[i]) for name, i in wrong.items() if i >= 0]


def test_fma_equals_hardware_where_the_sum_cancels() -> None:
    rng = np.random.default_rng(11)
    for make, apart in itertools.product((near_one, few_bits), (2, 1 << 10, 1 << 22)):
        a, b = make(rng, N // 4), make(rng, N // 4)
        c = (-(a.view(np.float32) * b.view(np.float32))).view(np.int32) + rng.integers(-apart, apart, N // 4)
        with fpenv.standard():
            i = first_wrong_fma(a, b, c.astype(np.int32))
        assert i == -1, (a[i], b[i], c[i])


def test_fma_equals_hardware_at_every_distance() -> None:
    """Product and addend from far apart one way to far apart the other way, mantissas at their ends and in between."""
    rng = np.random.default_rng(13)
    ends = np.array([0, 1, 2, 0x400000, 0x7FFFFE, 0x7FFFFF])
    for distance in range(-60, 60):
        e = rng.integers(100, 140, (2, 4000))
        fractions = np.where(
            rng.random((3, 4000)) < 0.6, rng.choice(ends, (3, 4000)), rng.integers(0, 1 << 23, (3, 4000))
        )
        signs = rng.integers(0, 2, (3, 4000)) << 31
        exponents = np.stack([*e, np.clip(e.sum(axis=0) - 127 + distance, 1, 254)])
        a, b, c = as_words(exponents << 23 | fractions | signs)
        with fpenv.standard():
            i = first_wrong_fma(a, b, c)
        assert i == -1, (distance, a[i], b[i], c[i])


def test_fma_equals_hardware_on_all_corners() -> None:
    a, b, c = as_words(list(itertools.product(CORNERS, repeat=3))).T
    with fpenv.standard():
        i = first_wrong_fma(a, b, c)
    assert i == -1, (a[i], b[i], c[i])


def test_a_wrong_bit_would_be_seen() -> None:
    """The comparison loops do fail: the hardware's subtraction is not the softfloat's addition."""
    a = near_one(np.random.default_rng(1), 10)
    assert first_wrong_pair(ADD, a, a) == -1
    assert softfloat.add(int(a[0]), int(a[0])) & MASK != softfloat.sub(int(a[0]), int(a[0])) & MASK


@settings(deadline=None)
@given(st.integers(-(1 << 63), (1 << 63) - 1) | st.integers(-(1 << 26), 1 << 26))
@example(-(1 << 63))
@example((1 << 63) - 1)
@example((1 << 24) + 1)
@example((1 << 25) + 2)
def test_integers_to_float(x: int) -> None:
    assert softfloat.from_i64(x) & MASK == rounded(Fraction(x), 0)
    assert softfloat.from_u64(x) & MASK == rounded(Fraction(x % (1 << 64)), 0)
