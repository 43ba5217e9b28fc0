"""Operators that carry a state from token to token, unrolled over the tokens."""

from math import sqrt

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.activation import silu
from opml.lowering.attention import join_heads, split_heads
from opml.lowering.call import Call, lowers

GATED, CORRECTED = ("gated", "gated_delta"), ("delta", "gated_delta")


@lowers("LinearAttention")
def linear_attention(c: Call) -> tuple[str, str]:
    """A state [B, Hkv, Dk, Dv] that fades by exp(decay), learns key and value, and is read by the query.

    With the delta rule it learns beta * (value - what the key finds in it).
    """
    c.ignore("chunk_size")
    heads, shared = c.integer("q_num_heads", 0), c.integer("kv_num_heads", 0)
    rule = c.text("update_rule", "gated_delta")
    if rule not in ("linear", *GATED, *CORRECTED) or shared < 1 or heads % shared:
        raise UnsupportedError(f"update rule {rule!r} with {heads} heads of queries and {shared} of keys")
    q, k, v = split_heads(c, c.input(0), heads), *(split_heads(c, c.input(i), shared) for i in (1, 2))
    past, decay, beta = c.optional(3), c.optional(4), c.optional(5)
    if bool(decay) != (rule in GATED) or bool(beta) != (rule in CORRECTED):
        raise UnsupportedError(f"update rule {rule!r} {'with' if decay else 'without'} decay, or beta")
    (batch, _, length, depth), width = c.build.shape(q), c.build.shape(v)[3]
    q = c.emit("mul", [q, c.build.scalar(c.number("scale", 0.0) or 1 / sqrt(depth))])
    fade = ""
    if decay:
        per_head = c.build.shape(decay)[-1] == shared
        fade = c.emit("exp", [split_heads(c, decay, shared)])
        fade_width = 1 if per_head else depth
    learn = split_heads(c, beta, c.build.shape(beta)[-1]) if beta else ""

    state = past or c.build.filled((batch, shared, depth, width))
    group = (batch * shared, -1)
    read = []
    for t in range(length):
        c.build.count()
        key, value = (_token(c, x, t) for x in (k, v))
        if fade:
            factor = c.view(_token(c, fade, t), (batch, shared, fade_width, 1))
            state = c.emit("mul", [state, factor])
        if learn:
            found = _product(c, key, state, group)
            value = c.emit("mul", [c.emit("sub", [value, found]), _token(c, learn, t)])
        column = c.view(key, (batch, shared, depth, 1))
        state = c.emit("add", [state, c.emit("mul", [column, value])])
        query = c.view(_token(c, q, t), (batch, shared, heads // shared, depth))
        read.append(c.view(_product(c, query, state, group), (batch, heads, 1, width)))
    return join_heads(c, c.build.concat(read, 2)), state


def _token(c: Call, x: str, t: int) -> str:
    """[B, H, T, D] → its [B, H, 1, D] at t."""
    shape = c.build.shape(x)
    if shape[2] == 1:
        return x
    return c.emit("slice", [x], starts=[0, 0, t, 0], steps=[1] * 4, sizes=[*shape[:2], 1, shape[3]])


def _product(c: Call, rows: str, state: str, group: tuple[int, int]) -> str:
    """[B, H, R, Dk] @ [B, H, Dk, Dv]."""
    (batch, heads, count, depth), width = c.build.shape(rows), c.build.shape(state)[3]
    left = c.view(rows, (group[0], count, depth))
    product = c.emit("matmul", [left, c.view(state, (group[0], depth, width))], trans_a=0, trans_b=0)
    return c.view(product, (batch, heads, count, width))


@lowers("CausalConvWithState")
def causal_conv(c: Call) -> tuple[str, str]:
    """A convolution per channel over the last k tokens; its state is the k - 1 before the first."""
    x, weight, bias, past = c.input(0), c.input(1), c.optional(2), c.optional(3)
    form = c.text("activation", "none")
    if form not in ("none", "silu", "swish") or c.rank(0) != 3 or c.rank(1) != 3:
        raise UnsupportedError(f"activation {form!r} of a tensor of {c.rank(0)} dimensions")
    (batch, channels, length), kernel = c.shape(0), c.shape(1)[2]
    if kernel > 1:
        past = past or c.build.filled((batch, channels, kernel - 1))
        x = c.build.concat([past, x], 2)
    lifted, filters = c.view(x, (batch, channels, 1, length + kernel - 1)), c.view(weight, (channels, 1, 1, kernel))
    operands = [lifted, filters, bias] if bias else [lifted, filters]
    y = c.emit("conv", operands, strides=[1, 1], pads=[0] * 4, dilations=[1, 1], group=channels)
    y = c.view(y, (batch, channels, length))
    state = c.build.constant(np.zeros((batch, channels, 0), np.float32))
    if kernel > 1:
        sizes = [batch, channels, kernel - 1]
        state = c.emit("slice", [x], starts=[0, 0, length], steps=[1] * 3, sizes=sizes)
    return y if form == "none" else silu(c, y), state
