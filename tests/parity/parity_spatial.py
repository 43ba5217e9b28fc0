"""Random nodes of operators on images that are more than one primitive each."""

from math import prod, sqrt

import numpy as np
from parity_builder import Builder
from parity_operators import image


def conv_transpose(b: Builder) -> None:
    x = image(b)
    axes, channels = x.rank - 2, x.shape[1]
    group = b.choice(*[g for g in (1, 2, channels) if channels % g == 0])
    out = b.integer(1, 2)
    kernel, strides, dilations = ([b.integer(1, 3) for _ in range(axes)] for _ in range(3))
    extra = [b.integer(0, stride - 1) for stride in strides]
    sizes = [
        s * (n - 1) + (k - 1) * d + 1 + e
        for n, s, k, d, e in zip(x.shape[2:], strides, kernel, dilations, extra, strict=True)
    ]
    pads = [b.integer(0, min(1, (n - 1) // 2)) for n in (*sizes, *sizes)]
    shape = [n - before - after for n, before, after in zip(sizes, pads[:axes], pads[axes:], strict=True)]
    depth = channels // group * prod(kernel)
    weight = b.constant(b.numbers("float32", (channels, out, *kernel), 1 / sqrt(depth)), "weight")
    bound = x.bound * sqrt(depth)
    b.add("ConvTranspose", [x.name, weight], (x.shape[0], group * out, *shape), exact=False, bound=bound, group=group,
          strides=strides, dilations=dilations, pads=pads, output_padding=extra)  # fmt: skip


def resize(b: Builder) -> None:
    x = image(b, (4,))
    sizes = [b.integer(1, 7), b.integer(1, 7)]
    mode = b.choice("nearest", "linear", "cubic")
    target = b.constant(np.array([*x.shape[:2], *sizes], np.int64), "sizes")
    exact = x.exact and mode == "nearest"
    # Places that are no halves: of two equally near neighbours either may be taken.
    transform = b.choice("align_corners", "asymmetric") if mode == "nearest" else b.choice("half_pixel", "asymmetric")
    rounding = "floor" if transform == "asymmetric" else "ceil"
    b.add("Resize", [x.name, "", "", target], (*x.shape[:2], *sizes), exact=exact, bound=2 * x.bound, mode=mode,
          coordinate_transformation_mode=transform, nearest_mode=rounding)  # fmt: skip


def pad(b: Builder) -> None:
    x = b.value("float32", (1, 3))
    mode = b.choice("constant", "edge", "reflect")
    pads = [b.integer(0, min(2, size - 1)) for size in (*x.shape, *x.shape)]
    shape = tuple(n + pads[d] + pads[x.rank + d] for d, n in enumerate(x.shape))
    b.add("Pad", [x.name, b.constant(np.array(pads, np.int64), "pads")], shape, exact=x.exact, bound=x.bound, mode=mode)


def instance_norm(b: Builder) -> None:
    x = image(b)
    numbers = [b.constant(b.numbers("float32", (x.shape[1],), 1.0)) for _ in range(2)]
    bound = sqrt(prod(x.shape[2:])) + 1
    b.add("InstanceNormalization", [x.name, *numbers], x.shape, exact=False, bound=bound, epsilon=0.1)


SPATIAL = (conv_transpose, resize, pad, instance_norm)
