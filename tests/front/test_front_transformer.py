"""The operators of transformers beside ONNX Runtime, which has them under its own domain too."""

from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from front_models import make_model
from onnx import helper

from opml.compiler import compile_program
from opml.engine import Engine
from opml.errors import UnsupportedError
from opml.graph import Array
from opml.ops import evaluate

Arrays = dict[str, Array]
RNG = np.random.default_rng(5)
MASKS = [None, np.array([3, 5], np.int32), np.array([[1, 1, 0, 0, 1], [1, 1, 1, 1, 0]], np.int32)]


def floats(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(op: str, feeds: Arrays, outputs: int, constants: Arrays, **attrs: Any) -> onnx.ModelProto:
    """One node; an input is absent where its name starts with `_`."""
    domain, _, name = op.rpartition(".")
    inputs = ["" if key.startswith("_") else key for key in (*feeds, *constants)]
    feeds = {key: value for key, value in feeds.items() if not key.startswith("_")}
    shown = [f"y{i}" for i in range(outputs)]
    node = helper.make_node(name, inputs, shown, domain=domain, **attrs)
    model = make_model([node], feeds, shown, constants, 21)
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    model.ir_version = 9
    return model


def both(op: str, feeds: Arrays, outputs: int = 1, constants: Arrays | None = None, **attrs: Any) -> None:
    """Our outputs are ONNX Runtime's."""
    model = model_of(op, feeds, outputs, constants or {}, **attrs)
    feeds = {key: value for key, value in feeds.items() if not key.startswith("_")}
    session = onnxruntime.InferenceSession(model.SerializeToString())
    theirs = session.run(None, feeds)
    ours = Engine(compile_program(model.SerializeToString())).run(feeds)
    for name, expected in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(ours[name], expected, rtol=1e-4, atol=2e-6, err_msg=f"{op} {name}")


@pytest.mark.parametrize("op", ["Gelu", "QuickGelu", "FastGelu"])
def test_activations(op: str) -> None:
    both(f"com.microsoft.{op}", {"x": 3 * floats(3, 33)})


@pytest.mark.parametrize("op", ["BiasGelu", "FastGelu"])
def test_activations_with_bias(op: str) -> None:
    both(f"com.microsoft.{op}", {"x": floats(3, 33), "b": floats(33)})


def test_norms_after_an_addition() -> None:
    x, skip, gamma, beta, bias = floats(2, 5, 24), floats(2, 5, 24), floats(24), floats(24), floats(24)
    feeds = {"x": x, "s": skip, "g": gamma, "b": beta, "c": bias}
    both("com.microsoft.SkipLayerNormalization", feeds, epsilon=1e-6)
    feeds.pop("b")
    both("com.microsoft.SkipSimplifiedLayerNormalization", feeds)
    both("SimplifiedLayerNormalization", {"x": x, "g": gamma}, axis=-1)


@pytest.mark.parametrize("unidirectional", [0, 1])
@pytest.mark.parametrize("mask", MASKS)
def test_attention_of_one_matrix(mask: Array | None, unidirectional: int) -> None:
    feeds = {"x": floats(2, 5, 12), "w": floats(12, 36), "b": floats(36)}
    if mask is not None:
        feeds["m"] = mask
    both("com.microsoft.Attention", feeds, num_heads=3, unidirectional=unidirectional)


def test_attention_with_a_past() -> None:
    feeds = {"x": floats(1, 2, 8), "w": floats(8, 24), "b": floats(24), "_m": floats(1), "p": floats(2, 1, 2, 3, 4)}
    both("com.microsoft.Attention", feeds, 2, num_heads=2, unidirectional=1)


@pytest.mark.parametrize("biased", [False, True])
def test_multi_head_attention(biased: bool) -> None:
    feeds = {"q": floats(2, 3, 12), "k": floats(2, 5, 12), "v": floats(2, 5, 18)}
    feeds["b" if biased else "_b"] = floats(12 + 12 + 18)
    feeds["m"] = np.array([[1, 1, 1, 0, 1], [1, 0, 0, 0, 0]], np.int32)
    feeds["a"] = floats(1, 3, 3, 5)
    both("com.microsoft.MultiHeadAttention", feeds, num_heads=3)


def test_multi_head_attention_with_a_past() -> None:
    feeds = {"q": floats(1, 2, 8), "k": floats(1, 2, 8), "v": floats(1, 2, 8), "_b": floats(1), "_m": floats(1)}
    feeds |= {"_a": floats(1), "p": floats(1, 2, 3, 4), "r": floats(1, 2, 3, 4)}
    both("com.microsoft.MultiHeadAttention", feeds, 3, num_heads=2)


@pytest.mark.parametrize("attrs", [{}, {"local_window_size": 2}, {"softcap": 2.0}, {"do_rotary": 1}])
@pytest.mark.parametrize("packed", [False, True])
def test_group_query_attention(packed: bool, attrs: dict[str, Any]) -> None:
    rows, depth = 5, 16
    feeds: dict[str, Array] = {"q": floats(1, rows, (4 + 4 * packed) * depth)}
    feeds |= {"_k" if packed else "k": floats(1, rows, 2 * depth), "_v" if packed else "v": floats(1, rows, 2 * depth)}
    feeds |= {"_p": floats(1), "_r": floats(1)}
    constants = {"n": np.array([rows - 1], np.int32), "t": np.array(rows, np.int32)}
    if "do_rotary" in attrs:
        constants |= {"c": floats(8, depth // 2), "s": floats(8, depth // 2)}
    both("com.microsoft.GroupQueryAttention", feeds, 1, constants, num_heads=4, kv_num_heads=2, **attrs)


def test_group_query_attention_refuses_a_past_of_unknown_length() -> None:
    feeds = {"q": floats(1, 1, 64), "k": floats(1, 1, 32), "v": floats(1, 1, 32)}
    feeds |= {"p": floats(1, 2, 3, 16), "r": floats(1, 2, 3, 16), "n": np.array([3], np.int32)}
    model = model_of(
        "com.microsoft.GroupQueryAttention", feeds, 1, {"t": np.array(4, np.int32)}, num_heads=4, kv_num_heads=2
    )
    with pytest.raises(UnsupportedError, match="seqlens_k"):
        compile_program(model.SerializeToString())


def test_a_long_softmax_has_the_bits_of_a_short_one() -> None:
    """It is taken apart; a node of the primitive on the same row gives what its parts give."""
    x = 8 * floats(3, 1500)
    x[1, 7:] = -np.inf
    model = make_model([helper.make_node("Softmax", ["x"], ["y"])], {"x": x}, ["y"])
    program = compile_program(model.SerializeToString())
    assert {node.op for node in program.nodes} == {"reduce_max", "sub", "exp", "reduce_sum", "div"}
    y = Engine(program).run({"x": x})["y"]
    assert y.tobytes() == evaluate("softmax", [x], {"axis": 1}).tobytes()
    assert program.max_tile_steps < 1 << 25


@pytest.mark.parametrize("length", [6, 600])
def test_a_closed_row_attends_to_nothing(length: int) -> None:
    q, k = floats(1, 1, 2, 4), floats(1, 1, length, 4)
    mask = np.ones((2, length), bool)
    mask[1] = False
    feeds = {"q": q, "k": k, "v": k, "m": mask}
    model = make_model([helper.make_node("Attention", list(feeds), ["y"])], feeds, ["y"], opset=24)
    y = Engine(compile_program(model.SerializeToString())).run(feeds)["y"]
    assert not y[0, 0, 1].any()
    assert np.isfinite(y).all()
    assert y[0, 0, 0].any()
