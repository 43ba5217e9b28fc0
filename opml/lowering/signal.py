"""DFT and STFT → products with constant matrices; windows and filter banks → constants."""

from collections.abc import Callable
from decimal import Decimal, localcontext
from math import isqrt, prod

import numpy as np
from numpy.typing import NDArray

from opml.errors import UnsupportedError
from opml.graph import Array
from opml.lowering.angles import cosine, sine
from opml.lowering.call import Call, lowers
from opml.lowering.windows import convolve
from opml.tensors import onnx_dtype

Reals = NDArray[np.float64]

# From this length on a transform is made of two shorter ones, where the length has factors.
SPLIT_FROM = 256
MOST_BINS = 1 << 14


def spectrum(length: int, rows: int, columns: int, sign: int, parts: int) -> Reals:
    """[rows * parts, columns * 2], e^(sign i tau n k / length) for row n and column k; rows and columns are complex.

    With one part instead of two the rows are real.
    """
    turns = np.outer(np.arange(rows), np.arange(columns)) % length
    circle = np.arange(length)
    real, imaginary = cosine(circle, length)[turns], sign * sine(circle, length)[turns]
    matrix = np.empty((rows, parts, columns, 2))
    matrix[:, 0, :, 0], matrix[:, 0, :, 1] = real, imaginary
    if parts == 2:
        matrix[:, 1, :, 0], matrix[:, 1, :, 1] = -imaginary, real
    return matrix.reshape(rows * parts, columns * 2)


def real_inverse(length: int, rows: int) -> Reals:
    """[rows * 2, length]: the first half of a spectrum to the real signal that has it."""
    turns = np.outer(np.arange(rows), np.arange(length)) % length
    alone = np.arange(rows) * 2 % length == 0
    weight = np.where(alone, 1.0, 2.0)[:, None] / length
    return np.stack([weight * cosine(turns, length), -weight * sine(turns, length)], axis=1).reshape(2 * rows, length)


def _matrix(c: Call, size: int, make: Callable[[], Reals]) -> str:
    """A constant of `size` elements; none is made that would be too large."""
    if not c.build.budget.take(4 * size):
        raise UnsupportedError(f"a transform by a matrix of {size} elements is too large")
    return c.build.constant(make().astype(np.float32))


@lowers("DFT")
def dft(c: Call) -> str:
    x, rank, inverse, onesided = c.input(0), c.rank(), c.flag("inverse"), c.flag("onesided")
    if c.opset < 20:
        axis = c.axis(c.integer("axis", 1), rank)
    else:
        axis = c.axis(c.constant_ints(2, "axis")[0] if c.optional(2) else -2, rank)
    parts = c.shape()[-1]
    if parts not in (1, 2) or axis == rank - 1:
        raise UnsupportedError(f"axis {axis} of {list(c.shape())}, whose last one is for real and imaginary parts")
    size = c.shape()[axis]
    given = c.constant_ints(1, "dft_length") if c.optional(1) else []
    half = inverse and onesided
    length = given[0] if given else 2 * (size - 1) if half else size
    if length < 1 or length >= 1 << 20:
        raise UnsupportedError(f"a transform of length {length}")
    used = min(size, length // 2 + 1 if half else length)
    # The axis next to the parts, and everything else as rows.
    order = [*(a for a in range(rank) if a not in (axis, rank - 1)), axis, rank - 1]
    outer = [c.shape()[a] for a in order[:-2]]
    x = c.view(c.build.transpose(x, order), (prod(outer), size, parts))
    if used < size:
        x = c.emit("slice", [x], starts=[0, 0, 0], steps=[1, 1, 1], sizes=[prod(outer), used, parts])
    if half and parts == 2:
        y = _product(c, x, _matrix(c, 2 * used * length, lambda: real_inverse(length, used)))
        y = c.view(y, (*outer, length, 1))
    else:
        wanted = length // 2 + 1 if onesided else length
        y = c.view(_transform(c, x, length, wanted, inverse), (*outer, wanted, 2))
    back = [order.index(a) for a in range(rank)]
    return c.build.transpose(y, back)


def _product(c: Call, x: str, matrix: str) -> str:
    """x [rows, n, parts] as rows of a product."""
    rows, n, parts = c.build.shape(x)
    return c.emit("matmul", [c.view(x, (rows, n * parts)), matrix], trans_a=0, trans_b=0)


def _transform(c: Call, x: str, length: int, wanted: int, inverse: int) -> str:
    """x [rows, n, parts], continued with zeros to `length`, to its first `wanted` frequencies."""
    rows, n, parts = c.build.shape(x)
    sign, scale = (1, 1 / length) if inverse else (-1, 1.0)
    a = next((f for f in range(isqrt(length), 1, -1) if length % f == 0), 1)
    if length < SPLIT_FROM or a < isqrt(length) // 4:
        size = 2 * n * parts * wanted
        return _product(c, x, _matrix(c, size, lambda: scale * spectrum(length, n, wanted, sign, parts)))
    # Cooley and Tukey: n = b n1 + n2 and k = k1 + a k2. First over n1; then over n2, with the turns n2 k1 between.
    b = length // a
    if n < length:
        x = c.emit("pad", [x], pads=[0, 0, 0, 0, length - n, 0])
    x = c.build.transpose(c.view(x, (rows, a, b, parts)), [0, 2, 1, 3])
    first = _product(
        c, c.view(x, (rows * b, a, parts)), _matrix(c, 2 * a * a * parts, lambda: spectrum(a, a, a, sign, parts))
    )
    inner = c.build.transpose(c.view(first, (rows, b, a, 2)), [2, 0, 1, 3])

    # For each k1 the rows n2 and columns k2 of e^(sign i tau n2 (k1 + a k2) / length).
    def turned() -> Reals:
        whole = spectrum(length, b, length, sign, 2).reshape(2 * b, b, a, 2)
        return scale * whole.transpose(2, 0, 1, 3).reshape(a, 2 * b, 2 * b)

    second = _matrix(c, 4 * a * b * b, turned)
    y = c.emit("matmul", [c.view(inner, (a, rows, 2 * b)), second], trans_a=0, trans_b=0)
    y = c.view(c.build.transpose(c.view(y, (a, rows, b, 2)), [1, 2, 0, 3]), (rows, length, 2))
    if wanted == length:
        return y
    return c.emit("slice", [y], starts=[0, 0, 0], steps=[1, 1, 1], sizes=[rows, wanted, 2])


@lowers("STFT")
def stft(c: Call) -> str:
    """A convolution: its filters are the rows of the transform times the window, its stride the frames' step."""
    signal, shape, onesided = c.input(0), c.shape(), c.flag("onesided", 1)
    parts = shape[2] if len(shape) == 3 else 1
    step = c.constant_ints(1, "frame_step")
    window = c.optional(2)
    given = c.constant_ints(3, "frame_length") if c.optional(3) else []
    if len(shape) not in (2, 3) or parts not in (1, 2) or len(step) != 1 or len(given) > 1:
        raise UnsupportedError(f"a signal {list(shape)}, frame_step {step}, frame_length {given}")
    length = given[0] if given else c.shape(2)[0] if window else shape[1]
    if not 1 <= length <= shape[1] or step[0] < 1 or (window and c.shape(2) != (length,)):
        raise UnsupportedError(f"frames of {length} of a signal {list(shape)}")
    wanted = length // 2 + 1 if onesided else length

    def frequencies() -> Reals:
        matrix = spectrum(length, length, wanted, -1, parts).reshape(length, parts, 2 * wanted)
        return np.ascontiguousarray(matrix.transpose(2, 1, 0))

    filters = _matrix(c, 2 * length * parts * wanted, frequencies)
    if window:
        filters = c.emit("mul", [filters, window])
    x = c.build.transpose(c.view(signal, (shape[0], shape[1], parts)), [0, 2, 1])
    y = convolve(c, x, filters, "", {"strides": [step[0]], "pads": [0, 0], "dilations": [1]}, 1)
    frames = c.build.shape(y)[2]
    return c.view(c.build.transpose(y, [0, 2, 1]), (shape[0], frames, wanted, 2))


# a0 - a1 cos(turn) + a2 cos(2 turns)
WINDOWS = {
    "HannWindow": (0.5, 0.5, 0.0),
    "HammingWindow": (25 / 46, 1 - 25 / 46, 0.0),
    "BlackmanWindow": (0.42, 0.5, 0.08),
}


@lowers(*WINDOWS)
def window(c: Call) -> str:
    (size,) = c.constant_ints(0, "size") or [0]
    if size < 1 or not c.build.budget.take(8 * size):
        raise UnsupportedError(f"a window of {size}")
    period = size if c.flag("periodic", 1) else max(size - 1, 1)
    a, b, d = WINDOWS[c.op]
    n = np.arange(size)
    return _of_dtype(c, a - b * cosine(n, period) + d * cosine(2 * n, period))


def _of_dtype(c: Call, values: Reals) -> str:
    dtype = onnx_dtype(c.integer("output_datatype", 1), "attribute 'output_datatype'")
    return c.build.constant(values.astype(dtype.numpy))


@lowers("MelWeightMatrix")
def mel_weight_matrix(c: Call) -> str:
    """[dft_length / 2 + 1, num_mel_bins]: triangles, as wide as the ear hears them."""
    bins, length, rate = (_single(c, i, name) for i, name in enumerate(("num_mel_bins", "dft_length", "sample_rate")))
    low, high = (_single(c, 3 + i, name) for i, name in enumerate(("lower_edge_hertz", "upper_edge_hertz")))
    lines = int(length) // 2 + 1
    if not (1 <= bins <= MOST_BINS and length >= 1 and rate >= 1 and 0 <= low < high):
        raise UnsupportedError(f"{bins} bins of {length} between {low} and {high} at {rate} hertz")
    if not c.build.budget.take(8 * lines * int(bins)):
        raise UnsupportedError("the matrix is too large")
    edges = _mel_edges(int(bins) + 2, int(length), rate, low, high)
    if edges[-1] >= lines:
        raise UnsupportedError(f"an upper edge of {high} hertz at a sample rate of {rate}")
    matrix = np.zeros((lines, int(bins)))
    for i in range(int(bins)):
        left, centre, right = edges[i : i + 3]
        if left == centre:
            matrix[centre, i] = 1
        else:
            matrix[left : centre + 1, i] = np.arange(centre + 1 - left) / (centre - left)
        if right > centre:
            matrix[centre:right, i] = np.arange(right - centre, 0, -1) / (right - centre)
    return _of_dtype(c, matrix)


def _single(c: Call, index: int, what: str) -> float:
    value: Array = c.constant(index, what)
    if value.size != 1 or not np.isfinite(value).all():
        raise UnsupportedError(f"input {what!r} is no single number")
    return float(value.reshape(()))


def _mel_edges(count: int, length: int, rate: float, low: float, high: float) -> list[int]:
    """Lines of a spectrum at equal distances on the mel scale, 2595 log10(1 + f / 700); in exact decimals."""
    with localcontext() as context:
        context.prec = 40

        def mel(hertz: float) -> Decimal:
            return 2595 * (1 + Decimal(hertz) / 700).log10()

        start, step = mel(low), (mel(high) - mel(low)) / count
        hertz = (700 * (Decimal(10) ** ((start + i * step) / 2595) - 1) for i in range(count))
        return [max(int((length + 1) * f / Decimal(rate)), 0) for f in hertz]
