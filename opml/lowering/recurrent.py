"""RNN, GRU and LSTM → a matrix product for what the inputs add to all steps, then a cell primitive per direction."""

from dataclasses import dataclass

from opml.errors import UnsupportedError
from opml.graph import Attribute, DType
from opml.lowering.call import Call, lowers
from opml.ops.cells import ACTIVATIONS

DIRECTIONS = {"forward": [0], "reverse": [1], "bidirectional": [0, 1]}
# Names of the activations that take alpha, or alpha and beta, with their defaults (None: the model must say).
ALPHAS: dict[str, float | None] = {
    "affine": 1.0,
    "leakyrelu": 0.01,
    "thresholdedrelu": 1.0,
    "scaledtanh": None,
    "hardsigmoid": 0.2,
    "elu": 1.0,
}
BETAS: dict[str, float | None] = {"affine": 0.0, "scaledtanh": None, "hardsigmoid": 0.5}


@dataclass(frozen=True)
class Cell:
    """What tells one operator from another: gates, activations, and which tensors make up the state."""

    gates: int
    activations: tuple[str, ...]


CELLS = {
    "RNN": Cell(1, ("Tanh",)),
    "GRU": Cell(3, ("Sigmoid", "Tanh")),
    "LSTM": Cell(4, ("Sigmoid", "Tanh", "Tanh")),
}


@lowers(*CELLS)
def recurrent(c: Call) -> tuple[str, ...]:
    """Y, Y_h and, of LSTM, Y_c."""
    return _Sequence(c).outputs()


class _Sequence:
    """One node: its sizes, its inputs in the standard layout, its directions one by one."""

    def __init__(self, c: Call) -> None:
        self.call, self.cell = c, CELLS[c.op]
        direction = c.text("direction", "forward")
        if direction not in DIRECTIONS:
            raise UnsupportedError(f"attribute 'direction' is {direction!r}")
        self.directions = DIRECTIONS[direction]
        self.layout = c.flag("layout")
        c.ignore("output_sequence")  # before operator set 7
        if c.rank(0) != 3 or c.rank(1) != 3 or c.rank(2) != 3:
            raise UnsupportedError("X, W and R must have three dimensions")
        self.x = c.input(0)
        if self.layout:
            self.x = c.build.transpose(self.x, [1, 0, 2])
        self.steps, self.batch, self.width = c.build.shape(self.x)
        self.hidden = c.shape(2)[2]
        if c.integer("hidden_size", self.hidden) != self.hidden:
            raise UnsupportedError(f"attribute 'hidden_size' is {c.integer('hidden_size', 0)}, but R has {self.hidden}")
        rows = self.cell.gates * self.hidden
        self._expect(1, (len(self.directions), rows, self.width))
        self._expect(2, (len(self.directions), rows, self.hidden))
        self.bias = self._expect(3, (len(self.directions), 2 * rows))
        self.lengths = self._lengths()
        self.linear = c.flag("linear_before_reset") if c.op == "GRU" else 0
        self.peephole = self._expect(7, (len(self.directions), 3 * self.hidden)) if c.op == "LSTM" else ""
        self.attrs = self._activations()
        if c.op == "LSTM":
            for attrs in self.attrs:
                attrs["input_forget"] = c.flag("input_forget")
        clip = c.number("clip", 0.0)
        if clip < 0:
            raise UnsupportedError(f"attribute 'clip' is {clip}")
        if clip > 0:
            for attrs in self.attrs:
                attrs["clip"] = clip

    def _expect(self, index: int, shape: tuple[int, ...]) -> str:
        """An input of a known shape, "" where there is none."""
        name = self.call.optional(index)
        if name and self.call.build.shape(name) != shape:
            raise UnsupportedError(f"input {index} has shape {list(self.call.build.shape(name))}, not {list(shape)}")
        return name

    def _lengths(self) -> str:
        """The sequences' lengths; "" where all are as long as X."""
        name = self._expect(4, (self.batch,))
        value = self.call.build.value(name) if name else None
        if not name or (value is not None and (value == self.steps).all()):
            return ""
        if value is not None and not ((value >= 0) & (value <= self.steps)).all():
            raise UnsupportedError(f"the lengths {value.tolist()} are not within 0..{self.steps}")
        return name if self.call.build.type(name).dtype is DType.INT32 else self.call.emit("cast", [name], to="int32")

    def _activations(self) -> list[dict[str, Attribute]]:
        """Attributes per direction. The lists of alpha and beta hold values only for activations that take them."""
        c, each = self.call, len(self.cell.activations)
        names = c.texts("activations") or list(self.cell.activations) * len(self.directions)
        if c.op == "RNN" and names == ["Tanh", "Tanh"]:
            names = names[: len(self.directions)]  # the schema's default, for however many directions
        alphas, betas = iter(c.numbers("activation_alpha") or []), iter(c.numbers("activation_beta") or [])
        if len(names) != each * len(self.directions):
            raise UnsupportedError(f"{len(names)} activations instead of {each * len(self.directions)}")
        result: list[dict[str, Attribute]] = []
        for direction in range(len(self.directions)):
            attrs: dict[str, Attribute] = {}
            codes = []
            for index, name in enumerate(name.lower() for name in names[direction * each :][:each]):
                if name not in ACTIVATIONS:
                    raise UnsupportedError(f"the activation {name!r}; opml has {', '.join(ACTIVATIONS)}")
                codes.append(ACTIVATIONS.index(name))
                for kind, defaults, values in (("alpha", ALPHAS, alphas), ("beta", BETAS, betas)):
                    if name in defaults:
                        value = next(values, defaults[name])
                        if value is None:
                            raise UnsupportedError(f"the activation {name!r} without its {kind}")
                        attrs[f"{kind}{index}"] = value
            attrs["activations"] = codes
            result.append(attrs)
        return result

    def outputs(self) -> tuple[str, ...]:
        c, build = self.call, self.call.build
        states = [self._run(index) for index in range(len(self.directions))]
        # Where h begins in the state; what comes before it is c, or of a GRU nothing that anybody reads.
        offset = build.shape(states[0])[2] - self.hidden
        every = [self._in_time(state, reverse, offset) for state, reverse in zip(states, self.directions, strict=True)]
        y = build.concat([c.view(h, (self.steps, 1, self.batch, self.hidden)) for h in every], 1)
        y = build.transpose(y, [2, 0, 1, 3]) if self.layout else y
        results = [y, self._last(states, offset)]
        return (*results, self._last(states, 0)) if c.op == "LSTM" else tuple(results)

    def _part(self, name: str, direction: int, start: int, count: int) -> str:
        """`count` values from `start` on of one direction's vector."""
        if count == self.call.build.shape(name)[1] and len(self.directions) == 1:
            return self.call.view(name, (count,))
        part = self.call.emit("slice", [name], starts=[direction, start], steps=[1, 1], sizes=[1, count])
        return self.call.view(part, (count,))

    def _matrix(self, index: int, direction: int) -> str:
        """W or R of one direction."""
        name, (_, rows, columns) = self.call.input(index), self.call.shape(index)
        if len(self.directions) > 1:
            name = self.call.emit("slice", [name], starts=[direction, 0, 0], steps=[1] * 3, sizes=[1, rows, columns])
        return self.call.view(name, (rows, columns))

    def _run(self, direction: int) -> str:
        """The history of states of one direction."""
        c, rows = self.call, self.cell.gates * self.hidden
        inputs = [c.view(self.x, (self.steps * self.batch, self.width)), self._matrix(1, direction)]
        extra = ""
        if self.bias:
            added = rows
            if self.linear:
                # The last gate's bias on the state's side is within what the reset gate lets through.
                added -= self.hidden
                extra = c.view(self._part(self.bias, direction, rows + added, self.hidden), (1, self.hidden))
            own, other = (self._part(self.bias, direction, start, added) for start in (0, rows))
            bias = c.emit("add", [own, other])
            if self.linear:
                bias = c.build.concat([bias, self._part(self.bias, direction, added, self.hidden)], 0)
            inputs.append(bias)
        gates = c.view(c.emit("matmul", inputs, trans_a=0, trans_b=1), (self.steps, self.batch, rows))
        weight = c.build.transpose(self._matrix(2, direction), [1, 0])
        if self.peephole:
            extra = c.view(self._part(self.peephole, direction, 0, 3 * self.hidden), (3, self.hidden))
        operands = [gates, weight, self._first(direction), self.lengths, extra]
        while not operands[-1]:
            operands.pop()
        op = "gru_linear" if self.linear else c.op.lower()
        return c.emit(op, operands, reverse=self.directions[direction], **self.attrs[direction])

    def _first(self, direction: int) -> str:
        """The state before the first step."""
        h = self._initial(5, direction)
        if self.call.op == "RNN" or self.linear:
            return h
        before = self._initial(6, direction) if self.call.op == "LSTM" else self._zeros()
        return self.call.build.concat([before, h], 1)

    def _initial(self, index: int, direction: int) -> str:
        d = len(self.directions)
        name = self._expect(index, (self.batch, d, self.hidden) if self.layout else (d, self.batch, self.hidden))
        if not name:
            return self._zeros()
        if d > 1:
            axis = 1 if self.layout else 0
            starts, sizes = [0, 0, 0], list(self.call.build.shape(name))
            starts[axis], sizes[axis] = direction, 1
            name = self.call.emit("slice", [name], starts=starts, steps=[1] * 3, sizes=sizes)
        return self.call.view(name, (self.batch, self.hidden))

    def _zeros(self) -> str:
        return self.call.build.filled((self.batch, self.hidden))

    def _in_time(self, state: str, reverse: int, offset: int) -> str:
        """h of every step, [steps, batch, hidden], in the order of time."""
        if self.lengths:
            attrs = {"reverse": reverse, "offset": offset, "size": self.hidden}
            return self.call.emit("in_time", [state, self.lengths], **attrs)
        sizes = [self.steps, self.batch, self.hidden]
        if not offset and not reverse:
            return state
        starts, steps = [(self.steps - 1) * reverse, 0, offset], [-1 if reverse else 1, 1, 1]
        return self.call.emit("slice", [state], starts=starts, steps=steps, sizes=sizes)

    def _last(self, states: list[str], offset: int) -> str:
        """A part of every direction's state after the last step, [directions, batch, hidden]."""
        starts, sizes = [self.steps - 1, 0, offset], [1, self.batch, self.hidden]
        parts = [self.call.emit("slice", [s], starts=starts, steps=[1, 1, 1], sizes=sizes) for s in states]
        y = self.call.build.concat(parts, 0)
        return self.call.build.transpose(y, [1, 0, 2]) if self.layout else y


__all__ = ["CELLS", "recurrent"]
