"""Constants of few bits: (code - zero) * scale, and how codes, scales and zeros lie for those that read them.

Codes are unsigned and have 2, 4 or 8 bits; `group` neighbouring codes of a column share a scale and a zero. A panel is
16 columns: words of 32/bits codes each [panels, words of a column, 16], scales and zeros [panels, groups, 16].
"""

import numpy as np

from opml.graph import Array, DType, TensorType
from opml.ops.base import Attrs, Types, float_word, jit
from opml.ops.checks import float_attr, int_attr, refuse
from opml.ops.codes import BITS
from opml.ops.matmul import PANEL
from vm.guest.intrinsics import i64_f32, load_f32, load_i32, load_u8

# Parameters, in elements. SIZE is the bits of a code, PER_LOG2 tells the codes of a word; FILL is the zero of all
# where there are none, else ZERO_BYTES those of one. OWN is the operator's.
LENGTH, COLS, DEPTH, SIZE, PER_LOG2, GROUP, GROUPS, ZERO_BYTES, FILL, OWN = range(10)


@jit
def code_at(q, k, size, per_log2):  # type: ignore[no-untyped-def]
    """Code k of the column whose first word lies at q."""
    word = load_i32(q + ((k >> (per_log2 & 63)) << 6))
    shift = (k & ((1 << (per_log2 & 63)) - 1)) * size
    return (word >> (shift & 63)) & ((1 << (size & 63)) - 1)


@jit
def zero_at(zeros, i, nbytes, fill):  # type: ignore[no-untyped-def]
    """Zero point i."""
    if nbytes == 4:
        return load_f32(zeros + 4 * i)
    if nbytes == 1:
        return i64_f32(load_u8(zeros + i))
    return fill


class Layout:
    """How the constant lies: its bits, columns n, depth k, and groups; checked against the inputs from `start` on."""

    def __init__(self, name: str, types: Types, start: int, attrs: Attrs) -> None:
        self.bits, self.n, self.k = (int_attr(name, attrs, what) for what in ("bits", "n", "k"))
        self.group = int_attr(name, attrs, "group")
        if self.bits not in BITS or min(self.n, self.k, self.group) < 1:
            raise refuse(name, f"bits={self.bits}, n={self.n}, k={self.k}, group={self.group}")
        self.groups = -(-self.k // self.group)
        panels, per = -(-self.n // PANEL), 32 // self.bits
        q, s, z = (*types, None)[start : start + 3]
        want = TensorType(DType.INT32, (panels, -(-self.k // per), PANEL))
        if q != want:
            raise refuse(name, f"codes of {q}, not {want}")
        shape = (panels, self.groups, PANEL)
        if s != TensorType(DType.FLOAT32, shape):
            raise refuse(name, f"scales of {s}, not float32 {list(shape)}")
        if z is not None and (z.shape != shape or z.dtype not in (DType.FLOAT32, DType.UINT8)):
            raise refuse(name, f"zeros of {z}, not float32 or uint8 {list(shape)}")
        self.zero_bytes = z.dtype.size if z is not None else 0
        self.fill = float_attr(name, attrs, "zero", 0.0)

    def words(self) -> list[int]:
        """The parameters from COLS to FILL."""
        per_log2 = (32 // self.bits).bit_length() - 1
        fill = float_word(self.fill)
        return [self.n, self.k, self.bits, per_log2, self.group, self.groups, self.zero_bytes, fill]


def panels_of(matrix: Array) -> Array:
    """[rows, N] as [ceil(N/16), rows, 16], the last panel padded with zeros."""
    rows, n = matrix.shape
    padded = np.zeros((rows, -(-n // PANEL) * PANEL), matrix.dtype)
    padded[:, :n] = matrix
    return np.ascontiguousarray(padded.reshape(rows, -1, PANEL).transpose(1, 0, 2))


def pack_codes(codes: Array, bits: int) -> Array:
    """Codes [K, N] of `bits` bits each as the words [ceil(N/16), ceil(K*bits/32), 16] that the primitive takes."""
    k, n = codes.shape
    per = 32 // bits
    whole = np.zeros((-(-k // per) * per, n), np.uint32)
    whole[:k] = codes
    words = np.zeros((len(whole) // per, n), np.uint32)
    for j in range(per):
        words |= whole[j::per] << np.uint32(bits * j)
    return panels_of(words.view(np.int32))
