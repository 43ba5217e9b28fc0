"""Scaled dot-product attention: the core that all attention operators share, and ONNX's own operator."""

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np

from opml.errors import UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers
from opml.lowering.normalisation import softmax_rows


@dataclass(frozen=True)
class Attended:
    """The result [B, Hq, S, Dv] and what it came from, each [B, Hq, S, T].

    Those are the scores as `qk_matmul_output_mode` wants them: capped (also for 0, which says raw), with bias, weights.
    """

    y: str
    shown: tuple[str, str, str, str]


def attend(c: Call, q: str, k: str, v: str, *, scale: float, softcap: float = 0.0, bias: str = "") -> Attended:
    """softmax(cap(q k' * scale) + bias) v for q [B, Hq, S, D], k [B, Hkv, T, D], v [B, Hkv, T, Dv].

    Query heads that share a head of keys lie together, so each such group is one matrix. A row that the bias closes
    everywhere gives zeros.
    """
    (batch, heads, rows, depth), (_, shared, length, width) = c.build.shape(q), c.build.shape(v)
    if heads % shared or c.build.shape(k) != (batch, shared, length, depth):
        raise UnsupportedError(f"queries {list(c.build.shape(q))} do not fit keys {list(c.build.shape(k))}")
    groups, group_rows = batch * shared, heads // shared * rows
    q = c.emit("mul", [q, c.build.scalar(scale)])
    left, right = c.view(q, (groups, group_rows, depth)), c.view(k, (groups, length, depth))
    scores = c.view(c.emit("matmul", [left, right], trans_a=0, trans_b=1), (batch, heads, rows, length))
    capped, biased = _shift(c, scores, softcap, bias)
    weights = softmax_rows(c, biased, masked=bool(bias))
    left, right = c.view(weights, (groups, group_rows, length)), c.view(v, (groups, length, width))
    y = c.emit("matmul", [left, right], trans_a=0, trans_b=0)
    return Attended(c.view(y, (batch, heads, rows, width)), (capped, capped, biased, weights))


def _shift(c: Call, scores: str, softcap: float, bias: str) -> tuple[str, str]:
    """Scores with their cap, and with the bias on top of it."""
    if softcap:
        cap = c.build.scalar(softcap)
        scores = c.emit("mul", [c.emit("tanh", [c.emit("div", [scores, cap])]), cap])
    return scores, c.emit("add", [scores, bias]) if bias else scores


def is_past(c: Call, name: str) -> bool:
    """Whether a tensor is the past of a decoder that generates, and so none."""
    return c.build.memory is not None and name in c.build.memory.pasts


def attend_past(
    c: Call, q: str, key: tuple[str, str], value: tuple[str, str], scale: float, *, softcap: float, bias: str, left: int
) -> tuple[Attended, str, str]:
    """As `attend`, causally, for one token of a decoder that generates; `key` and `value` are past and new.

    `left` is how far back the token looks, -1 for all the way. Returns the presents, too.
    """
    memory = c.build.memory
    assert memory is not None
    (keys, present_key), (values, present_value) = memory.extend(*key), memory.extend(*value)
    q = c.emit("mul", [q, c.build.scalar(scale)])
    capped, biased = _shift(c, memory.scores(q, keys, left + 1), softcap, bias)
    weights = memory.weights(biased, left + 1)
    y = memory.mix(weights, values, left + 1)
    return Attended(y, (capped, capped, biased, weights)), present_key, present_value


def split_heads(c: Call, x: str, heads: int) -> str:
    """[B, S, H * D] → [B, H, S, D]."""
    shape = c.build.shape(x)
    if heads < 1 or len(shape) != 3 or shape[2] % heads:
        raise UnsupportedError(f"a tensor of shape {list(shape)} has no {heads} heads")
    return c.build.transpose(c.view(x, (*shape[:2], heads, shape[2] // heads)), [0, 2, 1, 3])


def join_heads(c: Call, x: str) -> str:
    """[B, H, S, D] → [B, S, H * D]."""
    batch, heads, rows, depth = c.build.shape(x)
    return c.view(c.build.transpose(x, [0, 2, 1, 3]), (batch, rows, heads * depth))


def integers(c: Call, *values: int, shape: Sequence[int] = ()) -> str:
    """A constant of int64."""
    return c.build.constant(np.array(values, np.int64).reshape(shape))


def bias_of(c: Call, allowed: str) -> str:
    """What is added to scores: 0 where `allowed` (a bool, or 0 and 1) is true, else -infinity: its logarithm."""
    return c.emit("log", [c.emit("cast", [allowed], to="float32")])


def positive(c: Call, x: str) -> str:
    """1 where an integer is greater than 0, else 0."""
    return c.emit("clip", [x], min=0, max=1)


def window(c: Call, positions: str, length: int, *, causal: bool, left: int = -1, right: int = -1) -> str:
    """The bias of keys 0..length-1 for queries at `positions` [..., S, 1]: none after them, none too far away."""
    keys = c.view(c.build.arange(length), (1, length))
    ahead = c.emit("sub", [positions, keys])
    bounds = [(right, ahead)] if right >= 0 else []
    if causal:
        bounds.append((0, ahead))
    if left >= 0:
        bounds.append((left, c.emit("neg", [ahead])))
    allowed = ""
    for reach, distance in bounds:
        one = positive(c, c.emit("add", [distance, integers(c, reach + 1)]))
        allowed = c.emit("mul", [allowed, one]) if allowed else one
    return bias_of(c, allowed) if allowed else ""


def add_biases(c: Call, biases: Sequence[str]) -> str:
    """The sum of those that are there; constants first, so that they become one. "" where there are none."""
    total = ""
    for bias in sorted(filter(None, biases), key=lambda name: c.build.value(name) is None):
        total = c.emit("add", [total, bias]) if total else bias
    return total


def mask_bias(c: Call, mask: str, length: int) -> str:
    """A bool or float mask as a bias over `length` keys; keys that it does not reach are closed."""
    kind = c.build.type(mask)
    if not kind.shape or kind.shape[-1] > length:
        raise UnsupportedError(f"a mask of shape {list(kind.shape)} for {length} keys")
    bias = bias_of(c, mask) if kind.dtype is DType.BOOL else mask
    if kind.shape[-1] == length or kind.shape[-1] == 1:
        return bias
    rest = c.build.filled((*kind.shape[:-1], length - kind.shape[-1]), -np.inf)
    return c.build.concat([bias, rest], len(kind.shape) - 1)


@lowers("Attention")
def attention(c: Call) -> tuple[str, str, str, str]:
    """Heads from three or four dimensions, a past to go on from, masks and windows (see the ONNX standard)."""
    c.ignore("softmax_precision")
    q, k, v = (c.input(index) for index in range(3))
    flat = c.rank(0) == 3
    if flat:
        q = split_heads(c, q, c.integer("q_num_heads", 0))
        k, v = (split_heads(c, x, c.integer("kv_num_heads", 0)) for x in (k, v))
    else:
        c.ignore("q_num_heads", "kv_num_heads")
    past_key, past_value, lengths = c.optional(4), c.optional(5), c.optional(6)
    if bool(past_key) != bool(past_value) or (past_key and lengths):
        raise UnsupportedError("'past_key' goes with 'past_value', and not with 'nonpad_kv_seqlen'")
    left, right = c.integer("left_window_size", -1), c.integer("right_window_size", -1)
    scale = c.number("scale", 0.0) or 1 / sqrt(c.build.shape(q)[3])
    softcap, mode = c.number("softcap", 0.0), c.integer("qk_matmul_output_mode", 0)
    if not 0 <= mode < 4:
        raise UnsupportedError(f"attribute 'qk_matmul_output_mode' is {mode}, not 0 to 3")
    if is_past(c, past_key):
        c.flag("is_causal")
        mask = mask_bias(c, c.optional(3), c.build.shape(past_key)[2] + 1) if c.optional(3) else ""
        out, k, v = attend_past(c, q, (past_key, k), (past_value, v), scale, softcap=softcap, bias=mask, left=left)
        return join_heads(c, out.y) if flat else out.y, k, v, out.shown[mode]
    past = c.build.shape(past_key)[2] if past_key else 0
    k, v = extend(c, past_key, k), extend(c, past_value, v)

    rows, length = c.build.shape(q)[2], c.build.shape(k)[2]
    biases = [mask_bias(c, c.optional(3), length)] if c.optional(3) else []
    offset = integers(c, past)
    if lengths:
        valid = c.view(lengths, (c.build.type(lengths).elements, 1, 1, 1))
        keys = c.view(c.build.arange(length), (1, 1, 1, length))
        biases.append(bias_of(c, positive(c, c.emit("sub", [valid, keys]))))
        offset = c.emit("sub", [valid, integers(c, rows)])
    positions = c.emit("add", [offset, c.view(c.build.arange(rows), (rows, 1))])
    biases.append(window(c, positions, length, causal=bool(c.flag("is_causal")), left=left, right=right))

    out = attend(c, q, k, v, scale=scale, softcap=softcap, bias=add_biases(c, biases))
    return join_heads(c, out.y) if flat else out.y, k, v, out.shown[mode]


def extend(c: Call, past: str, new: str) -> str:
    """Keys or values [B, H, T, D] after those of the past."""
    return c.build.concat([past, new], 2) if past and c.build.type(past).elements else new
