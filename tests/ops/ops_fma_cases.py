"""A program for `test_ops_fma.py`: prints facts about fma32 as compiled for the CPU that the environment names."""

import hashlib
from fractions import Fraction
from itertools import product

import numpy as np
from numba import int64
from ops_helpers import SPECIALS, floats, leaves

from opml.ops.base import jit
from vm.guest.fma import emulates_fma
from vm.guest.intrinsics import fma32, load_f32, store_f32


@jit
def many(a, b, c, y, n):  # type: ignore[no-untyped-def]
    for i in range(n):
        store_f32(y + 4 * i, fma32(load_f32(a + 4 * i), load_f32(b + 4 * i), load_f32(c + 4 * i)))


def fused(a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    y = np.empty_like(a)
    many(*(array.ctypes.data for array in (a, b, c, y)), len(a))
    return y


def exact(a: np.float32, b: np.float32, c: np.float32) -> np.float32:
    """The nearest binary32 of a * b + c, by fractions; for finite values with a sum that is not zero."""
    value = Fraction(float(a)) * Fraction(float(b)) + Fraction(float(c))
    exponent = -149
    magnitude = abs(value)
    while magnitude >= Fraction(2) ** (exponent + 24):
        exponent += 1
    rounded = round(magnitude / Fraction(2) ** exponent) * Fraction(2) ** exponent
    limit = Fraction(2) ** 128
    result = np.float32(np.inf) if rounded >= limit else np.float32(float(rounded))
    return -result if value < 0 else result


def check_specials() -> int:
    """Disagreements over all triples of special values, by binary64 where a value is not finite or the sum is zero."""
    triples = np.array(list(product(SPECIALS, repeat=3)), np.float32)
    a, b, c = (np.ascontiguousarray(triples[:, i]) for i in range(3))
    got = fused(a, b, c)
    wrong = 0
    with np.errstate(all="ignore"):
        wide = a.astype(np.float64) * b + c
    for i in range(len(a)):
        if np.isfinite([a[i], b[i], c[i]]).all() and Fraction(float(a[i])) * Fraction(float(b[i])) != -Fraction(
            float(c[i])
        ):
            expected = exact(a[i], b[i], c[i])
        else:
            expected = np.float32(wide[i])
        same = got[i].view(np.uint32) == (0x7FC00000 if np.isnan(expected) else expected.view(np.uint32))
        wrong += not same
    return wrong


def check_random(n: int) -> int:
    """Disagreements over random bits, where the sum nearly cancels or one term is far smaller."""
    rng = np.random.default_rng(1)
    a, b = (rng.integers(0, 1 << 32, n, dtype=np.uint32).view(np.float32) for _ in range(2))
    with np.errstate(all="ignore"):
        near = -(a.astype(np.float64) * b) * (1 + rng.integers(-4, 5, n) * 2.0 ** -rng.integers(1, 60, n))
        c = near.astype(np.float32)
        got = fused(a, b, c)
    finite = np.isfinite(a) & np.isfinite(b) & np.isfinite(c) & np.isfinite(got)
    wrong = 0
    for i in np.flatnonzero(finite)[:4000]:
        total = Fraction(float(a[i])) * Fraction(float(b[i])) + Fraction(float(c[i]))
        wrong += bool(total) and got[i] != exact(a[i], b[i], c[i])
    return wrong


def main() -> None:
    print("emulates", emulates_fma())
    a, b, c = (np.array([float.fromhex(t)], np.float32) for t in ("0x1.001p-24", "0x1.ffe002p-1", "0x1p0"))
    print(
        "counterexample",
        "0x1.000002p+0" if fused(a, b, c)[0] == np.float32(1 + 2.0**-23) else float(fused(a, b, c)[0]).hex(),
    )
    naive = np.float32(np.float64(a[0]) * np.float64(b[0]) + np.float64(c[0]))
    print("naive", "0x1.000000p+0" if naive == 1 else float(naive).hex())
    print("wrong", check_specials() + check_random(10_000))

    x, w = floats(1, (1, 3, 9, 20), 0.05), floats(2, (14, 3, 3, 3))
    digest = hashlib.sha256(leaves("conv", [x, w], {"pads": [1, 1, 1, 1]}, [3]))
    digest.update(leaves("matmul", [floats(3, (13, 600), 0.01), floats(4, (600, 50))], {}, [5]))
    for name in ("exp", "tanh", "erf", "sigmoid", "log"):
        digest.update(leaves(name, [floats(5, (500,), 0.3, 5)], {}, []))
    print("kernels", digest.hexdigest())
    many.compile((int64,) * 5)
    assembly = "".join(many.inspect_asm().values())
    print("fmaf", assembly.count("fmaf"))
    print("vfmadd", assembly.count("vfmadd"))


if __name__ == "__main__":
    main()
