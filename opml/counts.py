"""Outputs whose size is data: cut to their count.

A program writes such an output at its capacity, and its count, an int64 [1], as a further output named `NAME.count`.
What follows the count is defined, and means nothing (zeros, and rows of -1 for NonMaxSuppression, where the operator
itself is the output).
"""

from collections.abc import Mapping

from opml.graph import Array, Count


def cut_outputs(counts: Mapping[str, Count], outputs: Mapping[str, Array]) -> dict[str, Array]:
    """The outputs by name without the counts, each as large as its count says; a count outside of 0..n is clamped."""
    hidden = {count.tensor for count in counts.values()}
    return {name: _cut(counts, outputs, name) for name in outputs if name not in hidden}


def _cut(counts: Mapping[str, Count], outputs: Mapping[str, Array], name: str) -> Array:
    value, count = outputs[name], counts.get(name)
    if count is None:
        return value
    filled = min(max(int(outputs[count.tensor][0]), 0), value.shape[count.axis])
    return value[(slice(None),) * count.axis + (slice(0, filled),)]
