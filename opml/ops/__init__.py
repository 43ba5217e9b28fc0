"""The primitive operators, a file per family."""

from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray

from opml import fpenv
from opml.errors import UnsupportedError
from opml.graph import Array, DType, TensorType
from opml.ops import (
    argmax,
    arrange,
    attend,
    binary,
    cast,
    conv,
    conv_int,
    cumulate,
    gather,
    matmul,
    matmul_int,
    movement,
    nms,
    pool,
    qgather,
    qmatmul,
    quantise,
    recurrent,
    reduce,
    repeat,
    rotary,
    scatter,
    select,
    softmax,
    sort,
    spatial,
    unary,
    where,
)
from opml.ops.base import Attrs, Op, Types, stride_of, tile_count
from vm.constants import LEAF_BYTES
from vm.guest.record import (
    MAX_INPUTS,
    PARAMS,
    RECORD_WORDS,
    WORD_FIRST_TILE,
    WORD_INPUT,
    WORD_ITERATION,
    WORD_OP,
    WORD_OUT,
    WORD_PARAM,
    WORD_STRIDE,
    WORD_TILES,
)

_FAMILIES = (
    matmul,
    conv,
    pool,
    unary,
    binary,
    where,
    softmax,
    argmax,
    attend,
    reduce,
    rotary,
    movement,
    cast,
    quantise,
    qmatmul,
    qgather,
    matmul_int,
    conv_int,
    recurrent,
    cumulate,
    gather,
    scatter,
    arrange,
    sort,
    select,
    nms,
    spatial,
    repeat,
)

OPS: Final[dict[str, Op]] = {op.name: op for family in _FAMILIES for op in family.OPS}


def make_record(
    op: Op,
    types: Types,
    out_type: TensorType,
    attrs: Attrs,
    out_address: int,
    input_addresses: Sequence[int],
    first_tile: int,
    strides: Sequence[int] = (),
) -> NDArray[np.int64]:
    """The node record of an operator: RECORD_WORDS int64 (see `vm.guest.record`). An absent input's address is 0.

    `strides` are those of the output and the inputs in a program that is repeated.
    """
    record = np.zeros(RECORD_WORDS, np.int64)
    words = op.params(types, out_type, attrs)
    if len(words) > PARAMS or len(input_addresses) > MAX_INPUTS:
        raise UnsupportedError(f"{op.name}: does not fit a node record")
    record[WORD_OP] = op.code
    record[WORD_FIRST_TILE] = first_tile
    record[WORD_TILES] = tile_count(out_type)
    record[WORD_OUT] = out_address
    record[WORD_INPUT : WORD_INPUT + len(input_addresses)] = input_addresses
    record[WORD_STRIDE : WORD_STRIDE + len(strides)] = strides
    record[WORD_PARAM : WORD_PARAM + len(words)] = words
    return record


def type_of(array: Array) -> TensorType:
    """The type of a numpy array; `UnsupportedError` where opml does not have its dtype."""
    try:
        return TensorType(DType(array.dtype.name), tuple(array.shape))
    except ValueError:
        raise UnsupportedError(f"dtype {array.dtype.name} is not supported") from None


def spread(history: Array) -> Array:
    """A history as it lies in memory: its entries `stride_of` bytes apart, as a matrix of bytes."""
    flat = np.ascontiguousarray(history).reshape(len(history), -1).view(np.uint8)
    lines = np.zeros((len(history), stride_of(type_of(history[0]))), np.uint8)
    lines[:, : flat.shape[1]] = flat
    return lines


def evaluate(
    name: str, inputs: Sequence[Array | None], attrs: Attrs, *, fast: bool = False, iteration: int = 0
) -> Array:
    """One operator's output by its definition, or by its fast kernel, which must give the same bits.

    An input that is None is absent; histories are given whole, [count, *shape], for the `iteration` that reads them.
    Raises UnsupportedError for an unknown operator and for what its `infer` refuses.
    """
    if name not in OPS:
        raise UnsupportedError(f"operator {name!r} is not a primitive")
    op = OPS[name]
    arrays = [None if array is None else np.asarray(array, order="C") for array in inputs]
    types = [None if array is None else type_of(array) for array in arrays]
    out_type = op.infer(types, attrs)
    for position in op.histories:
        if position < len(arrays) and (history := arrays[position]) is not None:
            arrays[position] = spread(history)
    tiles = tile_count(out_type)
    leaves = np.full(tiles * LEAF_BYTES, 0xA5, np.uint8)
    addresses = [0 if array is None else array.ctypes.data for array in arrays]
    record = make_record(op, types, out_type, attrs, leaves.ctypes.data, addresses, 0)
    record[WORD_ITERATION] = iteration
    with fpenv.standard():
        if fast and op.fast is not None:
            op.fast(record.ctypes.data, 0, tiles)
        else:
            for t in range(tiles):
                op.tile(record.ctypes.data, t)
    return leaves[: out_type.nbytes].view(out_type.dtype.numpy).reshape(out_type.shape)


__all__ = ["OPS", "evaluate", "make_record", "spread", "type_of"]
