"""Everything that a primitive does not have is refused by name, before anything runs.

What every primitive must refuse is asked of each one in `tests/parity/test_parity_primitives.py`.
"""

from typing import Any

import numpy as np
import pytest

from opml.errors import UnsupportedError
from opml.graph import DType, TensorType
from opml.ops import OPS, evaluate, make_record, type_of
from opml.ops.base import tile_count
from vm.guest.record import MAX_INPUTS, RECORD_WORDS, WORD_INPUT, WORD_OP, WORD_OUT, WORD_TILES


def f(*shape: int) -> Any:
    return np.zeros(shape, np.float32)


def i(*shape: int) -> Any:
    return np.zeros(shape, np.int64)


REFUSED: list[tuple[str, list[Any], dict[str, Any], str]] = [
    ("matmul", [f(2, 3), f(4, 5)], {}, "inner sizes 3 and 4 differ"),
    ("matmul", [f(2, 3), f(3)], {}, "takes matrices"),
    ("matmul", [f(2, 3), i(3, 2)], {}, "dtype int64"),
    ("matmul", [f(2, 2, 3), f(3, 3, 2)], {}, "batch sizes"),
    ("matmul", [f(2, 3), f(3, 4), f(3)], {}, "does not broadcast"),
    ("matmul", [f(2, 3), f(3, 4), f(1, 2, 4)], {}, "does not broadcast"),
    ("matmul", [f(2, 3), f(1, 4, 16)], {"packed": 1, "n": 4}, "packed constant"),
    ("matmul", [f(2, 3), f(1, 3, 16)], {"packed": 1}, "'n'"),
    ("matmul", [f(2, 3), f(3, 4)], {"n": 4}, "packed=1"),
    ("matmul", [f(2, 3), f(3, 4)], {"trans_a": 2}, "trans_a"),
    ("matmul", [f(2, 3), f(3, 4)], {"alpha": 1.0}, "alpha"),
    ("matmul", [f(2, 0), f(0, 4)], {}, "no elements"),
    ("matmul", [f(2, 3), None], {}, "missing"),
    ("matmul", [f(2, 3)], {}, "inputs"),
    ("conv", [f(1, 3, 8), f(4, 3, 3)], {}, "4 dimensions"),
    ("conv", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3, 3)], {}, "4 dimensions"),
    ("conv", [f(1, 3, 8, 8), f(4, 2, 3, 3)], {}, "groups"),
    ("conv", [f(1, 4, 8, 8), f(3, 2, 3, 3)], {"group": 2}, "groups"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3), f(3)], {}, "bias"),
    ("conv", [f(1, 3, 2, 2), f(4, 3, 3, 3)], {}, "larger than the padded input"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {"strides": [0, 1]}, "strides"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {"pads": [-1, 0, 0, 0]}, "pads"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {"pads": [1, 1]}, "4 entries"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {"strides": [1 << 40, 1]}, "2^20"),
    ("conv", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {"auto_pad": "SAME_UPPER"}, "auto_pad"),
    ("maxpool", [f(1, 1, 4, 4)], {}, "'kernel'"),
    ("maxpool", [f(1, 1, 4, 4)], {"kernel": [2, 2], "pads": [2, 0, 0, 0]}, "without an element"),
    ("maxpool", [f(1, 1, 4, 4)], {"kernel": [2, 2], "count_include_pad": 1}, "count_include_pad"),
    ("avgpool", [i(1, 1, 4, 4)], {"kernel": [2, 2]}, "dtype int64"),
    ("conv_nd", [f(1, 3, 8, 8), f(4, 3, 3, 3)], {}, "3 to 5 spatial axes"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3)], {}, "3 to 5 spatial axes"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 2, 3, 3, 3)], {}, "groups"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3, 3), f(3)], {}, "bias"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3, 3)], {"dilations": [1, 1, 4]}, "larger than the padded input"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3, 3)], {"pads": [0, 0, 0, 0, 0, -1]}, "pads"),
    ("conv_nd", [f(1, 3, 8, 8, 8), f(4, 3, 3, 3, 3)], {"strides": [1, 1 << 20, 1]}, "2^20"),
    ("resample", [f(2, 3), i(4, 2), f(4, 3)], {"axis": 1}, "tables"),
    ("resample", [f(2, 3), i(4, 2), f(4, 2)], {"axis": 2}, "axis 2"),
    ("resample", [f(2, 3), f(4, 2), f(4, 2)], {"axis": 1}, "dtype float32"),
    ("grid_sample", [f(1, 2, 3, 3), f(2, 4, 4, 2)], {}, "spatial axes"),
    ("grid_sample", [f(1, 2, 3, 3), f(1, 4, 4, 2)], {"mode": "bilinear"}, "bilinear"),
    ("grid_sample", [f(1, 2, 3), f(1, 4, 1)], {}, "spatial axes"),
    ("deform_columns", [f(1, 2, 3, 3), f(1, 8, 2, 3)], {"kernel": [2, 2]}, "offsets"),
    ("deform_columns", [f(1, 2, 3, 3), f(1, 8, 2, 2), f(1, 8, 2, 2)], {"kernel": [2, 2]}, "mask"),
    ("deform_columns", [f(1, 2, 3, 3), f(1, 24, 2, 2)], {"kernel": [2, 2], "groups": 3}, "3 groups"),
    ("roi_align", [f(1, 2, 3, 3), f(2, 4), i(3)], {"size": [2, 2]}, "2 regions"),
    ("roi_align", [f(1, 2, 3, 3), f(2, 5), i(2)], {"size": [2, 2]}, "regions"),
    ("roi_align", [f(1, 2, 3, 3), f(2, 4), i(2)], {"size": [2, 2], "samples": 1 << 11}, "samples"),
    ("roi_align", [f(1, 2, 3, 3), f(2, 4), i(2)], {"size": [2, 1 << 20]}, "pooled"),
    ("roi_max", [f(1, 2, 3, 3), f(2, 4)], {"size": [2, 2]}, "regions"),
    ("roi_max", [f(1, 2, 3, 3), f(2, 5)], {"size": [0, 2]}, "pooled"),
    ("fold_blocks", [f(1, 8, 3)], {"image": [3, 3], "kernel": [2, 2]}, "blocks"),
    ("fold_blocks", [f(1, 9, 4)], {"image": [3, 3], "kernel": [2, 2]}, "blocks"),
    ("fold_blocks", [f(1, 1, 1)], {"image": [1] * 7, "kernel": [1] * 7}, "axes"),
    ("maxpool_index", [f(1, 1, 4, 4)], {"kernel": [2]}, "spatial axes"),
    ("maxpool_index", [f(1, 1, 4, 4)], {"kernel": [2, 2], "pads": [2, 0, 0, 0]}, "without an element"),
    ("maxpool_index", [f(1, 1, 4, 4)], {"kernel": [2, 2], "column_major": 2}, "column_major"),
    ("eliminate", [f(2, 3)], {"step": 0}, "square"),
    ("eliminate", [f(3, 3)], {"step": 3}, "step 3"),
    ("exp", [i(3)], {}, "dtype int64"),
    ("exp", [np.zeros(3, np.float16)], {}, "dtype float16"),
    ("relu", [np.zeros(3, bool)], {}, "dtype bool"),
    ("leaky_relu", [f(3)], {"alpha": float("nan")}, "alpha"),
    ("clip", [i(3)], {"min": 0.5}, "bounds"),
    ("clip", [np.zeros(3, np.int32)], {"max": 1 << 31}, "bounds"),
    ("add", [f(2, 3), f(2)], {}, "do not broadcast"),
    ("add", [f(2), i(2)], {}, "differ"),
    ("add", [np.zeros(2, bool)] * 2, {}, "dtype bool"),
    ("sin", [f(2)], {"alpha": 1.0}, "alpha"),
    ("not", [i(2)], {}, "dtype int64"),
    ("bitwise_not", [f(2)], {}, "dtype float32"),
    ("is_inf", [f(2)], {"negative": "no"}, "negative"),
    ("and", [f(2), f(2)], {}, "dtype float32"),
    ("shift_left", [f(2), f(2)], {}, "dtype float32"),
    ("less", [np.zeros(2, bool)] * 2, {}, "dtype bool"),
    ("equal", [f(2), i(2)], {}, "differ"),
    ("pow", [f(2), f(3)], {}, "do not broadcast"),
    ("where", [f(2), f(2), f(2)], {}, "dtype float32"),
    ("where", [np.zeros(2, bool), f(2), i(2)], {}, "differ"),
    ("where", [np.zeros(2, bool), f(3), f(3)], {}, "do not broadcast"),
    ("where", [np.zeros(2, bool), f(2)], {}, "inputs"),
    ("bitcast", [f(2)], {"to": "int64"}, "4 bytes"),
    ("bitcast", [f(2)], {"to": "text"}, "text"),
    ("add", [f(*[2, 1] * 5), f(*[1, 2] * 5)], {}, "more than 7 loops"),
    ("softmax", [f()], {}, "axis"),
    ("softmax", [f(2, 2)], {"axis": 2}, "out of range"),
    ("argmax", [np.zeros(3, bool)], {}, "dtype bool"),
    ("reduce_mean", [f(2, 3, 4)], {"axes": [0, 2]}, "neighbours"),
    ("reduce_mean", [f(2, 3, 4)], {"axes": []}, "neighbours"),
    ("reduce_mean", [f(2, 3, 4)], {"axes": [1, 1]}, "neighbours"),
    ("reduce_mean", [f(2, 3, 4)], {"axes": [3]}, "neighbours"),
    ("reduce_mean", [i(2, 3)], {"axes": [0]}, "dtype int64"),
    ("cumsum", [f(2, 3)], {"axis": 2}, "out of range"),
    ("cumsum", [f(2, 3)], {}, "axis"),
    ("cumprod", [np.zeros(3, bool)], {"axis": 0}, "dtype bool"),
    ("argmax", [f(2, 3)], {"least": 2}, "least"),
    ("transpose", [f(2, 3)], {"perm": [0, 0]}, "perm"),
    ("transpose", [f(2, 3)], {"perm": [0]}, "entries"),
    ("transpose", [f(*[2] * 9)], {"perm": list(range(8, -1, -1))}, "more than 8 loops"),
    ("concat", [f(2, 3)], {"axis": 0}, "inputs"),
    ("concat", [f(2, 3)] * 5, {"axis": 0}, "2 to 4"),
    ("concat", [f(2, 3), f(3, 3)], {"axis": 1}, "differ besides"),
    ("concat", [f(2, 3), i(2, 3)], {"axis": 1}, "dtypes"),
    ("copy", [f(2, 3)], {"shape": [5]}, "as many elements"),
    ("slice", [f(4)], {"starts": [4], "sizes": [1]}, "leave"),
    ("slice", [f(4)], {"starts": [2], "sizes": [3]}, "leave"),
    ("slice", [f(4)], {"starts": [1], "sizes": [3], "steps": [-1]}, "leave"),
    ("expand", [f(2)], {"shape": [3]}, "broadcast"),
    ("pad", [f(2)], {"pads": [-1, 0]}, "negative"),
    ("pad", [np.zeros(2, np.uint8)], {"pads": [1, 0], "value": 256}, "value"),
    ("pad", [f(*[1] * 7)], {"pads": [0] * 14}, "at most 6"),
    ("cast", [f(2)], {"to": "float8_e4m3fn"}, "float8_e4m3fn"),
    ("cast", [f(2)], {}, "None"),
]


@pytest.mark.parametrize(("name", "inputs", "attrs", "reason"), REFUSED)
def test_refused_by_name(name: str, inputs: list[Any], attrs: dict[str, Any], reason: str) -> None:
    with pytest.raises(UnsupportedError) as refused:
        evaluate(name, inputs, attrs)
    assert refused.value.message.startswith(name)
    assert reason in refused.value.message


def test_unknown_operators_and_dtypes() -> None:
    with pytest.raises(UnsupportedError, match="'gelu' is not a primitive"):
        evaluate("gelu", [f(2)], {})
    with pytest.raises(UnsupportedError, match="dtype complex64 is not supported"):
        evaluate("relu", [np.zeros(2, np.complex64)], {})


def test_a_record_holds_what_the_guest_reads() -> None:
    a, b = type_of(f(5, 3)), type_of(f(3, 7))
    op = OPS["matmul"]
    out = op.infer([a, b], {})
    record = make_record(op, [a, b], out, {}, 0x1000, [0x2000, 0x3000], 9)
    assert record.shape == (RECORD_WORDS,)
    assert record[WORD_OP] == op.code
    assert record[WORD_OUT] == 0x1000
    assert record[WORD_INPUT : WORD_INPUT + 4].tolist() == [0x2000, 0x3000, 0, 0]
    assert record[WORD_TILES] == tile_count(out) == 5
    with pytest.raises(UnsupportedError, match="record"):
        make_record(op, [a, b], out, {}, 0, [0] * (MAX_INPUTS + 1), 0)


def test_costs_grow_with_the_work() -> None:
    small, large = (TensorType(DType.FLOAT32, (1, k)) for k in (10, 1000))
    weights = [TensorType(DType.FLOAT32, (k, 8)) for k in (10, 1000)]
    costs = [
        OPS["matmul"].cost([x, w], OPS["matmul"].infer([x, w], {}), {})
        for x, w in zip((small, large), weights, strict=True)
    ]
    assert costs[1] > 50 * costs[0]
