"""Reductions along any axes, of any type; reductions of nothing; running sums in both directions."""

from typing import Any

import numpy as np
import onnxruntime
import pytest
from front_models import one_node, run_opml

from opml.compiler import compile_graph
from opml.errors import OpmlError, UnsupportedError

RNG = np.random.default_rng(5)
AXES = ([0], [1], [0, 2], [-1], [1, 2], [0, 1, 2], [])
NAMES = ["L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare"]


def agrees(op: str, inputs: dict[str, Any], constants: dict[str, Any], **attrs: Any) -> None:
    model = one_node(op, inputs, constants, **attrs)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (ours,), (theirs,) = run_opml(model, inputs), session.run(None, inputs)
    assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
    np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", NAMES)
def test_reductions(name: str) -> None:
    x = RNG.uniform(0.1, 2, (2, 3, 4)).astype(np.float32)
    for axes in AXES:
        for flags in ({}, {"keepdims": 0}, {"noop_with_empty_axes": 1}):
            agrees(f"Reduce{name}", {"x": x}, {"axes": np.array(axes, np.int64)}, **flags)


def test_the_logarithm_of_a_sum_of_large_and_infinite_exponentials() -> None:
    for row in ([1000.0, 999.0, -1000.0], [-2000.0, -2001.0, -3000.0], [-np.inf, 0.0, 1.0], [-np.inf] * 3):
        x = np.array([row], np.float32)
        (y,) = run_opml(one_node("ReduceLogSumExp", {"x": x}, {"axes": np.array([1])}), {"x": x})
        np.testing.assert_allclose(y, np.logaddexp.reduce(x, axis=1, keepdims=True), rtol=1e-6)


@pytest.mark.parametrize("name", ["Max", "Mean", "Min", "Prod", "Sum"])
def test_integers(name: str) -> None:
    x = RNG.integers(-9, 9, (3, 4, 5)).astype(np.int32)
    agrees(f"Reduce{name}", {"x": x}, {"axes": np.array([0, 2])})


def test_positions_of_the_least() -> None:
    x = RNG.integers(0, 3, (4, 5)).astype(np.float32)
    for select_last in (0, 1):
        agrees("ArgMin", {"x": x}, {}, axis=1, select_last_index=select_last)
    low = np.array([[0, np.iinfo(np.int32).min, 5]], np.int32)
    agrees("ArgMin", {"x": low}, {}, axis=1)


@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
def test_running_sums(exclusive: int, reverse: int) -> None:
    for axis in (0, 1, -1):
        x = RNG.standard_normal((2, 9, 3)).astype(np.float32)
        agrees("CumSum", {"x": x}, {"axis": np.array(axis)}, exclusive=exclusive, reverse=reverse)
    agrees("CumSum", {"x": x[:, :1]}, {"axis": np.array(1)}, exclusive=exclusive, reverse=reverse)


@pytest.mark.parametrize(
    ("op", "constants", "attrs"),
    [
        ("ReduceSum", {"axes": np.array([3])}, {}),
        ("ReduceSum", {"axes": np.array([0, -3])}, {}),
        ("ReduceSum", {"axes": np.array([0.0], np.float32)}, {}),
        ("ReduceSum", {}, {"keepdims": 2}),
        ("ReduceSum", {}, {"axes": [0]}),
        ("CumSum", {"axis": np.array([0, 1])}, {}),
        ("CumSum", {"axis": np.array(5)}, {}),
        ("ArgMin", {}, {"axis": 3}),
    ],
)
def test_refusals(op: str, constants: dict[str, Any], attrs: dict[str, Any]) -> None:
    with pytest.raises(OpmlError) as caught:
        compile_graph(one_node(op, {"x": np.zeros((2, 3, 4), np.float32)}, constants, **attrs).SerializeToString())
    assert isinstance(caught.value, UnsupportedError) or "makes no sense" in caught.value.message
