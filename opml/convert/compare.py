"""How far two runs of a model are from each other, on inputs drawn at random."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from opml.errors import ModelError
from opml.graph import Array


@dataclass(frozen=True, order=True)
class Difference:
    """The largest difference of two elements of an output: relative to its largest element, and as it is.

    Infinite where one is NaN or infinite and the other is not the same.
    """

    relative: float
    absolute: float


def random_inputs(examples: Sequence[Array], seed: int) -> list[Array]:
    """Inputs like the examples: normally distributed floats, integers and bools from the range of the example's."""
    chance = np.random.default_rng(seed)
    return [_random(example, chance) for example in examples]


def _random(example: Array, chance: np.random.Generator) -> Array:
    if np.issubdtype(example.dtype, np.floating):
        return np.asarray(chance.standard_normal(example.shape)).astype(example.dtype)
    if example.dtype == np.bool_:
        return np.asarray(chance.integers(0, 2, example.shape)).astype(np.bool_)
    if not example.size:
        return example
    return np.asarray(chance.integers(example.min(), example.max(), example.shape, example.dtype, endpoint=True))


def differences(ours: Mapping[str, Array], theirs: Sequence[Array]) -> dict[str, Difference]:
    """By output. Raises ModelError where their number, a shape or a dtype is another."""
    if len(ours) != len(theirs):
        raise ModelError(f"the exported file has {len(ours)} outputs, the original {len(theirs)}")
    return {name: difference(name, mine, other) for (name, mine), other in zip(ours.items(), theirs, strict=True)}


def difference(name: str, mine: Array, other: Array) -> Difference:
    """Of one output. Raises ModelError where shape or dtype is another."""
    if (mine.dtype, mine.shape) != (other.dtype, other.shape):
        kinds = (f"{array.dtype} {list(array.shape)}" for array in (mine, other))
        raise ModelError("output {!r} is {} in the exported file, {} in the original".format(name, *kinds))
    wide, reference = mine.astype(np.float64), other.astype(np.float64)
    same = (wide == reference) | (np.isnan(wide) & np.isnan(reference))
    with np.errstate(invalid="ignore"):
        apart = np.where(same, 0, abs(wide - reference))
    largest = float(np.where(np.isnan(apart), np.inf, apart).max(initial=0))
    finite = abs(reference[np.isfinite(reference)]).max(initial=0)
    return Difference(largest / float(finite) if finite else (np.inf if largest else 0.0), largest)
