"""Sliding windows: what convolution and pooling share."""

from dataclasses import dataclass

from opml.ops.base import Attrs, jit
from opml.ops.checks import ints_attr, refuse
from vm.guest.intrinsics import udiv


@jit
def first_tap(start, step, taps):  # type: ignore[no-untyped-def]
    """The first tap i < taps with start + i * step >= 0; `taps` where there is none. step > 0."""
    if start >= 0:
        return 0
    return min(udiv(step - 1 - start, step), taps)


@jit
def end_tap(start, step, size, taps):  # type: ignore[no-untyped-def]
    """One more than the last tap i < taps with start + i * step < size; 0 where there is none. step > 0."""
    if start >= size:
        return 0
    return min(udiv(size - start + step - 1, step), taps)


@dataclass(frozen=True)
class Window:
    """Kernel, strides, dilations per axis (height, width), and pads (top, left, bottom, right)."""

    kernel: tuple[int, int]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]

    @classmethod
    def read(cls, op: str, attrs: Attrs, kernel: tuple[int, int]) -> "Window":
        """From the attributes strides, dilations, pads, which default to 1, 1 and 0."""
        strides = ints_attr(op, attrs, "strides", [1, 1], 2)
        dilations = ints_attr(op, attrs, "dilations", [1, 1], 2)
        pads = ints_attr(op, attrs, "pads", [0, 0, 0, 0], 4)
        if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
            raise refuse(op, f"kernel {list(kernel)}, strides {strides}, dilations {dilations}, pads {pads}")
        if max(*kernel, *strides, *dilations, *pads) >= 1 << 20:
            raise refuse(op, "a window's size, stride, dilation and pads must be below 2^20")
        return cls(kernel, (strides[0], strides[1]), (dilations[0], dilations[1]), (pads[0], pads[1], pads[2], pads[3]))

    def output(self, op: str, size: tuple[int, int], ceil_mode: int = 0) -> tuple[int, int]:
        """Height and width of the output for an input of `size`; in ceil mode no window starts in the far padding."""
        sizes = []
        for axis in (0, 1):
            reach = (self.kernel[axis] - 1) * self.dilations[axis] + 1
            room = size[axis] + self.pads[axis] + self.pads[axis + 2] - reach
            if room < 0:
                raise refuse(op, f"a window of {reach} is larger than the padded input of {room + reach}")
            count = room // self.strides[axis] + 1
            if ceil_mode and room % self.strides[axis] and count * self.strides[axis] < size[axis] + self.pads[axis]:
                count += 1
            sizes.append(count)
        return sizes[0], sizes[1]
