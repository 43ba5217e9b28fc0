"""ConvTranspose → convolutions: of its outputs, those that lie a stride apart are the outputs of an ordinary one.

Along an axis, the output at stride * q + phase reads the input at q + a constant, for the taps that agree with the
phase. So each phase is a convolution with some of the taps, and neighbouring phases with taps at the same places are
one convolution with more channels. In the end the phases are woven together.
"""

from dataclasses import dataclass
from itertools import product
from math import gcd, prod

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.windows import convolve, shared_pads, sized

# Convolutions; more would make a graph of too many nodes. And pairs of a phase and a tap, to be looked through.
MOST_PIECES = 1024
MOST_PAIRS = 1 << 22


@dataclass(frozen=True)
class Geometry:
    """How the outputs of a phase read their axis: `taps` taps, `step` apart, the first one at q + start."""

    taps: int
    start: int
    step: int


@dataclass(frozen=True)
class Axis:
    """One spatial axis: sizes of input, kernel and output, stride, dilation, padding before."""

    size: int
    kernel: int
    out: int
    stride: int
    dilation: int
    before: int

    @property
    def count(self) -> int:
        """Outputs of a phase; the last ones may lie beyond the end."""
        return -(-self.out // self.stride)

    def taps(self, phase: int) -> tuple[int, ...]:
        """The taps that outputs stride * q + phase read with, the one that reads first coming first."""
        place = phase + self.before
        agreeing = [k for k in range(self.kernel) if (place - k * self.dilation) % self.stride == 0]
        return tuple(reversed(agreeing))

    def geometry(self, phase: int) -> Geometry:
        taps = self.taps(phase)
        if not taps:
            return Geometry(0, 0, 1)
        start = (phase + self.before - taps[0] * self.dilation) // self.stride
        return Geometry(len(taps), start, self.dilation // gcd(self.dilation, self.stride))

    def runs(self) -> list[tuple[Geometry, list[int]]]:
        """Neighbouring phases that read at the same places."""
        runs: list[tuple[Geometry, list[int]]] = []
        for phase in range(self.stride):
            geometry = self.geometry(phase)
            if runs and runs[-1][0] == geometry:
                runs[-1][1].append(phase)
            else:
                runs.append((geometry, [phase]))
        return runs


@lowers("ConvTranspose")
def conv_transpose(c: Call) -> str:
    """x [N, C, *spatial] by w [C, O/group, *kernel], plus b [O]."""
    x, weight, bias, group = c.input(0), c.input(1), c.optional(2), c.integer("group", 1)
    axes = _axes(c)
    channels, per_group = c.shape(1)[:2]
    if len(c.shape(1)) != c.rank() or channels != c.shape()[1] or group < 1 or channels % group:
        raise UnsupportedError(f"{c.shape()[1]} channels and a filter {list(c.shape(1))} do not make {group} groups")
    if bias and c.build.shape(bias) != (group * per_group,):
        raise UnsupportedError(f"a bias of shape {list(c.build.shape(bias))} for {group * per_group} channels")
    if any(axis.stride * axis.kernel > MOST_PAIRS for axis in axes):
        raise UnsupportedError(f"strides {[axis.stride for axis in axes]} with kernels {c.shape(1)[2:]}")
    runs = [axis.runs() for axis in axes]
    if prod(map(len, runs)) > MOST_PIECES:
        raise UnsupportedError(f"strides {[axis.stride for axis in axes]} make more than {MOST_PIECES} convolutions")
    pieces = {
        key: _piece(c, x, weight, bias, group, axes, [run[i] for run, i in zip(runs, key, strict=True)])
        for key in product(*(range(len(run)) for run in runs))
    }
    return _woven(c, pieces, axes, group)


def _axes(c: Call) -> list[Axis]:
    """The spatial axes, with `auto_pad`, `output_shape` and `output_padding` resolved."""
    sizes, kernel = list(c.shape()[2:]), list(c.shape(1)[2:])
    rank = len(sizes)
    if not 1 <= rank <= 5:
        raise UnsupportedError(f"a tensor of {c.rank()} dimensions; opml has one to five spatial ones")
    given = c.integers("kernel_shape")
    if given is not None and given != kernel:
        raise UnsupportedError(f"attribute 'kernel_shape' is {given}, but the weight's kernel is {kernel}")
    strides = sized("strides", c.integers("strides") or [1] * rank, rank)
    dilations = sized("dilations", c.integers("dilations") or [1] * rank, rank)
    extra = sized("output_padding", (c.integers("output_padding") or [0] * rank)[:rank], rank)
    pads, out, auto = c.integers("pads"), c.integers("output_shape"), c.text("auto_pad", "NOTSET")
    if min(*strides, *dilations) < 1 or min(extra) < 0 or min(pads or [0]) < 0:
        raise UnsupportedError(f"strides {strides}, dilations {dilations}, pads {pads}, output_padding {extra}")
    full = [
        s * (n - 1) + e + (k - 1) * d + 1
        for n, k, s, d, e in zip(sizes, kernel, strides, dilations, extra, strict=True)
    ]
    same = auto in ("SAME_UPPER", "SAME_LOWER")
    if out is None and same:
        out = [n * s for n, s in zip(sizes, strides, strict=True)]
    if out is not None:
        out = sized("output_shape", out[-rank:], rank)
        totals = [f - o for f, o in zip(full, out, strict=True)]
        # A negative total is no padding: the output grows at its end.
        pads = shared_pads(auto if same else "SAME_LOWER", [max(total, 0) for total in totals])
    else:
        if auto not in ("NOTSET", "VALID"):
            raise UnsupportedError(f"attribute 'auto_pad' is {auto!r}")
        pads = sized("pads", pads or [0] * 2 * rank, 2 * rank)
        out = [f - a - b for f, a, b in zip(full, pads[:rank], pads[rank:], strict=True)]
    if min(out) < 1 or max(*out, *strides, *dilations) >= 1 << 20:
        raise UnsupportedError(f"an output of spatial shape {out}")
    return [Axis(*fields) for fields in zip(sizes, kernel, out, strides, dilations, pads[:rank], strict=True)]


def _piece(
    c: Call, x: str, weight: str, bias: str, group: int, axes: list[Axis], runs: list[tuple[Geometry, list[int]]]
) -> str:
    """All phases of a run along each axis: [N, group, *phases, O/group, *counts]."""
    n, channels = c.build.shape(x)[:2]
    phases = [len(run) for _, run in runs]
    per_group = c.build.shape(weight)[1]
    counts = [axis.count for axis in axes]
    shape = (n, group, *phases, per_group, *counts)
    reads = [_reach(axis, geometry) for axis, (geometry, _) in zip(axes, runs, strict=True)]
    if any(read is None for read in reads):
        ones = [1] * len(counts)
        start = c.view(bias, (1, group, *ones, per_group, *ones)) if bias else c.build.scalar(0.0)
        return c.emit("expand", [c.view(start, c.build.shape(start) or [1] * len(shape))], shape=list(shape))
    taken, pads = [read[0] for read in reads if read], [read[1] for read in reads if read]
    if any(start or end != axis.size for (start, end), axis in zip(taken, axes, strict=True)):
        starts, sizes = [0, 0, *(start for start, _ in taken)], [n, channels, *(e - s for s, e in taken)]
        x = c.emit("slice", [x], starts=starts, steps=[1] * len(starts), sizes=sizes)
    filters = _filters(
        c, weight, group, [[axis.taps(p) for p in run] for axis, (_, run) in zip(axes, runs, strict=True)]
    )
    if bias:
        spread = [group, *[1] * len(phases), per_group]
        wide = c.view(bias, spread)
        if prod(phases) > 1:
            wide = c.emit("expand", [wide], shape=[group, *phases, per_group])
        bias = c.view(wide, (group * prod(phases) * per_group,))
    attrs = {
        "strides": [1] * len(axes),
        "dilations": [geometry.step for geometry, _ in runs],
        "pads": [pad[0] for pad in pads] + [pad[1] for pad in pads],
    }
    return c.view(convolve(c, x, filters, bias, attrs, group), shape)


def _reach(axis: Axis, geometry: Geometry) -> tuple[tuple[int, int], tuple[int, int]] | None:
    """The part of the input that a run reads, and the padding about it; None where it reads nothing."""
    if geometry.taps == 0:
        return None
    first, span = geometry.start, (geometry.taps - 1) * geometry.step
    last = first + axis.count - 1 + span
    start, end = max(first, 0), min(last + 1, axis.size)
    if start >= end:
        return None
    return (start, end), (start - first, last + 1 - end)


def _filters(c: Call, weight: str, group: int, taps: list[list[tuple[int, ...]]]) -> str:
    """Of w [C, O/group, *kernel] the taps of each phase, as filters [group * phases * O/group, C/group, *taps]."""
    channels, per_group, *kernel = c.build.shape(weight)
    rank = len(kernel)
    # [C, O/group, phases of the first axis, its taps, phases of the second, its taps, ...]
    for axis, lists in enumerate(taps):
        indices = np.array([tap for chosen in lists for tap in chosen], np.int64)
        if list(indices) != list(range(kernel[axis])):
            weight = _take(c, weight, 2 + axis, indices)
    split = [size for lists in taps for size in (len(lists), len(lists[0]))]
    weight = c.view(weight, (group, channels // group, per_group, *split))
    order = [0, *range(3, 3 + 2 * rank, 2), 2, 1, *range(4, 4 + 2 * rank, 2)]
    weight = c.build.transpose(weight, order)
    phases = prod(map(len, taps))
    return c.view(weight, (group * phases * per_group, channels // group, *(len(lists[0]) for lists in taps)))


def _take(c: Call, x: str, axis: int, indices: np.ndarray) -> str:
    """The elements of a tensor at constant places of an axis, which lie at one distance or are few."""
    shape = c.build.shape(x)

    def part(start: int, step: int, count: int) -> str:
        starts, steps, sizes = [0] * len(shape), [1] * len(shape), list(shape)
        starts[axis], steps[axis], sizes[axis] = start, step, count
        return c.emit("slice", [x], starts=starts, steps=steps, sizes=sizes)

    steps = set(np.diff(indices).tolist())
    if len(steps) <= 1 and 0 not in steps:
        return part(int(indices[0]), steps.pop() if steps else 1, len(indices))
    return c.build.concat([part(int(index), 1, 1) for index in indices], axis)


def _woven(c: Call, pieces: dict[tuple[int, ...], str], axes: list[Axis], group: int) -> str:
    """The phases of all pieces, [N, group, *phases, O/group, *counts], at their places in the output."""
    rank = len(axes)
    for axis in reversed(range(rank)):
        joined: dict[tuple[int, ...], list[str]] = {}
        for key in sorted(pieces):
            joined.setdefault(key[:axis], []).append(pieces[key])
        pieces = {key: c.build.concat(names, 2 + axis) for key, names in joined.items()}
    (y,) = pieces.values()
    n, _, *phases = c.build.shape(y)[: 2 + rank]
    per_group, *counts = c.build.shape(y)[2 + rank :]
    order = [0, 1, 2 + rank, *(i for axis in range(rank) for i in (3 + rank + axis, 2 + axis))]
    y = c.build.transpose(y, order)
    channels = group * per_group
    y = c.view(y, (n, channels, *(a * b for a, b in zip(counts, phases, strict=True))))
    sizes = [n, channels, *(axis.out for axis in axes)]
    if list(c.build.shape(y)) == sizes:
        return y
    return c.emit("slice", [y], starts=[0] * len(sizes), steps=[1] * len(sizes), sizes=sizes)
