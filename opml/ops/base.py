"""What an operator is: one scalar definition per tile, and what surrounds it.

A *tile* is one 32-byte leaf of the operator's output. The definition `tile(r, t)` computes tile `t` from the node
record at address `r` (see `vm.guest.record`); it is compiled natively, where it is the reference, and for the guest.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from opml.graph import Attribute, TensorType
from vm.guest.intrinsics import load_f32, load_i64
from vm.guest.record import PARAMS, WORD_INPUT, WORD_OUT, WORD_PARAM
from vm.jit import make_jit

_OPML = Path(__file__).parent.parent
jit = make_jit([_OPML.parent / "vm", _OPML / "ops", _OPML / "numerics.py"])

Attrs = dict[str, Attribute]
Types = Sequence[TensorType | None]


@dataclass(frozen=True)
class Op:
    """A primitive operator. Everything is a pure function of types and attributes, so a validator can repeat it.

    name    unique, lower case
    code    the number in the record; never reused for another meaning
    infer   (input types, attrs) -> output type; raises UnsupportedError by name for what it does not have
    params  (input types, output type, attrs) -> at most PARAMS signed 64-bit words for the record
    tile    jitted `(r: int64, t: int64) -> None`: the definition
    cost    (input types, output type, attrs) -> upper bound of machine instructions for its most expensive tile
    fast    jitted `(r, first, count) -> None`, bit-equal to `tile` over those tiles; None: the loop over `tile`
    """

    name: str
    code: int
    infer: Callable[[Types, Attrs], TensorType]
    params: Callable[[Types, TensorType, Attrs], list[int]]
    tile: Callable[[int, int], None]
    cost: Callable[[Types, TensorType, Attrs], int]
    fast: Callable[[int, int, int], None] | None = None


@jit
def out_address(r):  # type: ignore[no-untyped-def]
    """Base address of the output tensor of the record at `r`."""
    return load_i64(r + 8 * WORD_OUT)


@jit
def input_address(r, i):  # type: ignore[no-untyped-def]
    """Base address of input `i`; 0 where it is absent."""
    return load_i64(r + 8 * (WORD_INPUT + i))


@jit
def param(r, i):  # type: ignore[no-untyped-def]
    """Integer parameter `i` of the record at `r`."""
    return load_i64(r + 8 * (WORD_PARAM + i))


@jit
def param_f32(r, i):  # type: ignore[no-untyped-def]
    """binary32 parameter `i`: the low half of its word."""
    return load_f32(r + 8 * (WORD_PARAM + i))


__all__ = ["PARAMS", "Attrs", "Op", "Types", "input_address", "jit", "out_address", "param", "param_f32"]
