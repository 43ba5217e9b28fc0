"""Contractions with quantised constants and small integers: fast kernels, numpy, and what is refused."""

import numpy as np
import pytest
from ops_helpers import Array, assert_same_bits, floats, integers

from opml.errors import UnsupportedError
from opml.ops import OPS, evaluate, type_of
from opml.ops.few_bits import pack_codes, panels_of

SHAPES = [(64, 40, 32), (700, 70, 32), (37, 20, 16), (600, 9, 600), (33, 130, 11), (530, 65, 128), (5, 3, 1)]


def constant(bits: int, k: int, n: int, group: int, zeros: str, odd: float) -> tuple[list[Array | None], dict, Array]:
    """The operands and attributes of a quantised constant, and the matrix that it stands for."""
    codes = np.random.default_rng(bits + k).integers(0, 1 << bits, (k, n))
    grid = (-(-k // group), n)
    scale = floats(1, grid, odd)
    attrs = {"bits": bits, "k": k, "n": n, "group": group}
    zero: Array = np.full(grid, 1 << (bits - 1), np.float32)
    if zeros == "float32":
        zero = floats(3, grid, odd, 8.0)
    elif zeros == "uint8":
        zero = integers(3, grid, "uint8")
    else:
        attrs["zero"] = float(1 << (bits - 1))
    with np.errstate(all="ignore"):
        spread = [np.repeat(part.astype(np.float32), group, 0)[:k] for part in (zero, scale)]
        matrix = (codes.astype(np.float32) - spread[0]) * spread[1]
    return [pack_codes(codes, bits), panels_of(scale), panels_of(zero) if zeros else None], attrs, matrix


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("rows", [1, 3, 14, 50])
@pytest.mark.parametrize("zeros", ["", "uint8", "float32"])
def test_a_product_is_that_of_the_dequantised_matrix(bits: int, rows: int, zeros: str) -> None:
    for k, n, group in SHAPES:
        for odd in (0.0, 0.02):
            operands, attrs, matrix = constant(bits, k, n, group, zeros, odd)
            a, bias = floats(2, (rows, k), odd), floats(4, (n,))
            got = assert_same_bits("qmatmul", [a, *operands, bias], attrs, (1, 3, 7, 20))
            expected = evaluate("matmul", [a, matrix, bias], {"trans_a": 0, "trans_b": 0}, fast=True)
            assert got[: expected.nbytes].tobytes() == expected.tobytes()


def test_a_matrix_that_is_one_code_away_gives_other_numbers() -> None:
    operands, attrs, _ = constant(4, 64, 40, 32, "uint8", 0.0)
    a = floats(2, (1, 64))
    before = evaluate("qmatmul", [a, *operands], attrs, fast=True)
    assert operands[0] is not None
    operands[0][1, 3, 2] ^= 1 << 20
    changed = evaluate("qmatmul", [a, *operands], attrs, fast=True) != before
    assert changed.sum() == 1
    assert changed[0, 18]


@pytest.mark.parametrize(
    ("position", "value", "reason"),
    [
        (0, np.zeros((1, 63), np.float32), "depth 64"),
        (0, np.zeros((1, 64), np.int32), "dtype"),
        (1, np.zeros((3, 7, 16), np.int32), "codes"),
        (1, np.zeros((3, 8, 16), np.float32), "codes"),
        (2, np.zeros((2, 2, 16), np.float32), "scales"),
        (3, np.zeros((3, 2, 16), np.int8), "zeros"),
        (3, np.zeros((3, 1, 16), np.uint8), "zeros"),
        (4, np.zeros(39, np.float32), "bias"),
    ],
)
def test_operands_that_do_not_fit_are_refused(position: int, value: Array, reason: str) -> None:
    operands, attrs, _ = constant(4, 64, 40, 32, "uint8", 0.0)
    inputs = [floats(2, (1, 64)), *operands, floats(4, (40,))]
    inputs[position] = value
    with pytest.raises(UnsupportedError, match=reason):
        OPS["qmatmul"].infer([None if x is None else type_of(x) for x in inputs], attrs)


@pytest.mark.parametrize("change", [{"bits": 3}, {"group": 0}, {"k": 65}, {"n": -40}, {"zero": "8"}, {"blocks": 2}])
def test_attributes_that_do_not_fit_are_refused(change: dict) -> None:
    operands, attrs, _ = constant(4, 64, 40, 32, "uint8", 0.0)
    types = [None if x is None else type_of(x) for x in [floats(2, (1, 64)), *operands]]
    with pytest.raises(UnsupportedError):
        OPS["qmatmul"].infer(types, attrs | change)


def test_an_embedding_is_rows_of_the_dequantised_table() -> None:
    for bits, zeros in ((2, ""), (4, "uint8"), (8, "float32")):
        operands, attrs, matrix = constant(bits, 70, 40, 32, zeros, 0.02)
        indices = np.array([[0, 39, -1], [-40, 7, 7]], np.int64)
        operands = [part for part in operands if part is not None]
        got = assert_same_bits("qgather", [indices, *operands], attrs, (1, 5))
        want = np.where(np.isnan(matrix.T), np.float32(np.nan), matrix.T)[indices]
        assert got[: want.nbytes].tobytes() == want.tobytes()
        outside = evaluate("qgather", [np.array([40, -41, 1 << 40], np.int64), *operands], attrs)
        assert outside.tobytes() == evaluate("qgather", [np.array([39, 0, 39]), *operands], attrs).tobytes()


def grids(shape: tuple[int, ...]) -> list[tuple[tuple[int, ...], dict]]:
    """Shapes of scales for a tensor of three dimensions, with the attributes that say so."""
    blocked = [((shape[0], -(-shape[1] // 3), shape[2]), {"axis": 1, "block": 3}),
               ((*shape[:2], -(-shape[2] // 16)), {"axis": -1, "block": 16})]  # fmt: skip
    return [((), {}), ((1,), {"axis": 0}), *(((shape[axis],), {"axis": axis}) for axis in range(3)), *blocked]


def spread(grid: Array, shape: tuple[int, ...], attrs: dict) -> Array:
    """Scales or zeros, each where its elements are."""
    if grid.size == 1:
        return np.broadcast_to(grid.reshape(()), shape)
    axis, block = attrs["axis"], attrs.get("block", 0)
    if block:
        return np.take(np.repeat(grid, block, axis), range(shape[axis]), axis)
    return np.broadcast_to(grid.reshape([-1 if d == axis % len(shape) else 1 for d in range(len(shape))]), shape)


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16"])
@pytest.mark.parametrize("multiply", [0, 1])
def test_quantisation_is_numpys(dtype: str, multiply: int) -> None:
    shape, info = (3, 5, 40), np.iinfo(dtype)
    for size, attrs in grids(shape):
        scale = np.abs(floats(2, size)) + np.float32(0.1)
        zero = integers(3, size, dtype)
        for x in (floats(1, shape, 0.1, 60.0), integers(1, shape, "int32")):
            given = attrs | {"to": dtype, "multiply": multiply}
            got = assert_same_bits("quantize", [x, scale, zero], given, (1, 2, 7))
            with np.errstate(all="ignore"):
                wide = spread(scale, shape, attrs)
                value = x.astype(np.float32) * wide if multiply else x.astype(np.float32) / wide
                exact = np.nan_to_num(np.rint(value).astype(np.float64), nan=0.0, posinf=1e30, neginf=-1e30)
                want = np.clip(exact + spread(zero, shape, attrs), info.min, info.max).astype(dtype)
            assert got[: want.nbytes].tobytes() == want.tobytes()


@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int32"])
def test_dequantisation_is_numpys(dtype: str) -> None:
    shape = (3, 5, 40)
    x = integers(1, shape, dtype)
    for size, attrs in grids(shape):
        scale, zero = floats(2, size, 0.1), integers(3, size, dtype)
        got = assert_same_bits("dequantize", [x, scale, zero], attrs, (1, 2, 7))
        with np.errstate(all="ignore"):
            difference = (x.astype(np.int64) - spread(zero, shape, attrs)).astype(np.float32)
            want = difference * spread(scale, shape, attrs)
        want = np.where(np.isnan(want), np.float32(np.nan), want)
        assert got[: want.nbytes].tobytes() == want.tobytes()


def test_ties_go_to_the_even_integer_and_ends_saturate() -> None:
    x = np.array([0.5, 1.5, 2.5, -0.5, -1.5, 127.5, 126.5, -128.5, 1e9, -np.inf, np.nan, 3e38], np.float32)
    got = evaluate("quantize", [x, np.float32(1)], {"to": "int8"}, fast=True)
    assert got.tolist() == [0, 2, 2, 0, -2, 127, 126, -128, 127, -128, 0, 127]
    assert evaluate("quantize", [x, np.float32(1)], {"to": "int8", "bits": 4}).tolist()[5:] == [7, 7, -8, 7, -8, 0, 7]


BYTES = ["int8", "uint8"]


@pytest.mark.parametrize("left", BYTES)
@pytest.mark.parametrize("right", BYTES)
@pytest.mark.parametrize("sizes", [(1, 700, 70), (3, 257, 16), (50, 40, 33), (49, 256, 9), (2, 1, 1)])
def test_a_product_of_bytes_is_exact(left: str, right: str, sizes: tuple[int, int, int]) -> None:
    m, k, n = sizes
    a, b = integers(1, (m, k), left), integers(2, (k, n), right)
    for a_size, b_size in (((), ()), ((m,), (n,))):
        a_zero, b_zero = integers(3, a_size, left), integers(4, b_size, right)
        got = assert_same_bits("matmul_int", [a, b, a_zero, b_zero], {}, (1, 2, 9))
        rows = a.astype(np.int64) - a_zero.astype(np.int64).reshape(-1, 1)
        want = (rows @ (b.astype(np.int64) - b_zero)).astype(np.int32)
        assert got[: want.nbytes].tobytes() == want.tobytes()


def test_sums_of_bytes_neither_saturate_nor_round() -> None:
    """Instructions that multiply bytes in pairs saturate at 2^15 on some CPUs; float32 is exact up to 2^24."""
    for value, zero in ((255, 0), (0, 255)):
        a, b = np.full((2, 5000), value, np.uint8), np.full((5000, 40), value, np.uint8)
        a[0, 0] ^= 1
        zeros = [np.array(zero, np.uint8)] * 2
        got = evaluate("matmul_int", [a, b, *zeros], {}, fast=True)
        assert (got[1] == 5000 * 255 * 255).all()
        assert (got[1] - got[0] == 255).all()
        image, kernel = a.reshape(2, 50, 10, 10), b[:, :2].T.reshape(2, 50, 10, 10)
        conv = evaluate("conv_int", [image, np.ascontiguousarray(kernel), *zeros], {}, fast=True)
        assert conv.reshape(2, 2).tolist() == got[:, :2].tolist()


def test_a_sum_beyond_int32_wraps() -> None:
    a, b = np.full((1, 40000), 255, np.uint8), np.full((40000, 1), 255, np.uint8)
    for fast in (False, True):
        assert evaluate("matmul_int", [a, b], {}, fast=fast).item() == 40000 * 255 * 255 - (1 << 32)


@pytest.mark.parametrize("left", BYTES)
@pytest.mark.parametrize("right", BYTES)
@pytest.mark.parametrize(
    ("channels", "out", "kernel", "attrs"),
    [
        (3, 5, (3, 3), {"pads": [1, 1, 1, 1]}),
        (40, 60, (3, 3), {"pads": [0, 2, 1, 0], "strides": [2, 1]}),
        (4, 8, (2, 3), {"dilations": [2, 3], "pads": [2, 2, 2, 2], "group": 2}),
        (6, 6, (3, 2), {"strides": [3, 2], "group": 6}),
        (300, 7, (1, 1), {}),
        (1, 1, (1, 1), {"strides": [9, 9]}),
    ],
)
def test_a_convolution_of_bytes_is_exact(
    left: str, right: str, channels: int, out: int, kernel: tuple[int, int], attrs: dict
) -> None:
    group = attrs.get("group", 1)
    x = integers(1, (2, channels, 11, 13), left)
    w = integers(2, (out, channels // group, *kernel), right)
    x_zero = integers(3, (), left)
    for w_zero in (integers(4, (), right), integers(4, (out,), right)):
        got = assert_same_bits("conv_int", [x, w, x_zero, w_zero], attrs, (1, 2, 40))
        # Every number here is an integer that float64 holds exactly.
        planes = x.astype(np.float64) - x_zero
        filters = w.astype(np.float64) - w_zero.reshape(-1, 1, 1, 1)
        want = convolution(planes, filters, attrs).astype(np.int64).astype(np.int32)
        assert got[: want.nbytes].tobytes() == want.tobytes()


def convolution(x: Array, w: Array, attrs: dict) -> Array:
    top, left, bottom, right = attrs.get("pads", [0] * 4)
    (sh, sw), (dh, dw), group = attrs.get("strides", [1, 1]), attrs.get("dilations", [1, 1]), attrs.get("group", 1)
    padded = np.pad(x, ((0, 0), (0, 0), (top, bottom), (left, right)))
    span = ((w.shape[2] - 1) * dh + 1, (w.shape[3] - 1) * dw + 1)
    windows = np.lib.stride_tricks.sliding_window_view(padded, span, (2, 3))[:, :, ::sh, ::sw, ::dh, ::dw]
    parts = [
        np.einsum("nchwij,ocij->nohw", taps, filters)
        for taps, filters in zip(np.split(windows, group, 1), np.split(w, group, 0), strict=True)
    ]
    return np.concatenate(parts, 1)


@pytest.mark.parametrize(
    ("name", "inputs", "attrs", "reason"),
    [
        ("matmul_int", [np.zeros((2, 3), np.int32), np.zeros((3, 2), np.int8)], {}, "int32"),
        ("matmul_int", [np.zeros((2, 3), np.int8), np.zeros((4, 2), np.int8)], {}, "fit"),
        ("matmul_int", [np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros(3, np.int8)], {}, "zero"),
        ("matmul_int", [np.zeros((2, 3), np.int8), np.zeros((3, 2), np.int8), np.zeros(2, np.uint8)], {}, "zero"),
        ("conv_int", [np.zeros((1, 3, 4, 4), np.int8), np.zeros((2, 2, 1, 1), np.int8)], {}, "groups"),
        ("conv_int", [np.zeros((1, 3, 4), np.int8), np.zeros((2, 3, 1), np.int8)], {}, "dimensions"),
        ("quantize", [np.zeros(3, np.float32), np.ones(2, np.float32)], {"to": "int8", "axis": 0}, "scales"),
        ("quantize", [np.zeros(3, np.float32), np.float32(1)], {"to": "int32"}, "int32"),
        ("quantize", [np.zeros(3, np.float32), np.float32(1)], {"to": "int8", "bits": 9}, "9 bits"),
        ("dequantize", [np.zeros(3, np.float32), np.float32(1)], {}, "float32"),
        ("dequantize", [np.zeros(3, np.int8), np.float32(1), np.uint8(0)], {}, "zero points"),
        ("dequantize", [np.zeros(3, np.int8), np.ones(2, np.float32)], {"axis": 0, "block": -2}, "scales"),
    ],
)
def test_what_does_not_fit_is_refused(name: str, inputs: list[Array], attrs: dict, reason: str) -> None:
    with pytest.raises(UnsupportedError, match=reason):
        OPS[name].infer([type_of(np.asarray(x)) for x in inputs], attrs)
