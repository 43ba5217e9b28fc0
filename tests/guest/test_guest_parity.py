"""The committed guest, run by the machine, gives the bits of the definition: long sums, packed and batched products.

These are cases that chance does not make: `tests/parity/primitive_*.py` has random ones of every primitive, and asks
for one of each that is new.
"""

from collections.abc import Callable

import numpy as np
import pytest
from guest_program import node_program, run_machine

from opml import guest
from opml.graph import Array
from opml.ops import OPS, evaluate
from opml.ops.base import Attrs

SPECIAL_BITS = (
    *(0, 0x80000000, 1, 0x807FFFFF, 0x00800000, 0x7F7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000, 0xFFA00001),
    *(0x3F800000, 0xBF000000, 0x4B000000, 0xCB7FFFFF, 0x5F000000, 0xDF000000, 0x4F000000, 0xCF000001, 0x42B17218),
)
SPECIAL = np.array(SPECIAL_BITS, np.uint32).view(np.float32)

Case = tuple[list[Array | None], Attrs]


def normal(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(size=shape).astype(np.float32)


def special(rng: np.random.Generator, *shape: int) -> Array:
    """Every second number a corner case."""
    values = normal(rng, *shape) * np.float32(8)
    return np.where(rng.random(shape) < 0.5, rng.choice(SPECIAL, shape), values).astype(np.float32)


def integers(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    info = np.iinfo(dtype)
    values = rng.integers(info.min, info.max, shape, dtype, endpoint=True)
    return np.where(rng.random(shape) < 0.3, rng.choice(np.array([0, info.min, info.max], dtype), shape), values)


def any_dtype(rng: np.random.Generator, dtype: str, *shape: int) -> Array:
    if dtype == "float32":
        return special(rng, *shape)
    return rng.integers(0, 2, shape).astype(bool) if dtype == "bool" else integers(rng, dtype, *shape)


def unary(name: str) -> dict[str, Callable[[np.random.Generator], Case]]:
    attrs: dict[str, Attrs] = {
        "leaky_relu": {"alpha": 0.1},
        "clip": {"min": -1.5, "max": 3.0},
        "hard_sigmoid": {"alpha": 0.2, "beta": 0.5},
    }
    cases = {name: lambda rng: ([special(rng, 5, 13)], attrs.get(name, {}))}
    if name in ("relu", "abs", "neg"):
        cases |= {f"{name}-{d}": lambda rng, d=d: ([integers(rng, d, 21)], {}) for d in ("int32", "int64")}
    return cases


def binary(name: str) -> dict[str, Callable[[np.random.Generator], Case]]:
    cases = {name: lambda rng: ([special(rng, 3, 1, 17), special(rng, 2, 1)], {})}
    for d in ("int32", "int64"):
        cases[f"{name}-{d}"] = lambda rng, d=d: ([integers(rng, d, 3, 7), integers(rng, d, 7)], {})
    return cases


POOL: Attrs = {"kernel": [3, 2], "strides": [2, 1], "pads": [1, 1, 0, 1], "dilations": [1, 2], "ceil_mode": 1}
CONV: Attrs = {"strides": [2, 1], "pads": [1, 0, 2, 1], "dilations": [1, 2], "group": 2}

CASES: dict[str, Callable[[np.random.Generator], Case]] = {
    "matmul": lambda rng: ([normal(rng, 3, 70), normal(rng, 70, 11), normal(rng, 11)], {}),
    "matmul-special": lambda rng: ([special(rng, 3, 5), special(rng, 5, 11), special(rng, 3, 1)], {}),
    "matmul-long": lambda rng: ([normal(rng, 1, 1100), normal(rng, 3, 1100)], {"trans_b": 1}),
    "matmul-batch": lambda rng: ([normal(rng, 2, 4, 3), normal(rng, 2, 4, 5)], {"trans_a": 1}),
    "matmul-packed": lambda rng: ([normal(rng, 2, 6), normal(rng, 2, 6, 16), normal(rng, 20)], {"packed": 1, "n": 20}),
    "conv": lambda rng: ([normal(rng, 1, 4, 7, 6), normal(rng, 6, 2, 3, 2), normal(rng, 6)], CONV),
    "conv-special": lambda rng: ([special(rng, 2, 4, 5, 6), special(rng, 4, 2, 2, 2)], CONV),
    "maxpool": lambda rng: ([special(rng, 1, 3, 8, 7)], POOL),
    "avgpool": lambda rng: ([normal(rng, 1, 3, 8, 7)], POOL | {"dilations": [1, 1], "count_include_pad": 1}),
    "avgpool-special": lambda rng: ([special(rng, 1, 3, 8, 7)], POOL | {"dilations": [1, 1]}),
    "softmax": lambda rng: ([special(rng, 4, 9)], {"axis": 1}),
    "softmax-normal": lambda rng: ([normal(rng, 3, 40, 2)], {"axis": 1}),
    "argmax": lambda rng: ([special(rng, 4, 9, 3)], {"axis": 1, "keepdims": 0, "select_last": 1}),
    "transpose": lambda rng: ([special(rng, 3, 4, 5)], {"perm": [2, 0, 1]}),
    "concat": lambda rng: ([special(rng, 2, 3), special(rng, 2, 4), special(rng, 2, 6)], {"axis": 1}),
    "copy": lambda rng: ([integers(rng, "int8", 5, 9)], {"shape": [45]}),
    "slice": lambda rng: ([special(rng, 9, 8)], {"starts": [1, 7], "sizes": [4, 3], "steps": [2, -2]}),
    "pad": lambda rng: ([special(rng, 3, 4)], {"pads": [1, 0, 2, 3], "value": 1.5}),
    "expand": lambda rng: ([special(rng, 3, 1)], {"shape": [2, 3, 5]}),
}
for _op in OPS.values():
    if 16 <= _op.code < 48:
        CASES |= unary(_op.name)
    if 48 <= _op.code < 64:
        CASES |= binary(_op.name)
for _name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"):
    CASES[_name] = lambda rng: ([normal(rng, 3, 5, 7, 2)], {"axes": [1, 2], "keepdims": 0})
    CASES[f"{_name}-special"] = lambda rng: ([special(rng, 6, 9)], {"axes": [1], "keepdims": 1})
for _from in ("float32", "int64", "int32", "int8", "uint8", "bool"):
    for _to in ("float32", "int64", "int32", "int8", "uint8", "bool"):
        CASES[f"cast-{_from}-{_to}"] = lambda rng, f=_from, t=_to: ([any_dtype(rng, f, 37)], {"to": t})


@pytest.mark.parametrize("case", CASES)
def test_machine_equals_definition(case: str) -> None:
    inputs, attrs = CASES[case](np.random.default_rng(len(case)))
    name = case.partition("-")[0]
    program = node_program(name, inputs, attrs)
    memory, a0, _ = run_machine(program.with_guest(guest.load()), 0, program.tiles)
    assert a0 == 0
    leaves = memory.read(program.out_address, 32 * program.tiles)
    assert leaves[: program.out_bytes] == evaluate(name, inputs, attrs).tobytes()
    assert not any(leaves[program.out_bytes :]), "the last leaf is filled with zeros"
