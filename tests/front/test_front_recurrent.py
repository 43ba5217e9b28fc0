"""RNN, GRU and LSTM in all their forms, beside ONNX Runtime; what makes no sense is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from front_models import make_model, run_graph, run_onnxruntime, run_opml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import helper

from opml.compiler import compile_graph
from opml.errors import UnsupportedError
from opml.graph import Array

GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}
EACH = {"RNN": 1, "GRU": 2, "LSTM": 3}
# With ONNX Runtime's own defaults where it takes alpha or beta.
ACTIVATIONS = ("Relu", "Tanh", "Sigmoid", "LeakyRelu", "HardSigmoid", "Elu", "Softsign", "Softplus")


class Recurrent:
    """A random node: what its sizes are, and its inputs by position."""

    def __init__(self, op: str, seed: int, steps: int, batch: int, width: int, hidden: int, directions: int) -> None:
        self.op, self.rng, self.attrs = op, np.random.default_rng(seed), {"hidden_size": hidden}
        self.steps, self.batch, self.hidden, self.directions = steps, batch, hidden, directions
        rows = GATES[op] * hidden
        self.inputs: dict[int, Array] = {
            0: self.floats(steps, batch, width),
            1: self.floats(directions, rows, width),
            2: self.floats(directions, rows, hidden),
        }
        if directions == 2:
            self.attrs["direction"] = "bidirectional"

    def floats(self, *shape: int) -> Array:
        return self.rng.normal(size=shape).astype(np.float32)

    def with_bias(self) -> None:
        self.inputs[3] = self.floats(self.directions, 2 * GATES[self.op] * self.hidden)

    def with_lengths(self) -> None:
        self.inputs[4] = self.rng.integers(1, self.steps + 1, self.batch).astype(np.int32)

    def with_states(self) -> None:
        for index in (5, 6) if self.op == "LSTM" else (5,):
            self.inputs[index] = self.floats(self.directions, self.batch, self.hidden)

    def with_peepholes(self) -> None:
        self.inputs[7] = self.floats(self.directions, 3 * self.hidden)

    def model(self, fixed: tuple[int, ...] = (1, 2, 3, 7)) -> onnx.ModelProto:
        names = [f"x{i}" if i in self.inputs else "" for i in range(max(self.inputs) + 1)]
        outputs = ["y", "h", "c"][: 3 if self.op == "LSTM" else 2]
        node = helper.make_node(self.op, names, outputs, **self.attrs)
        feeds = {f"x{i}": value for i, value in self.inputs.items() if i not in fixed}
        constants = {f"x{i}": value for i, value in self.inputs.items() if i in fixed}
        return make_model([node], feeds, outputs, constants, 14)

    def feeds(self, model: onnx.ModelProto) -> dict[str, Array]:
        return {value.name: self.inputs[int(value.name[1:])] for value in model.graph.input}


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_all_forms_are_those_of_onnx_runtime(data: st.DataObject) -> None:
    flag = st.booleans()
    op = data.draw(st.sampled_from(sorted(GATES)))
    sizes = [data.draw(st.integers(1, 5)) for _ in range(3)]
    node = Recurrent(op, data.draw(st.integers(0, 999)), *sizes, data.draw(st.sampled_from((1, 3, 8))), 1)
    if data.draw(flag):
        node = Recurrent(op, 1, *sizes, node.hidden, 2)
    elif data.draw(flag):
        node.attrs["direction"] = "reverse"
    for add in (node.with_bias, node.with_lengths, node.with_states):
        if data.draw(flag):
            add()
    if op == "GRU":
        node.attrs["linear_before_reset"] = data.draw(st.integers(0, 1))
    if op == "LSTM" and data.draw(flag):
        node.with_peepholes()
    if op == "LSTM" and data.draw(flag):
        node.attrs["input_forget"] = 1
    if data.draw(flag):
        node.attrs["clip"] = 0.75
    if data.draw(flag):
        count = EACH[op] * node.directions
        node.attrs["activations"] = [data.draw(st.sampled_from(ACTIVATIONS)) for _ in range(count)]
    model = node.model(data.draw(st.sampled_from([(1, 2, 3, 7), (), (1, 2, 3, 4, 5, 6, 7)])))
    feeds = node.feeds(model)
    for ours, theirs in zip(run_opml(model, feeds), run_onnxruntime(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5, err_msg=f"{op} {node.attrs}")


def test_alpha_and_beta_go_to_the_activations_that_take_them() -> None:
    node = Recurrent("LSTM", 3, 3, 2, 4, 5, 2)
    node.attrs["activations"] = ["HardSigmoid", "Affine", "Tanh", "ThresholdedRelu", "ScaledTanh", "LeakyRelu"]
    node.attrs["activation_alpha"], node.attrs["activation_beta"] = [0.3, 0.7, 0.05, 1.2, 0.1], [0.4, 0.1, 0.9]
    model = node.model()
    feeds = node.feeds(model)
    for ours, theirs in zip(run_opml(model, feeds), run_onnxruntime(model, feeds), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5)


def test_lengths_may_be_computed_and_are_clamped() -> None:
    """The steps after a sequence's end are zero, and lengths outside of the sequence are its ends."""
    node = Recurrent("GRU", 1, 3, 4, 2, 5, 2)
    node.inputs[4] = np.array([0, -7, 3, 99], np.int32)
    model = node.model()
    y, h = run_opml(model, node.feeds(model))
    assert not y[:, :, :2].any()
    assert not h[:, :2].any()
    node.inputs[4] = np.array([3, 3, 3, 3], np.int32)
    full, last = run_opml(model, node.feeds(model))
    np.testing.assert_array_equal(full[:, :, 2:], y[:, :, 2:])
    np.testing.assert_array_equal(last[:, 2:], h[:, 2:])


def test_a_thousand_steps_are_a_few_nodes() -> None:
    node = Recurrent("LSTM", 0, 1000, 1, 8, 16, 2)
    node.with_bias()
    model = node.model()
    graph = compile_graph(model.SerializeToString())
    assert len(graph.nodes) < 30
    values = run_graph(graph, node.feeds(model))
    for name, theirs in zip(graph.outputs, run_onnxruntime(model, node.feeds(model)), strict=True):
        np.testing.assert_allclose(values[name], theirs, rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"direction": "sideways"}, "sideways"),
        ({"hidden_size": 9}, "hidden_size"),
        ({"activations": ["Tanh"]}, "1 activations"),
        ({"activations": ["Tanh", "Swish", "Tanh"]}, "swish"),
        ({"activations": ["Tanh", "ScaledTanh", "Tanh"]}, "alpha"),
        ({"clip": -1.0}, "clip"),
        ({"layout": 2}, "layout"),
        ({"momentum": 1}, "momentum"),
    ],
)
def test_attributes_that_make_no_sense(attrs: dict[str, Any], words: str) -> None:
    node = Recurrent("LSTM", 0, 2, 2, 2, 3, 1)
    node.attrs |= attrs
    with pytest.raises(UnsupportedError, match=words):
        compile_graph(node.model().SerializeToString())


@pytest.mark.parametrize("index", [1, 2, 3, 4, 5, 6, 7])
def test_shapes_that_do_not_fit(index: int) -> None:
    node = Recurrent("LSTM", 0, 2, 2, 2, 3, 1)
    node.with_bias()
    node.with_lengths()
    node.with_states()
    node.with_peepholes()
    node.inputs[index] = np.concatenate([node.inputs[index]] * 2, -1)
    with pytest.raises(UnsupportedError, match=r"shape|hidden"):
        compile_graph(node.model().SerializeToString())


def test_constant_lengths_must_be_within_the_sequence() -> None:
    node = Recurrent("RNN", 0, 2, 2, 2, 3, 1)
    node.inputs[4] = np.array([1, 3], np.int32)
    with pytest.raises(UnsupportedError, match="lengths"):
        compile_graph(node.model((1, 2, 4)).SerializeToString())
