"""The attention operators of ONNX Runtime's domain com.microsoft, which exporters and optimisers write."""

from math import sqrt

import numpy as np

from opml.errors import UnsupportedError
from opml.lowering.attention import (
    add_biases,
    attend,
    attend_past,
    bias_of,
    extend,
    integers,
    is_past,
    join_heads,
    positive,
    split_heads,
    window,
)
from opml.lowering.call import Call, lowers
from opml.lowering.rotary import rotate, span, take_rows

FILTER = -10000.0


def filter_bias(c: Call, mask: str, rows: int, length: int, value: float) -> str:
    """An integer mask as a bias: 0 where it is positive, else `value`. Lengths [B], or [B, T], [B, S, T], [B, 1, S, T].

    `rows` are the queries; a square mask larger than they are gives its last rows.
    """
    shape = c.build.shape(mask)
    if len(shape) == 1:
        keys = c.view(c.build.arange(length), (1, 1, 1, length))
        lengths = c.emit("cast", [c.view(mask, (shape[0], 1, 1, 1))], to="int64")
        allowed = positive(c, c.emit("sub", [lengths, keys]))
    elif len(shape) <= 4 and shape[-1] >= length:
        four = (shape[0], 1, 1, shape[1]) if len(shape) == 2 else (shape[0], 1, *shape[-2:])
        allowed = positive(c, c.view(mask, four))
        if four[2] not in (1, rows) or four[3] != length:
            starts = [0, 0, length - rows if four[2] != 1 else 0, 0]
            sizes = [four[0], 1, rows if four[2] != 1 else 1, length]
            allowed = c.emit("slice", [allowed], starts=starts, steps=[1] * 4, sizes=sizes)
    else:
        raise UnsupportedError(f"a mask of shape {list(shape)} for {length} keys")
    closed = c.emit("sub", [c.emit("cast", [allowed], to="float32"), c.build.scalar(1.0)])
    return c.emit("mul", [closed, c.build.scalar(-value)])


def causal_bias(c: Call, past: int, rows: int, length: int, left: int = -1) -> str:
    """Query i is at position past + i."""
    positions = c.emit("add", [c.view(c.build.arange(rows), (rows, 1)), integers(c, past)])
    return window(c, positions, length, causal=True, left=left)


@lowers("com.microsoft.Attention")
def attention(c: Call) -> tuple[str, str]:
    """x @ weights + bias gives queries, keys and values; past and present are [2, B, H, T, D]."""
    c.only("do_rotary", 0)
    c.ignore("past_present_share_buffer")
    x, weights, bias, mask, past, added = c.input(0), c.input(1), c.optional(2), *(c.optional(i) for i in (3, 4, 5))
    heads, (batch, rows, depth) = c.integer("num_heads", 0), c.shape(0)
    sizes = c.integers("qkv_hidden_sizes") or [c.shape(1)[1] // 3] * 3
    product = c.emit(
        "matmul", [c.view(x, (batch * rows, depth)), weights, *([bias] if bias else [])], trans_a=0, trans_b=0
    )
    parts, start = [], 0
    for size in sizes:
        part = c.emit("slice", [product], starts=[0, start], steps=[1, 1], sizes=[batch * rows, size])
        parts.append(split_heads(c, c.view(part, (batch, rows, size)), heads))
        start += size
    q, k, v = parts
    before = 0
    if past and c.build.type(past).elements:
        shape = c.build.shape(past)
        before = shape[3]
        pasts = (c.emit("slice", [past], starts=[i, 0, 0, 0, 0], steps=[1] * 5, sizes=[1, *shape[1:]]) for i in (0, 1))
        k, v = (extend(c, c.view(part, shape[1:]), new) for part, new in zip(pasts, (k, v), strict=True))
    length = c.build.shape(k)[2]
    biases = [added]
    if mask:
        biases.append(filter_bias(c, mask, rows, length, c.number("mask_filter_value", FILTER)))
    c.ignore("mask_filter_value")
    if c.flag("unidirectional"):
        biases.append(causal_bias(c, before, rows, length))
    scale = c.number("scale", 0.0) or 1 / sqrt(c.build.shape(q)[3])
    y = join_heads(c, attend(c, q, k, v, scale=scale, bias=add_biases(c, biases)).y)
    if not any(c.node.outputs[1:]):
        return y, ""
    return y, c.build.concat([c.view(part, (1, *c.build.shape(part))) for part in (k, v)], 0)


@lowers("com.microsoft.MultiHeadAttention")
def multi_head_attention(c: Call) -> tuple[str, str, str, str]:
    """Queries, keys and values: [B, S, H * D] each, or packed [B, S, H, 3, D], or the last two [B, T, H, 2, D]."""
    heads = c.integer("num_heads", 0)
    q, k, v = c.input(0), c.optional(1), c.optional(2)
    if c.rank(0) == 5:
        q, k, v = _unpack(c, q)
    elif k and not v:
        k, v = _unpack(c, k)
    bias = c.optional(3)
    tensors, start = [], 0
    for x in (q, k, v):
        shape = c.build.shape(x)
        width = shape[2] if len(shape) == 3 else shape[1] * shape[3]
        if bias and len(shape) == 3:
            part = c.emit("slice", [bias], starts=[start], steps=[1], sizes=[width])
            x = c.emit("add", [x, part])
        start += width
        tensors.append(split_heads(c, x, heads) if len(shape) == 3 else x)
    q, k, v = tensors
    mask, added, past_key, past_value = (c.optional(index) for index in (4, 5, 6, 7))
    before = c.build.shape(past_key)[2] if past_key else 0
    k, v = extend(c, past_key, k), extend(c, past_value, v)
    rows, length = c.build.shape(q)[2], c.build.shape(k)[2]
    biases = [added]
    value = c.number("mask_filter_value", FILTER)
    if mask:
        biases.append(filter_bias(c, mask, rows, length, value))
    if c.flag("unidirectional"):
        biases.append(causal_bias(c, before, rows, length))
    scale = c.number("scale", 0.0) or 1 / sqrt(c.build.shape(q)[3])
    out = attend(c, q, k, v, scale=scale, bias=add_biases(c, biases))
    return join_heads(c, out.y), k, v, out.shown[0]


def _unpack(c: Call, x: str) -> list[str]:
    """[B, S, H, n, D] → n times [B, H, S, D]."""
    batch, rows, heads, count, depth = c.build.shape(x)
    moved = c.build.transpose(x, [3, 0, 2, 1, 4])
    sizes = [1, batch, heads, rows, depth]
    parts = (c.emit("slice", [moved], starts=[i, 0, 0, 0, 0], steps=[1] * 5, sizes=sizes) for i in range(count))
    return [c.view(part, sizes[1:]) for part in parts]


@lowers("com.microsoft.GroupQueryAttention")
def group_query_attention(c: Call) -> tuple[str, str, str]:
    """Causal attention of queries that share heads of keys, with rotary embedding and a window on request.

    `seqlens_k` is how many keys there are, less one. Without a past they may be fewer than rows (padding on the right);
    with one they must be all.
    """
    for name, value in (("smooth_softmax", 0), ("qk_output", 0), ("k_quant_type", "NONE"), ("v_quant_type", "NONE")):
        c.only(name, value)
    c.ignore("kv_cache_bit_width")
    heads, shared = c.integer("num_heads", 0), c.integer("kv_num_heads", 0)
    q, k, v = c.input(0), c.optional(1), c.optional(2)
    if not k:
        q, k, v = _split_packed(c, q, heads, shared)
    q, k, v = split_heads(c, q, heads), *(split_heads(c, x, shared) for x in (k, v))
    past_key, past_value = c.optional(3), c.optional(4)
    past = c.build.shape(past_key)[2] if past_key else 0
    rows = c.build.shape(q)[2]
    lengths = c.input(5)
    c.optional(6)
    generates = is_past(c, past_key)
    if past and not generates and not _is_full(c, lengths, past + rows):
        raise UnsupportedError(f"'seqlens_k' must be constant and {past + rows - 1} where there is a past")
    cosines, sines, positions, added = (c.optional(index) for index in (7, 8, 9, 10))
    if c.flag("do_rotary"):
        if generates and c.build.memory is not None:
            positions = c.build.memory.position
        cosines, sines = (
            take_rows(c, table, positions) if positions else span(c, table, past, rows) for table in (cosines, sines)
        )
        turned = c.flag("rotary_interleaved")
        dim = 2 * c.build.shape(cosines)[2]
        q, k = (rotate(c, x, cosines, sines, 0, turned, dim) for x in (q, k))
    c.ignore("rotary_interleaved")
    scale = c.number("scale", 0.0) or 1 / sqrt(c.build.shape(q)[3])
    softcap, local = c.number("softcap", 0.0), c.integer("local_window_size", -1)
    left = local - 1 if local > 0 else -1
    if generates:
        out, k, v = attend_past(c, q, (past_key, k), (past_value, v), scale, softcap=softcap, bias=added, left=left)
        return join_heads(c, out.y), k, v
    k, v = extend(c, past_key, k), extend(c, past_value, v)
    length = c.build.shape(k)[2]
    biases = [added, causal_bias(c, past, rows, length, left)]
    if not _is_full(c, lengths, length):
        keys = c.view(c.build.arange(length), (1, 1, 1, length))
        count = c.emit("cast", [c.view(lengths, (c.build.type(lengths).elements, 1, 1, 1))], to="int64")
        biases.append(bias_of(c, positive(c, c.emit("sub", [c.emit("add", [count, integers(c, 1)]), keys]))))
    out = attend(c, q, k, v, scale=scale, softcap=softcap, bias=add_biases(c, biases))
    return join_heads(c, out.y), k, v


def _is_full(c: Call, lengths: str, count: int) -> bool:
    value = c.build.value(lengths)
    return value is not None and bool(np.all(value == count - 1))


def _split_packed(c: Call, x: str, heads: int, shared: int) -> list[str]:
    """[B, S, (Hq + 2 Hkv) * D] → queries, keys, values."""
    batch, rows, width = c.build.shape(x)
    depth = width // (heads + 2 * shared)
    parts, start = [], 0
    for count in (heads, shared, shared):
        sizes = [batch, rows, count * depth]
        parts.append(c.emit("slice", [x], starts=[0, 0, start], steps=[1] * 3, sizes=sizes))
        start += count * depth
    return parts
