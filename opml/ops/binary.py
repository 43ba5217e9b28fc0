"""Functions of two tensors with multidirectional broadcasting, element by element; `FUNCTIONS` is the list of them."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from opml import numerics, powers
from opml.graph import DType, TensorType
from opml.numerics import ZERO
from opml.ops.base import COST_DIVIDE, COST_FLOAT, COST_TILE, DTYPE_CODES, Attrs, Op, Types, jit, leaf_elements
from opml.ops.checks import INTEGERS, NUMBERS, only, refuse, take_dtype, take_inputs
from opml.ops.elementwise import (
    MAX_RANK,
    broadcast,
    check_loops,
    compare_numbers,
    loop_words,
    pair_integers,
    pair_numbers,
    specialise,
)
from vm.guest.intrinsics import shr, udiv, ult, urem, wrap_add, wrap_mul, wrap_sub

# Of float32: (a, b); of integers: (a, b, flip, bits), where a ^ flip is ordered as signed numbers are (flip is 0 but
# for uint64). Comparisons of integers: (a, b), both ordered already.


@jit
def add_f32(a, b):  # type: ignore[no-untyped-def]
    return a + b


@jit
def sub_f32(a, b):  # type: ignore[no-untyped-def]
    return a - b


@jit
def mul_f32(a, b):  # type: ignore[no-untyped-def]
    return a * b


@jit
def div_f32(a, b):  # type: ignore[no-untyped-def]
    return a / b


@jit
def add_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return wrap_add(a, b)


@jit
def sub_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return wrap_sub(a, b)


@jit
def mul_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return wrap_mul(a, b)


@jit
def magnitude(a, flip):  # type: ignore[no-untyped-def]
    """|a| as unsigned."""
    return wrap_sub(0, a) if a < 0 and flip == 0 else a


@jit
def div_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """Truncating quotient; x / 0 = 0 and the smallest / -1 = the smallest."""
    quotient = udiv(magnitude(a, flip), magnitude(b, flip) if b != 0 else 1)
    quotient = wrap_sub(0, quotient) if (a ^ b) < 0 and flip == 0 else quotient
    return quotient if b != 0 else 0


@jit
def fmod_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """The remainder of that division, with the sign of a; of a division by 0: 0."""
    rest = urem(magnitude(a, flip), magnitude(b, flip) if b != 0 else 1)
    return wrap_sub(0, rest) if a < 0 and flip == 0 else rest


@jit
def mod_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """The remainder with the sign of b; of a division by 0: 0."""
    rest = fmod_int(a, b, flip, bits)
    return wrap_add(rest, b) if rest != 0 and (a ^ b) < 0 and flip == 0 else rest


@jit
def mod_f32(a, b):  # type: ignore[no-untyped-def]
    """The remainder with the sign of b, exact but for one addition."""
    rest = powers.remainder(a, b)
    return rest + b if (rest < ZERO and b > ZERO) or (rest > ZERO and b < ZERO) else rest


@jit
def max_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return max(a ^ flip, b ^ flip) ^ flip


@jit
def min_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return min(a ^ flip, b ^ flip) ^ flip


@jit
def pow_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """The low bits of a**b; for b < 0 its integer part, and 0 for 0**b."""
    return powers.integer_power(a, b, flip != 0)


@jit
def prelu_f32(a, b):  # type: ignore[no-untyped-def]
    return a if a >= ZERO else b * a


@jit
def prelu_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return a if a ^ flip >= flip else wrap_mul(a, b)


@jit
def and_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return a & b


@jit
def or_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return a | b


@jit
def xor_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    return a ^ b


@jit
def shift_left_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """By b places seen as unsigned; beyond the width 0."""
    return a << (b & 63) if ult(b, bits) else 0


@jit
def shift_right_int(a, b, flip, bits):  # type: ignore[no-untyped-def]
    """By b places seen as unsigned, filled with the sign of a signed integer; beyond the width that alone is left."""
    shifted = shr(a, b & 63) if flip != 0 else a >> (b & 63)
    return shifted if ult(b, bits) else (-1 if a < 0 and flip == 0 else 0)


@jit
def equal(a, b):  # type: ignore[no-untyped-def]
    return a == b


@jit
def less(a, b):  # type: ignore[no-untyped-def]
    return a < b


@jit
def less_equal(a, b):  # type: ignore[no-untyped-def]
    return a <= b


BITS = (*INTEGERS, DType.BOOL)


@dataclass(frozen=True)
class Function:
    """One primitive.

    loop    which of `elementwise`'s loops; it takes F, G, or both
    cost    instructions of the machine for an element, from above
    f, g    the functions
    dtypes  of both inputs
    """

    name: str
    code: int
    loop: Callable[..., None]
    cost: int
    f: Any = None
    g: Any = None
    dtypes: tuple[DType, ...] = NUMBERS


FUNCTIONS = (
    Function("add", 48, pair_numbers, COST_FLOAT, add_f32, add_int),
    Function("sub", 49, pair_numbers, COST_FLOAT, sub_f32, sub_int),
    Function("mul", 50, pair_numbers, COST_FLOAT, mul_f32, mul_int),
    Function("div", 51, pair_numbers, COST_DIVIDE, div_f32, div_int),
    Function("max", 52, pair_numbers, 5 * COST_FLOAT, numerics.maximum, max_int),
    Function("min", 53, pair_numbers, 5 * COST_FLOAT, numerics.minimum, min_int),
    Function("pow", 160, pair_numbers, 60 * COST_FLOAT + 2 * COST_DIVIDE, powers.power, pow_int),
    Function("fmod", 161, pair_numbers, 8 * COST_FLOAT, powers.remainder, fmod_int),
    Function("mod", 162, pair_numbers, 12 * COST_FLOAT, mod_f32, mod_int),
    Function("prelu", 163, pair_numbers, 2 * COST_FLOAT, prelu_f32, prelu_int),
    Function("and", 164, pair_integers, COST_FLOAT, g=and_int, dtypes=BITS),
    Function("or", 165, pair_integers, COST_FLOAT, g=or_int, dtypes=BITS),
    Function("xor", 166, pair_integers, COST_FLOAT, g=xor_int, dtypes=BITS),
    Function("shift_left", 167, pair_integers, COST_FLOAT, g=shift_left_int, dtypes=INTEGERS),
    Function("shift_right", 168, pair_integers, COST_FLOAT, g=shift_right_int, dtypes=INTEGERS),
    Function("equal", 169, compare_numbers, COST_FLOAT, equal, equal, (*NUMBERS, DType.BOOL)),
    Function("less", 170, compare_numbers, COST_FLOAT, less, less),
    Function("less_equal", 171, compare_numbers, COST_FLOAT, less_equal, less_equal),
)


def _make(function: Function) -> Op:
    name = function.name

    def infer(types: Types, attrs: Attrs) -> TensorType:
        a, b = take_inputs(name, types, 2)
        only(name, attrs)
        take_dtype(name, a, function.dtypes)
        if a.dtype is not b.dtype:
            raise refuse(name, f"dtypes {a.dtype.value} and {b.dtype.value} differ")
        shape = broadcast(name, a.shape, b.shape)
        check_loops(name, shape, [a, b])
        return TensorType(DType.BOOL if function.loop is compare_numbers else a.dtype, shape)

    def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
        a, b = take_inputs(name, types, 2)
        return [out.elements, DTYPE_CODES[a.dtype], *loop_words(out.shape, [a, b])]

    def bound(types: Types, out: TensorType, attrs: Attrs) -> int:
        return COST_TILE + leaf_elements(out) * (64 + 24 * MAX_RANK + function.cost)

    tile, tiles = specialise(function.loop, sys.modules[__name__], name, F=function.f, G=function.g)
    return Op(name, function.code, infer, params, tile, bound, tiles)


OPS = [_make(function) for function in FUNCTIONS]
