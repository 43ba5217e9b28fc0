"""Gemm and MatMul → matmul over matrices, or over one batch of them."""

from math import prod

from opml.errors import UnsupportedError
from opml.lowering.call import Call, lowers
from opml.lowering.weights import Weights


@lowers("Gemm")
def gemm(c: Call) -> str:
    """alpha * A' @ B' + beta * C; a factor other than 1 goes into what is constant, where anything is."""
    a, b, bias = c.input(0), c.input(1), c.optional(2)
    alpha, beta = c.number("alpha", 1.0), c.number("beta", 1.0)
    if c.rank(0) != 2 or c.rank(1) != 2:
        raise UnsupportedError("its inputs must be matrices")
    if alpha != 1.0:
        if c.build.value(a) is not None:
            a = c.emit("mul", [a, c.build.scalar(alpha)])
        else:
            b = c.emit("mul", [b, c.build.scalar(alpha)])
    if bias and beta == 0.0:
        bias = ""
    if bias and beta != 1.0:
        bias = c.emit("mul", [bias, c.build.scalar(beta)])
    if bias and prod(c.build.shape(bias)) == 1:
        bias = c.view(bias, ())
    if alpha == 1.0 and (weights := few_bits(c, b, (1, 0) if c.flag("transB") else (0, 1))):
        if c.flag("transA"):
            a = c.build.transpose(a, (1, 0))
        if bias and c.build.shape(bias)[:-1] in ((), (1,)):
            return multiply(c, a, weights, c.view(bias, c.build.shape(bias)[-1:]))
        product = multiply(c, a, weights)
        return c.emit("add", [product, bias]) if bias else product
    operands = [a, b, bias] if bias else [a, b]
    return c.emit("matmul", operands, trans_a=c.flag("transA"), trans_b=c.flag("transB"))


@lowers("MatMul")
def matmul(c: Call) -> str:
    """numpy.matmul: vectors become matrices, and batches one batch; a shared right side makes one tall matrix."""
    a, b = c.input(0), c.input(1)
    left, right = c.shape(0), c.shape(1)
    if not left or not right:
        raise UnsupportedError("an input is a scalar")
    drop_row, drop_column = len(left) == 1, len(right) == 1
    left = (1, *left) if drop_row else left
    right = (*right, 1) if drop_column else right
    if left[-1] != right[-2]:
        raise UnsupportedError(f"shapes {list(c.shape(0))} and {list(c.shape(1))} do not fit together")
    batch = broadcast_shape(left[:-2], right[:-2])
    rows, inner, columns = left[-2], left[-1], right[-1]
    count = prod(batch)
    if len(right) == 2 and (weights := few_bits(c, b, (0, 1))):
        product = multiply(c, c.view(a, (count * rows, inner)), weights)
    elif prod(right[:-2]) == 1:
        product = c.emit(
            "matmul", [c.view(a, (count * rows, inner)), c.view(b, (inner, columns))], trans_a=0, trans_b=0
        )
    else:
        operands = [_batched(c, a, left, batch), _batched(c, b, right, batch)]
        product = c.emit("matmul", operands, trans_a=0, trans_b=0)
    shape = [*batch, *([] if drop_row else [rows]), *([] if drop_column else [columns])]
    return c.view(product, shape)


def few_bits(c: Call, name: str, perm: tuple[int, int]) -> Weights | None:
    """The matrix behind a tensor, its axes in the given order, if it is a constant of few bits."""
    source = c.build.quantised.get(name)
    return source.transposed(perm).matrix() if source is not None and source.x.ndim == 2 else None


def multiply(c: Call, a: str, weights: Weights, bias: str = "") -> str:
    """a [*, K] by weights of few bits, plus maybe a bias [N]."""
    operands = [a, *(c.build.shared(value) for value in weights.operands())]
    if bias:
        operands += [""] * (4 - len(operands)) + [bias]
    return c.emit("qmatmul", operands, **weights.attrs())


def pick(c: Call, indices: str, weights: Weights) -> str:
    """The columns of weights of few bits that the indices name: [*indices, K]."""
    operands = [indices, *(c.build.shared(value) for value in weights.operands())]
    return c.emit("qgather", operands, **weights.attrs())


def _batched(c: Call, name: str, shape: tuple[int, ...], batch: tuple[int, ...]) -> str:
    """A matrix, or as many of them as `batch` has."""
    if prod(shape[:-2]) == 1:
        return c.view(name, shape[-2:])
    if prod(shape[:-2]) != prod(batch):
        aligned = (1,) * (len(batch) + 2 - len(shape)) + shape
        name = c.emit("expand", [c.view(name, aligned)], shape=[*batch, *shape[-2:]])
    return c.view(name, (prod(batch), *shape[-2:]))


def broadcast_shape(*shapes: tuple[int, ...]) -> tuple[int, ...]:
    """The shape that all shapes stretch to; UnsupportedError where there is none."""
    rank = max(map(len, shapes))
    result = []
    for sizes in zip(*((1,) * (rank - len(shape)) + shape for shape in shapes), strict=True):
        wide = {size for size in sizes if size != 1}
        if len(wide) > 1:
            raise UnsupportedError(f"shapes {' and '.join(str(list(shape)) for shape in shapes)} do not fit together")
        result.append(wide.pop() if wide else 1)
    return tuple(result)
