"""What the definitions compile to: nothing that could differ between machines, nothing that the guest does not have."""

import re

import numpy as np
import pytest
from numba import int64, njit

from opml.ops import OPS
from opml.ops.base import jit
from vm.guest.frontend import Compiled, Source, compile_functions
from vm.guest.intrinsics import bits_f32, f32_bits, load_f32, store_f32

ALLOWED = {"llvm.fma.f32", "llvm.sqrt.f32", "llvm.fabs.f32"}
DOUBLE = np.float64(0.1)


@jit
def with_double(r, t):  # type: ignore[no-untyped-def]
    store_f32(r, np.float32(load_f32(r) * DOUBLE))


@jit
def with_raw_cast(r, t):  # type: ignore[no-untyped-def]
    store_f32(r, bits_f32(int(load_f32(r))))


@jit
def with_raw_shift(r, t):  # type: ignore[no-untyped-def]
    store_f32(r, bits_f32(f32_bits(load_f32(r)) >> t))


def functions(item: Compiled) -> dict[str, str]:
    """The functions that the entry reaches: name -> body; the empty string where one is declared only."""
    defined = {m[1]: m[0] for m in re.finditer(r'^define[^@]*@"?([^"( ]+)"?\(.*?^}', item.ir, re.S | re.M)}
    reached: dict[str, str] = {}
    ahead = [item.entry]
    while ahead:
        name = ahead.pop()
        if name not in reached:
            reached[name] = defined.get(name, "")
            ahead += re.findall(r'call [^@\n]*@"?([^"(\n ]+)"?\(', reached[name])
    return reached


def complaints(item: Compiled) -> list[str]:
    """What a definition must not do, of what it does."""
    found = []
    for name, body in functions(item).items():
        if not body:
            found += [] if name in ALLOWED else [f"calls {name}"]
            continue
        found += [
            f"{word} in {name}" for word in ("double", "fptosi", "fptoui", "fast") if re.search(rf"\b{word}\b", body)
        ]
        masked = set(re.findall(r"(%[\w.\"]+) = and i64 [^,]+, (?:[0-9]|[1-5][0-9]|6[0-3])\b", body))
        for shift in re.finditer(r"= (?:shl|lshr|ashr)\b.*, ([^,\n]+)$", body, re.M):
            if not shift[1].isdigit() and shift[1] not in masked:
                found.append(f"{shift[0]} in {name}")
    return found


@pytest.fixture(scope="module")
def compiled() -> dict[str, Compiled]:
    tiles = {op.name: op.tile for op in OPS.values()}
    return dict(zip(tiles, compile_functions([Source.of(tile) for tile in tiles.values()]), strict=True))


@pytest.mark.parametrize("name", OPS)
def test_definitions_use_only_what_is_the_same_everywhere(compiled: dict[str, Compiled], name: str) -> None:
    assert complaints(compiled[name]) == []


@pytest.mark.parametrize(
    ("kernel", "word"), [(with_double, "double"), (with_raw_cast, "fptosi"), (with_raw_shift, "shr")]
)
def test_the_check_finds_what_crept_in(kernel: object, word: str) -> None:
    """The same words in IR compiled here (these kernels are no module's that another process could import)."""
    dispatcher = njit(kernel.py_func)  # type: ignore[attr-defined]  # not from a cache: that has no IR to show
    dispatcher.compile((int64, int64))
    overload = dispatcher.overloads[(int64, int64)]
    found = complaints(Compiled(overload.library.get_llvm_str(), overload.fndesc.llvm_func_name))
    assert any(word in complaint for complaint in found), found


def test_codes_and_names_are_unique() -> None:
    assert len({op.code for op in OPS.values()}) == len(OPS)
    assert all(name == op.name == name.lower() for name, op in OPS.items())


# Part of every model's identity: a code is never used for another operator.
CODES = {
    "matmul": 1, "conv": 2, "maxpool": 3, "avgpool": 4, "relu": 16, "leaky_relu": 17, "sigmoid": 18, "tanh": 19,
    "exp": 20, "log": 21, "sqrt": 22, "abs": 23, "neg": 24, "erf": 25, "clip": 26, "floor": 27, "ceil": 28,
    "reciprocal": 29, "hard_sigmoid": 30, "add": 48, "sub": 49, "mul": 50, "div": 51, "max": 52, "min": 53,
    "softmax": 64, "argmax": 65, "reduce_sum": 66, "reduce_mean": 67, "reduce_max": 68, "reduce_min": 69,
    "transpose": 80, "concat": 81, "copy": 82, "slice": 83, "pad": 84, "expand": 85, "cast": 96,
    "sin": 128, "cos": 129, "tan": 130, "asin": 131, "acos": 132, "atan": 133, "sinh": 134, "cosh": 135, "asinh": 136,
    "acosh": 137, "atanh": 138, "round": 139, "sign": 140, "is_nan": 141, "is_inf": 142, "not": 143,
    "bitwise_not": 144, "elu": 145, "celu": 146, "thresholded_relu": 147, "shrink": 148, "softplus": 149,
    "softsign": 150, "mish": 151, "expm1": 152, "log1p": 153, "pow": 160, "fmod": 161, "mod": 162, "prelu": 163,
    "and": 164, "or": 165, "xor": 166, "shift_left": 167, "shift_right": 168, "equal": 169, "less": 170,
    "less_equal": 171, "where": 172, "bitcast": 173,
    "reduce_prod": 256, "cumsum": 257, "cumprod": 258,
    "rnn": 448, "gru": 449, "gru_linear": 450, "lstm": 451, "in_time": 452,
    "dequantize": 416, "quantize": 417, "qmatmul": 418, "qgather": 419,
    "matmul_int": 420, "conv_int": 421,
    "rotary": 480, "attend_scores": 481, "attend_mix": 482, "attend_weights": 483,
    "conv_nd": 352, "resample": 353, "grid_sample": 354, "deform_columns": 355, "roi_align": 356, "roi_max": 357,
    "fold_blocks": 358, "maxpool_index": 359, "eliminate": 360,
    "gather": 288, "gather_elements": 289, "gather_nd": 290, "scatter_elements": 292, "scatter_nd": 293,
    "tensor_scatter": 294, "one_hot": 300, "trilu": 301, "reverse_sequence": 302, "rank": 304, "order": 305,
    "changes": 306, "running_count": 308, "positions": 309, "group_sizes": 310, "nms": 312, "nms_select": 313,
    "next_token": 464, "chosen_token": 465, "row": 466, "history_mean": 467,
}  # fmt: skip


def test_codes_stay_what_they_are() -> None:
    assert {name: op.code for name, op in OPS.items()} == CODES
