"""One of two tensors, element by element, as a third says: any dtype, bits kept."""

from opml.graph import DType, TensorType
from opml.ops.base import (
    COST_TILE,
    Attrs,
    Op,
    Types,
    clear,
    copy_element,
    input_address,
    jit,
    leaf_elements,
    out_address,
    param,
)
from opml.ops.checks import only, refuse, take_dtype, take_inputs
from opml.ops.elementwise import (
    A_STRIDES,
    B_STRIDES,
    C_STRIDES,
    DIMS,
    LENGTH,
    MAX_RANK,
    broadcast,
    check_loops,
    loop_words,
    offset,
)
from vm.guest.intrinsics import load_u8, udiv, urem

NAME = "where"
SIZE = 1


@jit
def where_tiles(r, first, count):  # type: ignore[no-untyped-def]
    y, inner, size = out_address(r), param(r, DIMS), param(r, SIZE)
    step_a, step_b, step_c = param(r, A_STRIDES), param(r, B_STRIDES), param(r, C_STRIDES)
    leaf = udiv(32, size)
    e, stop = leaf * first, min(leaf * (first + count), param(r, LENGTH))
    while e < stop:
        run = min(inner - urem(e, inner), stop - e)
        a = input_address(r, 0) + offset(r, e, A_STRIDES)
        b = input_address(r, 1) + offset(r, e, B_STRIDES)
        c = input_address(r, 2) + offset(r, e, C_STRIDES)
        for i in range(run):
            source = b + step_b * i if load_u8(a + step_a * i) != 0 else c + step_c * i
            copy_element(y + size * (e + i), source, size)
        e += run
    clear(y + size * stop, y + 32 * (first + count))


@jit
def where_tile(r, t):  # type: ignore[no-untyped-def]
    where_tiles(r, t, 1)


def infer(types: Types, attrs: Attrs) -> TensorType:
    """condition (bool), x, y of one dtype; all three broadcast."""
    condition, x, y = take_inputs(NAME, types, 3)
    only(NAME, attrs)
    take_dtype(NAME, condition, (DType.BOOL,))
    if x.dtype is not y.dtype:
        raise refuse(NAME, f"dtypes {x.dtype.value} and {y.dtype.value} differ")
    shape = broadcast(NAME, condition.shape, x.shape, y.shape)
    check_loops(NAME, shape, [condition, x, y])
    return TensorType(x.dtype, shape)


def params(types: Types, out: TensorType, attrs: Attrs) -> list[int]:
    return [out.elements, out.dtype.size, *loop_words(out.shape, take_inputs(NAME, types, 3))]


def cost(types: Types, out: TensorType, attrs: Attrs) -> int:
    return COST_TILE + leaf_elements(out) * (96 + 36 * MAX_RANK)


OPS = [Op(NAME, 172, infer, params, where_tile, cost, where_tiles)]
