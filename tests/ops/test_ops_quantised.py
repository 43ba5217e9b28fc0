"""Contractions with quantised constants and small integers: fast kernels, numpy, and what is refused."""

import numpy as np
import pytest
from ops_helpers import Array, assert_same_bits, floats, integers

from opml.errors import UnsupportedError
from opml.ops import OPS, evaluate, type_of
from opml.ops.qmatmul import pack_codes, panels_of

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
