"""Products and convolutions: fast kernel = definition, bit for bit, and both near numpy and ONNX Runtime."""

import resource

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ops_helpers import assert_same_bits, floats
from ops_runtime import run_onnx

from opml.ops import evaluate
from opml.ops.base import Attrs
from opml.ops.matmul import pack

ODD = st.sampled_from([0.0, 0.01, 0.3])
CUTS = st.lists(st.integers(1, 200), max_size=3)


@settings(max_examples=60)
@given(
    st.integers(1, 60), st.sampled_from([1, 2, 7, 64, 511, 512, 513, 1025, 1030]), st.integers(1, 150),
    st.sampled_from(["", "a", "b", "ab", "packed"]), st.sampled_from(["", "n", "1n", "m1", "mn", "scalar"]),
    ODD, CUTS, st.integers(0, 99),
)  # fmt: skip
def test_matmul_is_its_definition(
    m: int, k: int, n: int, form: str, bias: str, odd: float, cuts: list[int], seed: int
) -> None:
    a, b = floats(seed, (m, k), odd), floats(seed + 1, (k, n), odd)
    attrs: dict[str, object] = {"trans_a": int("a" in form and form != "packed"), "trans_b": int(form in ("b", "ab"))}
    left = a.T if attrs["trans_a"] else a
    right = b.T if attrs["trans_b"] else b
    if form == "packed":
        attrs |= {"packed": 1, "n": n}
        right = pack(b)
    shapes = {"n": (n,), "1n": (1, n), "m1": (m, 1), "mn": (m, n), "scalar": ()}
    c = floats(seed + 2, shapes[bias], odd) if bias else None
    bits = assert_same_bits("matmul", [left, right, c], attrs, cuts)  # type: ignore[arg-type]
    plain = evaluate("matmul", [a, b, c], {})
    assert bits[: plain.nbytes].tobytes() == plain.tobytes(), "the form of an operand changes no bit"


@settings(max_examples=25)
@given(st.integers(1, 3), st.integers(1, 3), st.integers(1, 20), st.integers(1, 40), st.integers(0, 2), ODD, CUTS)
def test_batches(outer: int, inner: int, m: int, n: int, unbatched: int, odd: float, cuts: list[int]) -> None:
    batch, k = (outer, inner), 33
    a = floats(1, (m, k) if unbatched == 1 else (*batch, m, k), odd)
    b = floats(2, (k, n) if unbatched == 2 else (*batch, k, n), odd)
    assert_same_bits("matmul", [a, b, floats(3, (m, 1))], {}, cuts)
    assert_same_bits("matmul", [a, b, floats(3, (n,))], {}, cuts)
    assert_same_bits("matmul", [a, b, floats(3, (*batch, m, n))], {}, cuts)


def test_the_order_of_a_product_is_the_written_one() -> None:
    a, b = floats(5, (1, 1100)), floats(6, (1100, 1))
    total = np.float32(0)
    for start in (0, 512, 1024):
        acc = np.float32(0)
        for k in range(start, min(start + 512, 1100)):
            # The product of two binary32 is exact in binary64; for these values so nearly is the sum.
            acc = np.float32(np.float64(a[0, k]) * np.float64(b[k, 0]) + np.float64(acc))
        total = np.float32(total + acc)
    assert evaluate("matmul", [a, b], {})[0, 0] == total
    assert np.float32((a.astype(np.float64) @ b)[0, 0]) != total, "another order gives other bits"


def test_products_are_near_numpy() -> None:
    a, b = floats(1, (37, 600)), floats(2, (600, 45))
    exact = a.astype(np.float64) @ b.astype(np.float64)
    assert np.allclose(evaluate("matmul", [a, b], {}), exact, rtol=1e-4, atol=1e-4)


WINDOWS = st.tuples(st.integers(1, 3), st.integers(1, 3), st.integers(0, 3), st.integers(0, 3))


@settings(max_examples=60)
@given(
    st.integers(1, 2), st.sampled_from([1, 2, 3]), st.integers(1, 5), st.integers(1, 14), st.integers(1, 21),
    st.integers(1, 12), st.tuples(st.integers(1, 4), st.integers(1, 4)), WINDOWS, WINDOWS, st.booleans(), ODD, CUTS,
)  # fmt: skip
def test_conv_is_its_definition(
    n: int, group: int, c: int, height: int, width: int, o: int, kernel: tuple[int, int],
    lines: tuple[int, int, int, int], columns: tuple[int, int, int, int], biased: bool, odd: float, cuts: list[int],
) -> None:  # fmt: skip
    attrs = {
        "strides": [lines[0], columns[0]],
        "dilations": [lines[1], columns[1]],
        "pads": [lines[2], columns[2], lines[3], columns[3]],
        "group": group,
    }
    reach = [(kernel[i] - 1) * attrs["dilations"][i] + 1 for i in (0, 1)]  # type: ignore[index]
    height, width = max(height, reach[0]), max(width, reach[1])
    x, w = floats(1, (n, c * group, height, width), odd), floats(2, (o * group, c, *kernel), odd if odd < 0.1 else 0)
    inputs = [x, w, floats(3, (o * group,))] if biased else [x, w]
    bits = assert_same_bits("conv", inputs, attrs, cuts)  # type: ignore[arg-type]
    if not odd:
        theirs = run_onnx("Conv", inputs, **attrs)
        ours = bits[: theirs.nbytes].view(np.float32).reshape(theirs.shape)
        assert np.allclose(ours, theirs, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("channels", [56, 57, 114, 200])
def test_conv_blocks_are_cut_by_index(channels: int) -> None:
    """Also where a block lies wholly in the padding, or begins in it: k = 9 * c + tap, cut at 512."""
    x, w = floats(1, (1, channels, 2, 3)), floats(2, (20, channels, 3, 3))
    assert_same_bits("conv", [x, w], {"pads": [2, 2, 2, 2], "strides": [1, 1]})


def test_taps_in_the_padding_are_left_out() -> None:
    """fma(inf, 0, 1) is NaN and fma(0, 1, -0) is +0: a product with the padding's zeros would show."""
    x, w = np.ones((1, 1, 2, 2), np.float32), np.full((1, 1, 3, 3), np.inf, np.float32)
    assert (evaluate("conv", [x, w], {"pads": [1, 1, 1, 1]}) == np.inf).all()
    assert (evaluate("conv", [x, w], {"pads": [1, 1, 1, 1]}, fast=True) == np.inf).all()


def test_a_chain_that_underflows_to_minus_zero() -> None:
    """-2**-200 rounds to -0 in a chain; the total, which starts from +0, does not keep the sign."""
    tiny = np.float32(2.0**-100)
    x = np.array([-tiny, 0, 0], np.float32).reshape(1, 1, 1, 3)
    w = np.array([tiny, 1, 1], np.float32).reshape(1, 1, 1, 3)
    for attrs in ({}, {"pads": [0, 1, 0, 2]}):
        bits = assert_same_bits("conv", [x, w], attrs)
        assert not (bits[: 4 * (4 if attrs else 1)].view(np.uint32) == 0x80000000).any()


def test_strides_and_dilations_beyond_the_input_take_no_memory() -> None:
    x, w = np.full((2, 1, 1, 1), 3, np.float32), np.full((1, 1, 1, 1), 2, np.float32)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    y = evaluate("conv", [x, w], {"strides": [12000, 12000]}, fast=True)
    assert y.ravel().tolist() == [6, 6]
    w = np.full((1, 1, 2, 2), 2, np.float32)
    attrs: Attrs = {"dilations": [9000, 9000], "pads": [0, 0, 9000, 9000]}
    assert evaluate("conv", [x, w], attrs, fast=True).ravel().tolist() == [6, 6]
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 100_000
