"""If, Loop and Scan: a program has no branches, so graphs within a graph are lowered in place, once per round.

A condition that is constant chooses; one that is computed selects afterwards, element by element, so both ways are
computed and must give tensors of one type. How many rounds there are at most must be constant.
"""

from collections import ChainMap
from collections.abc import Sequence

import numpy as np

from opml.errors import ConstantNeededError, ModelError, UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers
from opml.lowering.scope import apply, lower_nodes
from opml.lowering.sorting import select
from opml.onnx_nodes import OnnxGraph


class Body:
    """A graph in an attribute, to be lowered any number of times among the names of the graph around it."""

    def __init__(self, c: Call, name: str, inputs: int | None = None) -> None:
        c.attrs_read.add(name)
        graph = getattr(c.node, "graphs", {}).get(name)
        if not isinstance(graph, OnnxGraph):
            raise UnsupportedError(f"attribute {name!r} is missing, or no graph")
        if inputs is not None and len(graph.inputs) != inputs:
            raise UnsupportedError(f"the graph {name!r} has {len(graph.inputs)} inputs, not {inputs}")
        self.call, self.graph = c, graph
        self.constants = {name: c.build.constant(value) for name, value in graph.constants.items()}

    def lower(self, inputs: Sequence[str] = ()) -> list[str]:
        """The tensors that are its outputs, for tensors that are its inputs."""
        c = self.call
        c.build.count()
        names = ChainMap({**self.constants, **dict(zip(self.graph.inputs, inputs, strict=True))}, c.names)
        lower_nodes(c.build, self.graph, names, c.depth + 1)
        if missing := [name for name in self.graph.outputs if name not in names]:
            raise UnsupportedError(f"output {missing[0]!r} is a further output of a node that opml does not have")
        return [names[name] for name in self.graph.outputs]


@lowers("If")
def if_(c: Call) -> list[str]:
    """A constant condition takes its branch; of a computed one both are computed and one is selected."""
    condition = c.input(0)
    value = _flag(c, condition, "the condition")
    branches = [Body(c, name, 0) for name in ("then_branch", "else_branch")]
    for branch in branches:
        if len(branch.graph.outputs) < len(c.node.outputs):
            raise UnsupportedError(f"a branch has {len(branch.graph.outputs)} outputs, not {len(c.node.outputs)}")
    if value is not None:
        return branches[0 if value else 1].lower()
    yes, no = (branch.lower() for branch in branches)
    return [_select(c, condition, a, b) for a, b in zip(yes, no, strict=False)]


@lowers("Loop")
def loop(c: Call) -> list[str]:
    """Unrolled. While its condition is constant, it ends where it is false; from then on, where it is computed, rounds
    go on to the constant trip count and change nothing any more. Further outputs are counted then, as rounds are.
    """
    limit = _trip_count(c)
    keep_going = c.optional(1) or c.build.constant(np.array(True))
    carried = [c.input(index) for index in range(2, len(c.inputs))]
    body = Body(c, "body", 2 + len(carried))
    if len(body.graph.outputs) < 1 + len(carried):
        raise UnsupportedError(f"the body has {len(body.graph.outputs)} outputs for {len(carried)} carried values")
    gathered: list[list[str]] = [[] for _ in body.graph.outputs[1 + len(carried) :]]
    flag = c.build.constant(np.array(True))
    # From the first round whose condition is computed: whether it ran, int64 [1] each.
    ran: list[str] = []
    round_ = 0
    while limit is None or round_ < limit:
        going = _flag(c, keep_going, "the condition")
        if going is False:
            break
        if going is None and limit is None:
            behind = c.build.inputs_behind(keep_going)
            raise ConstantNeededError("how often it runs is computed, and there is no trip count", behind)
        # Within a round the condition is known to be true; where it is only computed, nobody sees what is computed.
        number = c.build.constant(np.array(round_, np.int64))
        again, *results = body.lower([number, flag, *carried])
        new, parts = results[: len(carried)], results[len(carried) :]
        if going is None:
            new = [_select(c, keep_going, a, b) for a, b in zip(new, carried, strict=True)]
            ran.append(c.view(c.emit("cast", [keep_going], to="int64"), (1,)))
            again = apply(c, "And", [c.view(keep_going, ()), c.view(again, ())])
        carried, keep_going = new, again
        for part, parts_of in zip(parts, gathered, strict=True):
            parts_of.append(c.view(_uncounted(c, part), (1, *c.build.shape(part))))
        round_ += 1
    if gathered and not round_:
        raise UnsupportedError("a loop that never runs has outputs of unknown shape")
    grown = [c.build.concat(parts, 0) for parts in gathered]
    if ran and grown:
        count = c.build.constant(np.array([round_ - len(ran)], np.int64))
        for one in ran:
            count = c.emit("add", [count, one])
        grown = [select(c, name, count) for name in grown]
    return [*carried, *grown]


@lowers("Scan")
def scan(c: Call) -> list[str]:
    """Unrolled over its scan inputs. Before operator set 9 a batch axis comes first, and there are lengths."""
    count = c.integer("num_scan_inputs", 0)
    if c.opset < 9:
        return _scan_batches(c, count)
    inputs = [c.input(index) for index in range(len(c.inputs))]
    if not 0 < count <= len(inputs):
        raise UnsupportedError(f"attribute 'num_scan_inputs' is {count} of {len(inputs)} inputs")
    body = Body(c, "body", len(inputs))
    outputs = len(body.graph.outputs) - (len(inputs) - count)
    return _scan(
        c,
        body,
        inputs,
        count,
        _list(c, "scan_input_axes", count),
        _list(c, "scan_input_directions", count),
        _list(c, "scan_output_axes", outputs),
        _list(c, "scan_output_directions", outputs),
    )


def _scan(
    c: Call,
    body: Body,
    inputs: list[str],
    count: int,
    axes: list[int],
    backward: list[int],
    out_axes: list[int],
    out_backward: list[int],
) -> list[str]:
    """One scan: final states, then what every round gives, along the axes asked for."""
    build = c.build
    states, scanned = inputs[: len(inputs) - count], inputs[len(inputs) - count :]
    axes = [c.axis(axis, len(build.shape(name))) for axis, name in zip(axes, scanned, strict=True)]
    lengths = {build.shape(name)[axis] for axis, name in zip(axes, scanned, strict=True)}
    if len(lengths) != 1 or len(body.graph.outputs) < len(states):
        raise UnsupportedError(f"scan inputs of the lengths {sorted(lengths)}, and {len(body.graph.outputs)} outputs")
    (length,) = lengths
    if not length:
        raise UnsupportedError("a scan over nothing has outputs of unknown shape")
    gathered: list[list[str]] = [[] for _ in out_axes]
    for step in range(length):
        parts = [
            _take(c, name, axis, length - 1 - step if back else step)
            for name, axis, back in zip(scanned, axes, backward, strict=True)
        ]
        results = body.lower([*states, *parts])
        states = results[: len(states)]
        for part, parts_of in zip(results[len(states) :], gathered, strict=True):
            parts_of.append(_uncounted(c, part))
    outputs = []
    for steps, axis, back in zip(gathered, out_axes, out_backward, strict=True):
        shape = build.shape(steps[0])
        at = c.axis(axis, len(shape) + 1)
        views = [c.view(part, (*shape[:at], 1, *shape[at:])) for part in (steps[::-1] if back else steps)]
        outputs.append(build.concat(views, at))
    return [*states, *outputs]


def _scan_batches(c: Call, count: int) -> list[str]:
    """Operator set 8: a scan for every element of the batch, all along their first axis."""
    inputs = [c.input(index) for index in range(1, len(c.inputs))]
    lengths = c.optional(0)
    if not 0 < count <= len(inputs):
        raise UnsupportedError(f"attribute 'num_scan_inputs' is {count} of {len(inputs)} inputs")
    shapes = [c.build.shape(name) for name in inputs]
    if min(map(len, shapes)) < 1 or len({shape[0] for shape in shapes}) != 1 or min(map(len, shapes[-count:])) < 2:
        raise UnsupportedError(f"the shapes {[list(shape) for shape in shapes]} have no batch in common")
    if lengths and (c.constant(0, "sequence_lens") != shapes[-1][1]).any():
        raise UnsupportedError("input 'sequence_lens' with sequences that are shorter than their tensor")
    body = Body(c, "body", len(inputs))
    backward = _list(c, "directions", count)
    outputs = len(body.graph.outputs) - (len(inputs) - count)
    results = []
    for element in range(shapes[0][0]):
        parts = [_take(c, name, 0, element) for name in inputs]
        results.append(_scan(c, body, parts, count, [0] * count, backward, [0] * outputs, [0] * outputs))
    return [
        c.build.concat([c.view(_uncounted(c, part), (1, *c.build.shape(part))) for part in parts], 0)
        for parts in zip(*results, strict=True)
    ]


def _list(c: Call, name: str, count: int) -> list[int]:
    values = c.integers(name) or [0] * count
    if len(values) != count or ("direction" in name and not set(values) <= {0, 1}):
        raise UnsupportedError(f"attribute {name!r} is {values} for {count} tensors")
    return values


def _uncounted(c: Call, part: str) -> str:
    """What one round adds to an output, whose size must be known."""
    if part in c.build.counts:
        raise UnsupportedError("a round adds to an output what has a size that is data")
    return part


def _take(c: Call, name: str, axis: int, index: int) -> str:
    """One element along an axis, which goes."""
    shape = c.build.shape(name)
    starts, sizes = [0] * len(shape), list(shape)
    starts[axis], sizes[axis] = index, 1
    part = name
    if shape[axis] != 1:
        part = c.emit("slice", [name], starts=starts, steps=[1] * len(shape), sizes=sizes)
    return c.view(part, (*shape[:axis], *shape[axis + 1 :]))


def _flag(c: Call, name: str, what: str) -> bool | None:
    """A condition, None where it is computed."""
    kind, value = c.build.type(name), c.build.value(name)
    if kind.dtype is not DType.BOOL or kind.elements != 1:
        raise UnsupportedError(f"{what} is no single bool")
    return None if value is None else bool(value.reshape(()))


def _trip_count(c: Call) -> int | None:
    if not c.optional(0):
        return None
    value = c.constant(0, "M")
    if value.size != 1 or value.dtype != np.int64:
        raise ModelError("input 'M' is no single int64")
    return int(value.reshape(()))


def _select(c: Call, condition: str, yes: str, no: str) -> str:
    if yes == no:
        return yes
    a, b = c.build.type(yes), c.build.type(no)
    if c.build.counts.get(yes) != c.build.counts.get(no):
        raise UnsupportedError("what is computed decides between tensors whose sizes are data")
    if a != b:
        raise UnsupportedError(
            f"what is computed decides between {a.dtype.value} {list(a.shape)} and {b.dtype.value} {list(b.shape)}",
            "make the condition a constant",
        )
    return apply(c, "Where", [c.view(condition, ()), yes, no])
