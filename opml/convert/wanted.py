"""What a user says about a conversion."""

from collections.abc import Mapping
from dataclasses import dataclass, field

DEFAULT_OPSET = 18
# Relative to an output's largest element. float32 all the way usually stays below 1e-5.
DEFAULT_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Wanted:
    """Of the inputs, by name: shapes, and numpy dtypes where they are not the model's own or float32; and the opset."""

    shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    dtypes: Mapping[str, str] = field(default_factory=dict)
    opset: int = DEFAULT_OPSET
