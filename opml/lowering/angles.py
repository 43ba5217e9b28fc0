"""Sines and cosines of fractions of a turn, for constants that a compiler makes.

From integers and the four operations in binary64 only: another machine's library must not give a model another id.
"""

import numpy as np
from numpy.typing import NDArray

Reals = NDArray[np.float64]
Integers = NDArray[np.int64]

_PI = float.fromhex("0x1.921fb54442d18p+1")
_TERMS = 20


def _series(x: Reals, first: int) -> Reals:
    """cos x (first = 0) or sin x (first = 1) by Taylor's series, for |x| up to pi / 4."""
    square, total = x * x, np.ones_like(x)
    for k in range(_TERMS + first, first, -2):
        total = 1.0 - total * (square / (k * (k - 1)))
    return x * total if first else total


def cosine(numerator: Integers, denominator: int) -> Reals:
    """cos(2 pi * numerator / denominator), within a few units in the last place."""
    p = np.asarray(numerator, np.int64) % denominator
    half = 2 * np.minimum(p, denominator - p)  # of denominator parts of pi
    beyond = 2 * half > denominator
    quarter = np.where(beyond, denominator - half, half)
    near = _series(_PI * quarter / denominator, 0)
    far = _series(_PI * (denominator - 2 * quarter) / (2 * denominator), 1)
    value = np.where(4 * quarter > denominator, far, near)
    return np.where(beyond, -value, value)


def sine(numerator: Integers, denominator: int) -> Reals:
    """sin(2 pi * numerator / denominator), likewise."""
    return cosine(4 * np.asarray(numerator, np.int64) - denominator, 4 * denominator)
