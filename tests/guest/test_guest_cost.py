"""No tile takes more instructions than its bound, whatever the numbers: else an honest prover could not enter it.

Softfloat is slowest on subnormal numbers, which anybody may send as an input.
"""

from collections.abc import Callable

import numpy as np
import pytest
from guest_program import node_program, run_machine
from guest_worst import SMALLEST, Case, worst_cases

from opml import guest
from opml.graph import Array
from opml.ops import OPS, evaluate, type_of


def smallest(*shape: int) -> Array:
    """Nothing but the smallest subnormal number, every second one negative and a little greater."""
    values = np.full(shape, SMALLEST, np.float32)
    values.reshape(-1)[1::2] *= -3
    return values


def factors(rows: int, k: int, columns: int) -> tuple[Array, Array]:
    """Both factors subnormal, but for one pair a block, so that the running sum is subnormal and not zero."""
    a, b = np.full((rows, k), SMALLEST, np.float32), np.full((k, columns), SMALLEST, np.float32)
    a[:, ::512], b[::512] = 2.0**-75, 2.0**-74
    a[:, 1::2] *= -1
    a[:, ::512] = abs(a[:, ::512])
    return a, b


def window(channels: int, height: int, width: int) -> Case:
    x = np.full((1, channels, height + 1, 16), SMALLEST, np.float32)
    x[0, 0] = 2.0**-75
    w = np.full((2, channels, height, width), SMALLEST, np.float32)
    w.reshape(2, -1)[:, ::512] = 2.0**-74
    return [x, w, smallest(2)], {}


def cell(gates: int, states: int, activations: int, extra: int) -> Case:
    """A cell whose products are of subnormal numbers, with the activation that takes longest."""
    a, b = factors(1, 512, gates * 512)
    inputs = [smallest(2, 1, gates * 512), b, np.concatenate([a] * states, 1), np.array([2], np.int32)]
    codes = [10] * activations
    return [*inputs, *([smallest(extra, 512)] if extra else [])], {"activations": codes}


def few_bits(k: int, group: int, zero: float) -> Case:
    """A row and a column's scales such that all products and their sums are subnormal."""
    words, groups = -(-k // 8), -(-k // group)
    codes = np.full((1, words, 16), 0x76543210, np.int32)
    scales = np.full((1, groups, 16), 2.0**-74, np.float32)
    row = np.where(np.arange(k) % 3 == 0, 2.0**-73, -(2.0**-74)).astype(np.float32)
    return [row[None], codes, scales, np.full((1, groups, 16), zero, np.float32)], {
        "bits": 4, "k": k, "n": 16, "group": group
    }  # fmt: skip


def slow_bits(group: int) -> Case:
    """The slowest numbers found: differences, weights and products that all round to subnormal numbers or from them."""
    (row, codes, scales, zeros), attrs = few_bits(600, group, float(SMALLEST))
    return [np.where(row > 0, np.float32(1), np.float32(-1)), codes, np.full_like(scales, SMALLEST), zeros], attrs


def rows_of_few_bits() -> Case:
    (_, *operands), attrs = few_bits(100, 1, float(SMALLEST))
    return [np.arange(16), *operands], attrs


def as_bytes(*shape: int) -> Array:
    return np.full(shape, 200, np.uint8)


def scattered(dtype: str, reduction: str) -> Case:
    """Many updates of the same few elements, of which every second one changes them."""
    updates = np.resize(np.array([0, 7], np.uint32), (2000, 8)).view(dtype)
    return [np.ones((2, 8), dtype), np.zeros((2000, 1), np.int32), updates], {"reduction": reduction}


CASES: dict[str, Callable[[], Case]] = {
    "qmatmul-blocks": lambda: few_bits(1030, 32, 7.5),
    "qmatmul-ones": lambda: few_bits(600, 1, float(SMALLEST)),
    "qmatmul-slow": lambda: slow_bits(1),
    "qmatmul-slow-blocks": lambda: slow_bits(600),
    "qmatmul-short": lambda: few_bits(1, 1, 0.3),
    "qgather": rows_of_few_bits,
    "scatter_nd-integers": lambda: scattered("uint32", "max"),
    "scatter_nd-floats": lambda: scattered("float32", "max"),
    "matmul_int-1": lambda: ([as_bytes(9, 1), as_bytes(1, 9)], {}),
    "matmul_int-long": lambda: ([as_bytes(2, 2000), as_bytes(2000, 9), as_bytes(2), as_bytes(9)], {}),
    "conv_int-points": lambda: ([as_bytes(1, 500, 3, 3), as_bytes(2, 500, 1, 1), as_bytes(), as_bytes(2)], {}),
    "conv_int-lines": lambda: ([as_bytes(1, 20, 9, 9), as_bytes(2, 20, 3, 8), as_bytes(), as_bytes(2)], {}),
    "quantize": lambda: ([smallest(64), abs(smallest(64)), as_bytes(64)], {"to": "uint8", "axis": 0}),
    "quantize-blocks": lambda: ([smallest(3, 64), smallest(3, 22)], {"to": "int8", "axis": 1, "block": 3}),
    "dequantize": lambda: ([as_bytes(3, 64), smallest(3, 22), as_bytes(3, 22)], {"axis": 1, "block": 3}),
    "rnn": lambda: cell(1, 1, 1, 0),
    "gru": lambda: cell(3, 2, 2, 0),
    "gru_linear": lambda: cell(3, 1, 2, 1),
    "lstm": lambda: cell(4, 2, 3, 3),
    "matmul-1": lambda: ([*factors(1, 1, 8)], {}),
    "matmul-512": lambda: ([*factors(9, 512, 8), smallest(9, 1)], {}),
    "matmul-long": lambda: ([*factors(1, 1537, 9)], {}),
    "conv-points": lambda: window(700, 1, 1),
    "conv-lines": lambda: window(20, 3, 8),
    "conv-columns": lambda: window(8, 30, 1),
    "avgpool": lambda: ([smallest(1, 1, 30, 40)], {"kernel": [30, 30]}),
    "avgpool-lines": lambda: ([smallest(1, 1, 4, 99)], {"kernel": [1, 90]}),
    "avgpool-columns": lambda: ([smallest(1, 1, 99, 4)], {"kernel": [90, 1]}),
    "softmax": lambda: ([np.linspace(-104, 0, 9 * 64, dtype=np.float32).reshape(9, 64)], {"axis": 1}),
    "softmax-columns": lambda: ([np.linspace(-104, 0, 64 * 9, dtype=np.float32).reshape(64, 9)], {"axis": 0}),
    "argmax": lambda: ([smallest(4, 500)], {"axis": 1}),
    "add": lambda: ([smallest(3, 1, 3, 1, 3, 1, 3), smallest(1, 3, 1, 3, 1, 3, 1)], {}),
    "div": lambda: ([smallest(64), smallest(64)], {}),
    "sqrt": lambda: ([abs(smallest(64))], {}),
    "transpose": lambda: ([np.ones((2,) * 8, np.uint8)], {"perm": [7, 6, 5, 4, 3, 2, 1, 0]}),
    "pad": lambda: ([np.ones((2,) * 6, np.uint8)], {"pads": [1] * 12}),
}
for _name in ("reduce_sum", "reduce_mean", "reduce_max", "reduce_min"):
    CASES[_name] = lambda: ([smallest(9, 2000)], {"axes": [1]})
for _name in ("exp", "log", "tanh", "sigmoid", "erf"):
    CASES[_name] = lambda: ([np.append(smallest(40), np.linspace(-106, 90, 400)).astype(np.float32)], {})


CASES |= worst_cases()


@pytest.mark.parametrize("case", CASES)
def test_no_tile_takes_more_than_its_bound(case: str) -> None:
    inputs, attrs = CASES[case]()
    op = OPS[case.partition("-")[0]]
    types = [None if array is None else type_of(array) for array in inputs]
    bound = op.cost(types, op.infer(types, attrs), attrs)
    program = node_program(op.name, inputs, attrs)
    # A tile may read what is before it in its own output.
    program.memory[program.out_address] = evaluate(op.name, inputs, attrs).tobytes()
    memory = program.with_guest(guest.load())
    for tile in {*range(min(program.tiles, 60)), program.tiles - 1}:
        assert run_machine(memory, tile, 1)[2] <= bound, f"tile {tile}"
