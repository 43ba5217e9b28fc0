"""One ONNX node while it is lowered, and the table of the rules that lower it."""

from collections.abc import Callable, MutableMapping, Sequence
from dataclasses import dataclass, field

from opml.errors import ConstantNeededError, UnsupportedError
from opml.graph import Array, Attribute, DType, Node
from opml.lowering.builder import MAX_RANK, Builder

# The tensors that are the node's outputs; "" for one that opml does not compute.
Rule = Callable[["Call"], str | Sequence[str]]
RULES: dict[str, Rule] = {}


def lowers(*operators: str) -> Callable[[Rule], Rule]:
    """Registers the rule that lowers the named ONNX operators."""

    def register(rule: Rule) -> Rule:
        for operator in operators:
            assert operator not in RULES, operator
            RULES[operator] = rule
        return rule

    return register


@dataclass
class Call:
    """One ONNX node while it is lowered. Attributes and inputs that its rule never asks for are refused afterwards."""

    build: Builder
    node: Node
    opset: int
    inputs: tuple[str, ...]
    attrs_read: set[str] = field(default_factory=set)
    inputs_read: int = 0
    # For graphs within the node: the tensors of the names around it, and how deep it lies.
    names: MutableMapping[str, str] = field(default_factory=dict)
    depth: int = 0

    @property
    def op(self) -> str:
        return self.node.op

    def optional(self, index: int) -> str:
        """The tensor given as input `index`, "" where there is none."""
        self.inputs_read = max(self.inputs_read, index + 1)
        return self.inputs[index] if index < len(self.inputs) else ""

    def input(self, index: int = 0) -> str:
        """The tensor given as input `index`; UnsupportedError where there is none."""
        name = self.optional(index)
        if not name:
            raise UnsupportedError(f"input {index} is missing")
        return name

    def all_inputs(self) -> list[str]:
        return [self.input(index) for index in range(max(1, len(self.inputs)))]

    def shape(self, index: int = 0) -> tuple[int, ...]:
        return self.build.shape(self.input(index))

    def rank(self, index: int = 0) -> int:
        return len(self.shape(index))

    def constant(self, index: int, what: str) -> Array:
        """The elements of an input that must be constant."""
        name = self.input(index)
        value = self.build.value(name)
        if value is None:
            behind = self.build.inputs_behind(name)
            raise ConstantNeededError(f"input {what!r} is computed; opml needs a constant", behind)
        return value

    def constant_ints(self, index: int, what: str) -> list[int]:
        """The elements of a constant integer vector (or scalar)."""
        value = self.constant(index, what)
        if value.dtype.name not in ("int64", "int32") or value.ndim > 1:
            raise UnsupportedError(f"input {what!r} is no vector of int64")
        return [int(item) for item in value.reshape(-1)]

    def attr_or_input(self, name: str, index: int, since: int) -> list[int] | None:
        """What was an attribute before operator set `since` and is an input from then on; None where it is absent."""
        if self.opset < since:
            return self.integers(name)
        return self.constant_ints(index, name) if self.optional(index) else None

    def _attr(self, name: str, kinds: tuple[type, ...], what: str) -> Attribute | None:
        self.attrs_read.add(name)
        value = self.node.attrs.get(name)
        if value is not None and not isinstance(value, kinds):
            raise UnsupportedError(f"attribute {name!r} is no {what}")
        return value

    def integer(self, name: str, default: int) -> int:
        value = self._attr(name, (int,), "integer")
        return default if value is None else value  # type: ignore[return-value]

    def flag(self, name: str, default: int = 0) -> int:
        value = self.integer(name, default)
        if value not in (0, 1):
            raise UnsupportedError(f"attribute {name!r} is {value}, not 0 or 1")
        return value

    def number(self, name: str, default: float) -> float:
        value = self._attr(name, (float,), "number")
        return default if value is None else value  # type: ignore[return-value]

    def text(self, name: str, default: str) -> str:
        value = self._attr(name, (str,), "text")
        return default if value is None else value  # type: ignore[return-value]

    def integers(self, name: str) -> list[int] | None:
        value = self._attr(name, (list,), "list of integers")
        if value is not None and not all(isinstance(item, int) for item in value):  # type: ignore[union-attr]
            raise UnsupportedError(f"attribute {name!r} is no list of integers")
        return value  # type: ignore[return-value]

    def numbers(self, name: str) -> list[float] | None:
        value = self._attr(name, (list,), "list of numbers")
        if value is not None and not all(isinstance(item, float) for item in value):  # type: ignore[union-attr]
            raise UnsupportedError(f"attribute {name!r} is no list of numbers")
        return value  # type: ignore[return-value]

    def texts(self, name: str) -> list[str] | None:
        value = self._attr(name, (list,), "list of texts")
        if value is not None and not all(isinstance(item, str) for item in value):  # type: ignore[union-attr]
            raise UnsupportedError(f"attribute {name!r} is no list of texts")
        return value  # type: ignore[return-value]

    def only(self, name: str, allowed: Attribute) -> None:
        """An attribute of which opml has one value."""
        self.attrs_read.add(name)
        value = self.node.attrs.get(name, allowed)
        if value != allowed:
            raise UnsupportedError(f"attribute {name!r} is {value!r}; opml has {allowed!r}")

    def ignore(self, *names: str) -> None:
        """Attributes without a meaning at inference."""
        self.attrs_read.update(names)

    def axis(self, value: int, rank: int) -> int:
        """An axis counted from the end made one counted from the start."""
        if not -rank <= value < rank:
            raise UnsupportedError(f"axis {value} of a tensor of {rank} dimensions")
        return value % rank

    def axes(self, values: Sequence[int], rank: int) -> list[int]:
        """Distinct axes, counted from the start, in ascending order."""
        if len(values) > rank or rank > MAX_RANK:
            raise UnsupportedError(f"{len(values)} axes of a tensor of {rank} dimensions; opml has at most {MAX_RANK}")
        result = sorted(self.axis(value, rank) for value in values)
        if len(set(result)) != len(result):
            raise UnsupportedError(f"axes {list(values)} name one axis twice")
        return result

    def emit(self, op: str, inputs: Sequence[str], **attrs: Attribute) -> str:
        """See `Builder.emit`."""
        return self.build.emit(op, inputs, **attrs)

    def view(self, name: str, shape: Sequence[int]) -> str:
        """See `Builder.view`."""
        return self.build.view(name, shape)

    def is_float(self, name: str) -> bool:
        return self.build.type(name).dtype is DType.FLOAT32
