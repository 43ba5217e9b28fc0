"""Small kernels to build test guests from; importable by name, as the builder wants."""

import numpy as np

from vm.guest.intrinsics import bits_f32, f32_bits, fma32, load_f32, load_i64, sqrt32, store_f32, store_i64
from vm.guest.record import WORD_INPUT, WORD_OUT, WORD_PARAM
from vm.jit import make_jit
from pathlib import Path

jit = make_jit([Path(__file__), Path(__file__).parents[2] / "vm"])

ZERO = np.float32(0)


@jit
def matmul_tile(r, t):  # type: ignore[no-untyped-def]
    """Out[i, j] = sum_k A[i, k] B[k, j] + C[j], in blocks of 512, for int64 parameters K and N."""
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
