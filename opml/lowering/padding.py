"""Pad and CenterCropPad → slices, gathers with constant indices, and padding with a value."""

from math import prod

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers


@lowers("Pad")
def pad(c: Call) -> str:
    """In four modes; negative pads cut off first."""
    x, rank, mode = c.input(), c.rank(), c.text("mode", "constant")
    given = c.attr_or_input("pads", 1, 11)
    axes = list(range(rank))
    if c.opset >= 18 and c.optional(3):
        axes = [c.axis(axis, rank) for axis in c.constant_ints(3, "axes")]
    if given is None or len(given) != 2 * len(axes) or len(set(axes)) != len(axes):
        raise UnsupportedError(f"pads {given} for {len(axes)} axes")
    if mode not in ("constant", "reflect", "edge", "wrap"):
        raise UnsupportedError(f"attribute 'mode' is {mode!r}")
    before, after = [0] * rank, [0] * rank
    for position, axis in enumerate(axes):
        before[axis], after[axis] = given[position], given[len(axes) + position]
    value = c.optional(2) if c.opset >= 11 else c.build.scalar(c.number("value", 0.0))
    x = cut(c, x, before, after)
    before, after = [max(n, 0) for n in before], [max(n, 0) for n in after]
    if mode == "constant":
        return fill(c, x, before, after, value)
    for axis in reversed(range(rank)):
        if before[axis] or after[axis]:
            size = c.build.shape(x)[axis]
            if not c.build.budget.take(8 * (before[axis] + size + after[axis])):
                raise UnsupportedError(f"padding by {before[axis]} and {after[axis]}")
            index = c.build.constant(_source(mode, size, before[axis], after[axis]))
            x = c.emit("gather", [x, index], axis=axis)
    return x


def cut(c: Call, x: str, before: list[int], after: list[int]) -> str:
    """Cuts off where padding is negative."""
    shape = c.build.shape(x)
    if min([*before, *after], default=0) >= 0:
        return x
    starts = [max(-n, 0) for n in before]
    sizes = [size - start - max(-n, 0) for size, start, n in zip(shape, starts, after, strict=True)]
    if min(sizes) < 1:
        raise UnsupportedError(f"pads {[*before, *after]} leave nothing of {list(shape)}")
    return c.emit("slice", [x], starts=starts, steps=[1] * len(shape), sizes=sizes)


def _source(mode: str, size: int, before: int, after: int) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    """The element of the axis that each element of the padded axis is."""
    place = np.arange(-before, size + after, dtype=np.int64)
    if mode == "edge":
        return np.clip(place, 0, size - 1)
    if mode == "wrap":
        return place % size
    period = max(2 * size - 2, 1)
    place %= period
    return np.minimum(place, period - place) if size > 1 else np.zeros_like(place)


def fill(c: Call, x: str, before: list[int], after: list[int], value: str) -> str:
    """x with one value around it, zero by default."""
    shape, dtype = c.build.shape(x), c.build.type(x).dtype
    if not any(before) and not any(after):
        return x
    out = [a + n + b for a, n, b in zip(before, shape, after, strict=True)]
    if value and (c.build.type(value).dtype is not dtype or c.build.type(value).elements != 1):
        raise UnsupportedError(f"input 'constant_value' is no single {dtype.value}")
    constant = c.build.value(value) if value else np.zeros((), dtype.numpy)
    # A float attribute is a float32 that is a number.
    if constant is None or (dtype.is_float and not (constant.astype(np.float32) == constant).all()):
        return _surround(c, x, before, after, value)
    # Axes without padding are one with the axis before them, whose padding grows as much.
    merged: list[list[int]] = []
    for a, n, b in zip(before, shape, after, strict=True):
        if merged and not a and not b:
            merged[-1] = [size * n for size in merged[-1]]
        else:
            merged.append([a, n, b])
    number = constant.reshape(()).item()
    plain = float(number) if dtype.is_float else int(number)
    pads = [a for a, _, _ in merged] + [b for _, _, b in merged]
    y = c.emit("pad", [c.view(x, [n for _, n, _ in merged])], pads=pads, value=plain)
    return c.view(y, out)


def _surround(c: Call, x: str, before: list[int], after: list[int], value: str) -> str:
    """The same with a value that is computed."""
    for axis, (a, b) in enumerate(zip(before, after, strict=True)):
        shape = list(c.build.shape(x))
        parts = []
        for count in (a, b):
            block = [*shape[:axis], count, *shape[axis + 1 :]]
            one = c.view(value, [1] * len(shape))
            parts.append(c.emit("expand", [one], shape=block) if prod(block) else "")
        x = c.build.concat([part for part in (parts[0], x, parts[1]) if part], axis)
    return x


@lowers("CenterCropPad")
def center_crop_pad(c: Call) -> str:
    """The middle of an axis that is too long; zeros around one that is too short, one more after it if they are odd."""
    x, rank, wanted = c.input(0), c.rank(), c.constant_ints(1, "shape")
    given = c.integers("axes")
    axes = list(range(rank)) if given is None else [c.axis(axis, rank) for axis in given]
    if len(axes) != len(wanted) or len(set(axes)) != len(axes) or min(wanted, default=1) < 1:
        raise UnsupportedError(f"shape {wanted} for {len(axes)} axes")
    before, after = [0] * rank, [0] * rank
    for axis, size in zip(axes, wanted, strict=True):
        more = size - c.shape()[axis]
        before[axis] = more // 2 if more > 0 else -(-more // 2)
        after[axis] = more - before[axis]
    x = cut(c, x, before, after)
    return fill(c, x, [max(n, 0) for n in before], [max(n, 0) for n in after], "")
