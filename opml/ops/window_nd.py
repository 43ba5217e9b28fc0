"""Sliding windows over any number of axes."""

from dataclasses import dataclass

from opml.ops.base import Attrs
from opml.ops.checks import Shape, ints_attr, refuse

MOST = 1 << 20


@dataclass(frozen=True)
class WindowND:
    """Kernel, strides, dilations and the padding before and after, each with an entry per spatial axis."""

    kernel: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    after: list[int]

    @classmethod
    def read(cls, op: str, attrs: Attrs, kernel: list[int]) -> "WindowND":
        """From the attributes strides, dilations and pads, which default to 1, 1 and 0."""
        rank = len(kernel)
        strides = ints_attr(op, attrs, "strides", [1] * rank, rank)
        dilations = ints_attr(op, attrs, "dilations", [1] * rank, rank)
        pads = ints_attr(op, attrs, "pads", [0] * 2 * rank, 2 * rank)
        if min([*kernel, *strides, *dilations], default=1) < 1 or min(pads, default=0) < 0:
            raise refuse(op, f"kernel {kernel}, strides {strides}, dilations {dilations}, pads {pads}")
        if max([*kernel, *strides, *dilations, *pads], default=0) >= MOST:
            raise refuse(op, "a window's size, stride, dilation and pads must be below 2^20")
        return cls(kernel, strides, dilations, pads[:rank], pads[rank:])

    def reach(self, axis: int) -> int:
        """What a window spans of an axis."""
        return (self.kernel[axis] - 1) * self.dilations[axis] + 1

    def output(self, op: str, size: Shape, ceil_mode: int = 0) -> Shape:
        """Windows along each axis of an input of `size`; in ceil mode none starts in the far padding."""
        counts = []
        for axis, n in enumerate(size):
            stride, padded = self.strides[axis], n + self.before[axis] + self.after[axis]
            room = padded - self.reach(axis)
            if room < 0:
                raise refuse(op, f"a window of {self.reach(axis)} is larger than the padded input of {padded}")
            count = room // stride + 1
            if ceil_mode and room % stride and count * stride < n + self.before[axis]:
                count += 1
            counts.append(count)
        return tuple(counts)
