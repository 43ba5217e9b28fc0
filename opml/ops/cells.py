"""What recurrent cells share: their record, their activations, and where the state of a step lies.

A cell's output is its whole history of states, [steps, batch, width] in the order in which steps are taken. A step
reads the one before it, which lies in earlier leaves of the same tensor, or earlier in the same leaf.
"""

from typing import Final

import numpy as np

from opml import numerics
from opml.numerics import ONE, ZERO, maximum, minimum
from opml.ops.base import COST_DIVIDE, COST_FLOAT, input_address, jit, out_address, param, param_f32
from opml.ops.matmul import dot
from vm.guest.intrinsics import abs32, load_f32, load_i32

# Inputs: projected x [steps, batch, gates * hidden], weight [hidden, gates * hidden], first state [batch, width],
# lengths int32 [batch] or none, and what only one kind of cell has.
X, WEIGHT, FIRST, LENGTHS, EXTRA = range(5)
# Parameters. Of activation a: its code, alpha and beta.
LENGTH, STEPS, BATCH, HIDDEN, GATES, WIDTH, REVERSE, OPTION, CLIP, ACTIVATION = range(10)
MAX_ACTIVATIONS: Final = 3
ALPHA, BETA = ACTIVATION + MAX_ACTIVATIONS, ACTIVATION + 2 * MAX_ACTIVATIONS

ACTIVATIONS: Final = (
    "sigmoid",
    "tanh",
    "relu",
    "affine",
    "leakyrelu",
    "thresholdedrelu",
    "scaledtanh",
    "hardsigmoid",
    "elu",
    "softsign",
    "softplus",
)
SIGMOID, TANH, RELU, AFFINE, LEAKY_RELU, THRESHOLDED_RELU, SCALED_TANH, HARD_SIGMOID, ELU, SOFTSIGN, SOFTPLUS = range(
    len(ACTIVATIONS)
)
# The most expensive is softplus: an exp and a log.
COST_ACTIVATION: Final = 48 * COST_FLOAT + 2 * COST_DIVIDE


@jit
def clipped(r, a, x):  # type: ignore[no-untyped-def]
    """Activation `a` of the cell, of x clipped to [-clip, clip]."""
    clip = param_f32(r, CLIP)
    return activate(r, a, minimum(maximum(x, -clip), clip))


@jit
def activate(r, a, x):  # type: ignore[no-untyped-def]
    """Activation `a` of the cell."""
    code = param(r, ACTIVATION + a)
    alpha, beta = param_f32(r, ALPHA + a), param_f32(r, BETA + a)
    if code == SIGMOID:
        return numerics.sigmoid(x)
    if code == TANH:
        return numerics.tanh(x)
    if code == RELU:
        return ZERO if x <= ZERO else x
    if code == AFFINE:
        return alpha * x + beta
    if code == LEAKY_RELU:
        return x if x >= ZERO else alpha * x
    if code == THRESHOLDED_RELU:
        return ZERO if x <= alpha else x
    if code == SCALED_TANH:
        return alpha * numerics.tanh(beta * x)
    if code == HARD_SIGMOID:
        return minimum(maximum(alpha * x + beta, ZERO), ONE)
    if code == ELU:
        return x if x >= ZERO else alpha * (numerics.exp(x) - ONE)
    if code == SOFTSIGN:
        return x / (ONE + abs32(x))
    # softplus: log(1 + exp(x)), which does not overflow.
    return maximum(x, ZERO) + numerics.log(ONE + numerics.exp(-abs32(x)))


@jit
def length_of(r, n):  # type: ignore[no-untyped-def]
    """Steps of sequence n: never more than there are, negative ones are none."""
    steps = param(r, STEPS)
    if input_address(r, LENGTHS) == 0:
        return steps
    return min(max(load_i32(input_address(r, LENGTHS) + 4 * n), np.int64(0)), steps)


@jit
def before(r, s, n):  # type: ignore[no-untyped-def]
    """Address of the state of sequence n before step s."""
    row = 4 * n * param(r, WIDTH)
    if s == 0:
        return input_address(r, FIRST) + row
    return out_address(r) + 4 * (s - 1) * param(r, BATCH) * param(r, WIDTH) + row


@jit
def projected(r, s, n):  # type: ignore[no-untyped-def]
    """Address of what x gives to the gates of sequence n in step s, which must be below its length."""
    time = length_of(r, n) - 1 - s if param(r, REVERSE) != 0 else s
    return input_address(r, X) + 4 * (time * param(r, BATCH) + n) * param(r, GATES) * param(r, HIDDEN)


@jit
def gate(r, h, g, j):  # type: ignore[no-untyped-def]
    """Element j of the product of the row at h with the weights of gate g."""
    hidden = param(r, HIDDEN)
    columns = param(r, GATES) * hidden
    return dot(h, 4, input_address(r, WEIGHT) + 4 * (g * hidden + j), 4 * columns, hidden)


@jit
def rnn_h(r, x, j, product):  # type: ignore[no-untyped-def]
    """f(x + h W)."""
    return clipped(r, 0, load_f32(x + 4 * j) + product)


@jit
def peephole(r, which, j, c):  # type: ignore[no-untyped-def]
    """The peephole's part of a gate: + P * c, if there is one."""
    if input_address(r, EXTRA) == 0:
        return ZERO
    return load_f32(input_address(r, EXTRA) + 4 * (which * param(r, HIDDEN) + j)) * c


@jit
def lstm_c(r, x, c, j, product_i, product_f, product_c):  # type: ignore[no-untyped-def]
    """The cell's new value: f c + i g(...), where f is 1 - i if input and forget gate are coupled."""
    hidden = param(r, HIDDEN)
    i = clipped(r, 0, load_f32(x + 4 * j) + product_i + peephole(r, 0, j, c))
    f = ONE - i
    if param(r, OPTION) == 0:
        f = clipped(r, 0, load_f32(x + 4 * (2 * hidden + j)) + product_f + peephole(r, 2, j, c))
    return f * c + i * clipped(r, 1, load_f32(x + 4 * (3 * hidden + j)) + product_c)


@jit
def lstm_h(r, x, c, j, product):  # type: ignore[no-untyped-def]
    """o h(c); the cell itself is not clipped."""
    o = clipped(r, 0, load_f32(x + 4 * (param(r, HIDDEN) + j)) + product + peephole(r, 1, j, c))
    return o * activate(r, 2, c)


@jit
def gru_gate(r, x, g, j, product):  # type: ignore[no-untyped-def]
    """Update gate (0) or reset gate (1)."""
    return clipped(r, 0, load_f32(x + 4 * (g * param(r, HIDDEN) + j)) + product)


@jit
def gru_h(r, x, h, z, j, product):  # type: ignore[no-untyped-def]
    """(1 - z) g(x + product) + z h, where h is the element before."""
    return (ONE - z) * clipped(r, 1, load_f32(x + 4 * (2 * param(r, HIDDEN) + j)) + product) + z * h


@jit
def gru_linear(r, reset, j, product):  # type: ignore[no-untyped-def]
    """What the reset gate lets through where it comes after the product: r (h W + bias)."""
    if input_address(r, EXTRA) != 0:
        product = product + load_f32(input_address(r, EXTRA) + 4 * j)
    return reset * product
