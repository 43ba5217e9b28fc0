"""What a decoder remembers while it generates: past keys and values as histories, and attention to them.

A past that the ONNX model takes as an input and gives back, one token longer, as an output is no tensor here. It has a
name and a shape, that of the last token's past, for rules to look at; what reads it must be one of the few operators
that can do with a history in its place.
"""

from typing import TYPE_CHECKING

from opml.errors import UnsupportedError
from opml.graph import DType, TensorType

if TYPE_CHECKING:
    from opml.lowering.builder import Builder


class Memory:
    """The pasts of a decoder that generates at most `count` tokens, one at a time. `position` is its number [1, 1]."""

    def __init__(self, build: "Builder", count: int) -> None:
        self.build, self.count = build, count
        numbers = build.arange(count)
        self.position = build.view(build.emit("row", [numbers]), (1, 1))
        # Name of a past → the history in its place, once it is known.
        self.pasts: dict[str, str] = {}
        # What is said to be a past with the newest entry → that past.
        self.presents: dict[str, str] = {}
        self.histories: dict[str, str] = {}
        self._rows: dict[str, str] = {}

    def row(self, table: str) -> str | None:
        """The row of a constant table at `position`; only so many rows are kept. None for a table that is too short."""
        value = self.build.value(table)
        if value is None or len(value) < self.count:
            return None
        if table not in self._rows:
            kept = self.build.constant(value[: self.count])
            self._rows[table] = self.build.view(self.build.emit("row", [kept]), (1, 1, *value.shape[1:]))
        return self._rows[table]

    def add_past(self, name: str, heads: int, depth: int) -> str:
        """A past [1, heads, count - 1, depth]."""
        self.build.graph.types[name] = TensorType(DType.FLOAT32, (1, heads, self.count - 1, depth))
        self.pasts[name] = ""
        return name

    def refuse_size(self, name: str) -> None:
        """UnsupportedError for the size of a past: it grows, and what a model computes of it would not."""
        if name in self.pasts or name in self.presents:
            raise UnsupportedError("the size of the past", "let the model take position_ids and attention_mask")

    def extend(self, past: str, new: str) -> tuple[str, str]:
        """The history of a past and its new entries [1, heads, 1, depth], and a name for both: the present."""
        build = self.build
        if self.pasts[past]:
            raise UnsupportedError(f"{past!r} is read twice")
        _, heads, _, depth = build.shape(past)
        if build.shape(new) != (1, heads, 1, depth):
            raise UnsupportedError(f"{past!r} {list(build.shape(past))} goes on with {list(build.shape(new))}")
        if build.value(new) is not None or new in build.graph.inputs:
            new = build.copy(new)
        history, present = build.fresh(), build.fresh()
        build.graph.types[history] = TensorType(DType.FLOAT32, (self.count, heads, depth))
        build.graph.types[present] = TensorType(DType.FLOAT32, (1, heads, self.count, depth))
        self.histories[history] = build.view(new, (heads, depth))
        self.pasts[past], self.presents[present] = history, past
        return history, present

    def scores(self, queries: str, keys: str, window: int = 0) -> str:
        """Products of queries [1, heads, 1, depth] with a history of keys: [1, heads, 1, count]."""
        _, heads, rows, depth = self.build.shape(queries)
        if rows != 1:
            raise UnsupportedError(f"{rows} tokens at a time; a decoder that generates takes one")
        flat = self.build.view(queries, (heads, depth))
        product = self.build.emit("attend_scores", [flat, keys], **({"window": window} if window else {}))
        return self.build.view(product, (1, heads, 1, self.count))

    def weights(self, scores: str, window: int = 0) -> str:
        """The softmax of scores [1, heads, 1, count] over what is open."""
        flat = self.build.view(scores, (self.build.shape(scores)[1], self.count))
        weights = self.build.emit("attend_weights", [flat], **({"window": window} if window else {}))
        return self.build.view(weights, self.build.shape(scores))

    def mix(self, weights: str, values: str, window: int = 0) -> str:
        """Sums of a history of values by weights [1, heads, 1, count]: [1, heads, 1, depth]."""
        heads = self.build.shape(weights)[1]
        flat = self.build.view(weights, (heads, self.count))
        mixed = self.build.emit("attend_mix", [flat, values], **({"window": window} if window else {}))
        return self.build.view(mixed, (1, heads, 1, self.build.shape(mixed)[1]))
