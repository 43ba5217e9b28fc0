"""Cases of matrix products, convolution and pooling."""

import numpy as np
from hypothesis import strategies as st
from primitive_base import Array, Draw, Sample, case, present, values

from opml.ops.matmul import pack


def numbers(draw: Draw, *size: int) -> Array:
    """Any floats, or, more often, moderate ones: one NaN hides all other terms of a sum."""
    return values(draw, "float32", size, odd=draw(st.integers(0, 3)) == 0)


@case("matmul")
def matmul(draw: Draw, op: str) -> Sample:
    m, n = draw(st.integers(1, 5)), draw(st.sampled_from((1, 3, 8, 17)))
    k = draw(st.sampled_from((1, 2, 5, 17, 513)))
    batch = draw(st.sampled_from(((), (2,))))
    trans_a, trans_b = draw(st.booleans()), draw(st.booleans())
    a = numbers(draw, *batch, *((k, m) if trans_a else (m, k)))
    bias = present(draw, numbers(draw, *draw(st.sampled_from(((n,), (m, 1), (m, n), (), (1, n))))))
    tail = [] if bias is None else [bias]
    if draw(st.booleans()):
        panels = pack(numbers(draw, k, n))
        return Sample([a, panels, *tail], {"trans_a": int(trans_a), "packed": 1, "n": n}, (1,))
    b = numbers(draw, *draw(st.sampled_from(((), batch))), *((n, k) if trans_b else (k, n)))
    return Sample([a, b, *tail], {"trans_a": int(trans_a), "trans_b": int(trans_b)})


def window(draw: Draw, height: int, width: int, pooling: bool, dilated: bool = True) -> tuple[list[int], dict]:
    """A kernel and attributes that fit into an image; a pool's padding is smaller than its kernel."""
    kernel = [draw(st.integers(1, min(3, size))) for size in (height, width)]
    attrs = {"strides": [draw(st.integers(1, 3)) for _ in kernel]}
    most = [size - 1 if pooling else 3 for size in kernel]
    attrs["pads"] = [draw(st.integers(0, limit)) for limit in most * 2]
    if dilated:
        fits = [2 * (k - 1) + 1 <= size for k, size in zip(kernel, (height, width), strict=True)]
        attrs["dilations"] = [draw(st.integers(1, 2)) if fit else 1 for fit in fits]
    return kernel, attrs


@case("conv")
def conv(draw: Draw, op: str) -> Sample:
    group, channels, out = (draw(st.integers(1, 2)) for _ in range(3))
    height, width = draw(st.integers(1, 5)), draw(st.integers(1, 5))
    kernel, attrs = window(draw, height, width, pooling=False)
    x = numbers(draw, draw(st.integers(1, 2)), channels * group, height, width)
    w = numbers(draw, out * group, channels, *kernel)
    bias = present(draw, numbers(draw, out * group))
    return Sample([x, w] if bias is None else [x, w, bias], {**attrs, "group": group}, (1,))


@case("maxpool", "avgpool")
def pool(draw: Draw, op: str) -> Sample:
    height, width = draw(st.integers(1, 6)), draw(st.integers(1, 6))
    kernel, attrs = window(draw, height, width, pooling=True, dilated=True)
    attrs |= {"kernel": kernel, "ceil_mode": draw(st.integers(0, 1))}
    if op == "avgpool":
        attrs["count_include_pad"] = draw(st.integers(0, 1))
    x = values(draw, "float32", (1, draw(st.integers(1, 2)), height, width))
    return Sample([np.asarray(x)], attrs)
