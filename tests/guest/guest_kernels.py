"""Small kernels to build test guests from; importable by name, as the builder wants."""

import math

import numpy as np

from vm.guest.intrinsics import bits_f32, f32_bits, fma32, load_f32, load_i64, sqrt32, store_f32, store_i32, store_i64
from vm.guest.record import WORD_INPUT, WORD_OUT, WORD_PARAM
from vm.jit import jit

ZERO = np.float32(0)
ONE = np.float32(1)
TABLE = (3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5, 8, 9, 7, 9, 3)


@jit
def matmul_tile(r, t):  # type: ignore[no-untyped-def]
    """out[i, j] = sum_k a[i, k] * b[k, j] + c[j], in blocks of 512; the parameters are K and N."""
    k_size, n_size = load_i64(r + 8 * WORD_PARAM), load_i64(r + 8 * (WORD_PARAM + 1))
    a, b, c = load_i64(r + 8 * WORD_INPUT), load_i64(r + 8 * WORD_INPUT + 8), load_i64(r + 8 * WORD_INPUT + 16)
    out = load_i64(r + 8 * WORD_OUT) + 32 * t
    for lane in range(8):
        element = 8 * t + lane
        i, j = element // n_size, element % n_size
        row, column = a + 4 * i * k_size, b + 4 * j
        total = ZERO
        done = 0
        while done < k_size:
            end = min(done + 512, k_size)
            acc = ZERO
            for k in range(done, end):
                acc = fma32(load_f32(row + 4 * k), load_f32(column + 4 * n_size * k), acc)
            total += acc
            done = end
        store_f32(out + 4 * lane, total + load_f32(c + 4 * j))


@jit
def mixed_tile(r, t):  # type: ignore[no-untyped-def]
    """The eight results of `mixed` on elements t of the inputs x, y and z."""
    out = load_i64(r + 8 * WORD_OUT) + 32 * t
    x = load_f32(load_i64(r + 8 * WORD_INPUT) + 4 * t)
    y = load_f32(load_i64(r + 8 * WORD_INPUT + 8) + 4 * t)
    z = load_f32(load_i64(r + 8 * WORD_INPUT + 16) + 4 * t)
    store_f32(out, fma32(x, y, z))
    store_f32(out + 4, x / y)
    store_f32(out + 8, sqrt32(x))
    store_f32(out + 12, x * y)
    store_f32(out + 16, x - y)
    store_f32(out + 20, x + z if x < y else (z if y <= z else -x))
    compared = (x == y) | ((x != y) << 1) | ((x < y) << 2) | ((x <= y) << 3) | ((x > y) << 4) | ((x >= y) << 5)
    store_i32(out + 24, compared | (TABLE[(f32_bits(z) >> 20) & 15] << 8))
    store_f32(out + 28, np.float32((f32_bits(x) << 31) - f32_bits(y)) + np.float32(np.int32(f32_bits(z))))


@jit
def count_tile(r, t):  # type: ignore[no-untyped-def]
    """Writes the record's address and the tile, so that a test sees who was called with what."""
    out = load_i64(r + 8 * WORD_OUT) + 32 * t
    store_i64(out, r)
    store_i64(out + 8, t)
    store_i64(out + 16, load_i64(out + 16) + 1)


@jit
def double_tile(r, t):  # type: ignore[no-untyped-def]
    store_f32(r, np.float32(load_f32(r) * 0.1))


@jit
def converting_tile(r, t):  # type: ignore[no-untyped-def]
    store_i64(r, np.int64(load_f32(r)))


@jit
def library_tile(r, t):  # type: ignore[no-untyped-def]
    store_f32(r, math.sin(load_f32(r)))


@jit
def raising_tile(r, t):  # type: ignore[no-untyped-def]
    if t > 1000:
        raise ValueError
    store_f32(r, bits_f32(t) * ONE)


@jit
def allocating_tile(r, t):  # type: ignore[no-untyped-def]
    values = np.zeros(t, np.int64)
    store_i64(r, values.sum())


@jit
def unbuildable_tile(r, t):  # type: ignore[no-untyped-def]
    store_i64(r, "text")
