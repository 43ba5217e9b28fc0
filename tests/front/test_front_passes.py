"""Passes keep what a graph computes, do what they are for, and their check sees every illegal graph."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from front_models import helper, make_model, numbers, one_node, run_graph, run_onnxruntime
from hypothesis import given, settings
from hypothesis import strategies as st

from opml.compiler import compile_graph
from opml.errors import ModelError
from opml.graph import Array, DType, Graph, Node, TensorType
from opml.lowering import lower
from opml.ops import evaluate
from opml.passes import PASSES, run_passes
from opml.passes.affine import fold_affine
from opml.passes.check import check, storage
from opml.passes.dead import remove_dead
from opml.passes.fold import Budget, fold
from opml.passes.pack import pack_weights
from opml.reader import read_onnx

F32 = DType.FLOAT32


def type_of(value: Array) -> TensorType:
    return TensorType(DType(value.dtype.name), value.shape)


def ops(graph: Graph) -> list[str]:
    return [node.op for node in graph.nodes]


def norm_constants(channels: int) -> dict[str, Array]:
    values = {name: numbers(channels, seed=i) for i, name in enumerate(("gamma", "beta", "mean"))}
    return values | {"var": np.abs(numbers(channels, seed=9)) + 0.1}


def norm(x: str, y: str) -> object:
    return helper.make_node("BatchNormalization", [x, "gamma", "beta", "mean", "var"], [y])


# BatchNormalization.


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("kind", ["conv", "conv1d", "conv-transposed-view", "gemm", "matmul", "batched"])
def test_a_normalisation_goes_into_the_weights_before_it(kind: str, bias: bool) -> None:
    channels, extra = 3, {"b": numbers(3)} if bias else {}
    names = ["x", "w", *extra]
    match kind:
        case "conv":
            x, w, nodes = numbers(2, 4, 6, 5), numbers(3, 4, 3, 3), [helper.make_node("Conv", names, ["h"])]
        case "conv1d":
            x, w, nodes = numbers(2, 4, 6), numbers(3, 4, 3), [helper.make_node("Conv", names, ["h"])]
        case "conv-transposed-view":
            x, w = numbers(2, 4, 3, 3), numbers(3, 4, 3, 3)
            nodes = [helper.make_node("Conv", names, ["g"]), helper.make_node("Flatten", ["g"], ["h"])]
        case "gemm":
            x, w, nodes = numbers(2, 5), numbers(3, 5), [helper.make_node("Gemm", names, ["h"], transB=1)]
        case _:
            x, w = (numbers(2, 5), numbers(5, 3)) if kind == "matmul" else (numbers(1, 2, 5), numbers(5, 3))
            nodes = [helper.make_node("MatMul", ["x", "w"], ["g" if bias else "h"])]
            if bias:
                nodes.append(helper.make_node("Add", ["g", "b"], ["h"]))
            if kind == "batched":
                nodes[-1].output[0] = "k"
                nodes.append(helper.make_node("Squeeze", ["k"], ["h"]))
    constants = {"w": w, **extra, **norm_constants(channels)}
    model = make_model([*nodes, norm("h", "y")], {"x": x}, ["y"], constants)
    graph = compile_graph(model.SerializeToString())
    assert [op for op in ops(graph) if op != "view"] == ["conv" if "conv" in kind else "matmul"]
    (expected,) = run_onnxruntime(model, {"x": x})
    np.testing.assert_allclose(run_graph(graph, {"x": x})["y"], expected, rtol=1e-4, atol=1e-5)


def test_a_result_that_somebody_else_reads_is_left_alone() -> None:
    x, constants = numbers(2, 4, 6, 5), {"w": numbers(3, 4, 3, 3), **norm_constants(3)}
    conv = helper.make_node("Conv", ["x", "w"], ["h"])
    other = helper.make_node("Relu", ["h"], ["z"])
    for nodes, outputs in (([conv, norm("h", "y"), other], ["y", "z"]), ([conv, norm("h", "y")], ["y", "h"])):
        model = make_model(nodes, {"x": x}, outputs, constants)
        graph = compile_graph(model.SerializeToString())
        assert {"conv", "mul", "add"} <= set(ops(graph))
        values = run_graph(graph, {"x": x})
        for name, expected in zip(outputs, run_onnxruntime(model, {"x": x}), strict=True):
            np.testing.assert_allclose(values[name], expected, rtol=1e-4, atol=1e-5)


def test_a_normalisation_alone_is_one_mul_and_one_add() -> None:
    model = one_node("BatchNormalization", {"x": numbers(2, 3, 4, 4)}, norm_constants(3))
    assert ops(compile_graph(model.SerializeToString())) == ["mul", "add"]


def test_an_add_after_a_matmul_keeps_every_bit() -> None:
    x, w, b = numbers(3, 700), numbers(700, 5), numbers(5)
    nodes = [helper.make_node("MatMul", ["x", "w"], ["h"]), helper.make_node("Add", ["b", "h"], ["y"])]
    graph = lower(read_onnx(make_model(nodes, {"x": x}, ["y"], {"w": w, "b": b}).SerializeToString()))
    folded = fold_affine(graph)
    assert ops(folded) == ["matmul"]
    before, after = run_graph(graph, {"x": x})["y"], run_graph(folded, {"x": x})["y"]
    assert before.tobytes() == after.tobytes()


@pytest.mark.parametrize(
    ("factor", "why"),
    [
        (np.full((3, 1, 1), 3e38, np.float32), "a weight would overflow"),
        (np.full((3, 1, 1), np.inf, np.float32), "an infinite factor"),
        (numbers(1, 1, 3), "not per channel"),
        (numbers(2, 1, 1, 1), "per image"),
        (numbers(1, 1, 1, 1, 1), "more dimensions"),
    ],
)
def test_factors_that_do_not_go_into_weights(factor: Array, why: str) -> None:
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), helper.make_node("Mul", ["h", "f"], ["y"])]
    constants = {"w": numbers(3, 4, 3, 3) * 10, "f": factor}
    model = make_model(nodes, {"x": numbers(2, 4, 5, 5)}, ["y"], constants)
    assert ops(compile_graph(model.SerializeToString())) == ["conv", "mul"], why


def test_computed_weights_take_a_bias_but_no_factor() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"]),
        helper.make_node("Add", ["h", "b"], ["i"]),
        helper.make_node("Mul", ["i", "b"], ["y"]),
    ]
    feeds = {"x": numbers(2, 5), "w": numbers(5, 3)}
    graph = compile_graph(make_model(nodes, feeds, ["y"], {"b": numbers(3)}).SerializeToString())
    assert ops(graph) == ["matmul", "mul"]


def test_a_name_that_a_pass_would_take_is_free_for_the_model() -> None:
    nodes = [
        helper.make_node("MatMul", ["w.bias", "w"], ["w.panels"]),
        helper.make_node("Add", ["w.panels", "b"], ["y"]),
    ]
    x = numbers(2, 5)
    model = make_model(nodes, {"w.bias": x}, ["y"], {"w": numbers(5, 3), "b": numbers(3)})
    graph = compile_graph(model.SerializeToString())
    (expected,) = run_onnxruntime(model, {"w.bias": x})
    np.testing.assert_allclose(run_graph(graph, {"w.bias": x})["y"], expected, rtol=1e-5, atol=1e-6)


# Packing.


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 20), st.integers(1, 40), st.booleans(), st.booleans())
def test_packing_changes_no_bit(k: int, n: int, trans_a: bool, trans_b: bool) -> None:
    x = numbers(k, 3) if trans_a else numbers(3, k)
    weight = numbers(n, k) if trans_b else numbers(k, n)
    model = one_node("Gemm", {"x": x}, {"w": weight, "b": numbers(n)}, transA=int(trans_a), transB=int(trans_b))
    graph = lower(read_onnx(model.SerializeToString()))
    packed = remove_dead(pack_weights(graph))
    check(packed)
    assert packed.nodes[0].attrs["packed"] == 1
    assert all(value.ndim != 2 for value in packed.constants.values())
    assert run_graph(graph, {"x": x})["y"].tobytes() == run_graph(packed, {"x": x})["y"].tobytes()
    assert pack_weights(packed).nodes == packed.nodes


def test_shared_weights_are_packed_once() -> None:
    nodes = [helper.make_node("MatMul", [f"h{i}", "w"], [f"h{i + 1}"]) for i in range(3)]
    graph = compile_graph(make_model(nodes, {"h0": numbers(2, 5)}, ["h3"], {"w": numbers(5, 5)}).SerializeToString())
    assert len(graph.constants) == 1


def test_computed_weights_are_not_packed() -> None:
    model = one_node("MatMul", {"x": numbers(2, 5), "w": numbers(5, 3)})
    assert compile_graph(model.SerializeToString()).nodes[0].attrs.get("packed", 0) == 0


# Folding and dead code.


def test_folding_gives_the_bits_of_the_definition() -> None:
    nodes = [helper.make_node("Tanh", ["w"], ["t"]), helper.make_node("Add", ["x", "t"], ["y"])]
    w = numbers(3, 5)
    graph = compile_graph(make_model(nodes, {"x": w}, ["y"], {"w": w}).SerializeToString())
    assert ops(graph) == ["add"]
    assert graph.constants["t"].tobytes() == evaluate("tanh", [w], {}).tobytes()
    assert list(graph.constants) == ["t"]


def test_a_budget_that_is_spent_leaves_the_node() -> None:
    x = numbers(8)
    kind = type_of(x)
    assert fold("relu", [x], kind, {}, Budget(bytes=31)) is None
    assert fold("relu", [x], kind, {}, Budget(steps=1)) is None
    budget = Budget(bytes=63)
    assert fold("relu", [x], kind, {}, budget) is not None
    assert fold("relu", [x], kind, {}, budget) is None


def test_dead_nodes_and_constants_go() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["y"]),
        helper.make_node("Add", ["x", "w"], ["a"]),
        helper.make_node("Neg", ["a"], ["b"]),
    ]
    graph = compile_graph(make_model(nodes, {"x": numbers(3)}, ["y"], {"w": numbers(3)}).SerializeToString())
    assert (ops(graph), graph.constants, sorted(graph.types)) == (["relu"], {}, ["x", "y"])


def test_passes_leave_their_input_as_it_was() -> None:
    x, constants = numbers(2, 4, 6, 5), {"w": numbers(3, 4, 3, 3), **norm_constants(3)}
    nodes = [helper.make_node("Conv", ["x", "w"], ["h"]), norm("h", "y")]
    graph = lower(read_onnx(make_model(nodes, {"x": x}, ["y"], constants).SerializeToString()))
    before = (list(graph.nodes), list(graph.constants), dict(graph.types))
    for apply in PASSES:
        apply(graph)
    assert before == (graph.nodes, list(graph.constants), graph.types)


# The check.


def legal() -> Graph:
    return Graph(
        "legal",
        ["x"],
        ["y"],
        [
            Node("relu", ("x",), ("r",), {}, "first"),
            Node("view", ("r",), ("v",), {"shape": [6]}, "second"),
            Node("add", ("v", "c"), ("y",), {}, "third"),
        ],
        {"c": numbers(6)},
        {
            "x": TensorType(F32, (2, 3)),
            "r": TensorType(F32, (2, 3)),
            "v": TensorType(F32, (6,)),
            "c": TensorType(F32, (6,)),
            "y": TensorType(F32, (6,)),
        },
    )


def test_a_legal_graph() -> None:
    check(legal())
    assert storage(legal()) == {"x": "x", "c": "c", "r": "r", "v": "r", "y": "y"}
    assert run_passes(legal()).outputs == ["y"]


def change_node(index: int, **fields: object) -> Callable[[Graph], None]:
    def change(graph: Graph) -> None:
        graph.nodes[index] = replace(graph.nodes[index], **fields)

    return change


ILLEGAL: dict[str, tuple[Callable[[Graph], object], str]] = {
    "a later tensor": (lambda g: g.nodes.reverse(), "before it"),
    "its own output": (change_node(0, inputs=("r",)), "before it"),
    "an unknown tensor": (change_node(0, inputs=("z",)), "before it"),
    "two writers": (change_node(2, outputs=("r",)), "twice"),
    "writing an input": (change_node(0, outputs=("x",)), "twice"),
    "no name": (change_node(0, outputs=("",)), "without a name"),
    "two outputs": (change_node(0, outputs=("r", "s")), "one output"),
    "no output": (change_node(0, outputs=()), "one output"),
    "no such primitive": (change_node(0, op="relu6"), "relu6"),
    "an ONNX name": (change_node(0, op="Relu"), "Relu"),
    "an unknown attribute": (change_node(0, attrs={"alpha": 1.0}), "alpha"),
    "a wrong type": (lambda g: g.types.update(r=TensorType(F32, (3, 2))), "type"),
    "a missing type": (lambda g: g.types.pop("r"), ""),
    "a type too many": (lambda g: g.types.update(z=TensorType(F32, ())), "'z'"),
    "a view of another size": (change_node(1, attrs={"shape": [7]}), "6 elements"),
    "a view without a shape": (change_node(1, attrs={}), "shape"),
    "a view with more": (change_node(1, attrs={"shape": [6], "axis": 1}), "nothing else"),
    "a view of negative size": (change_node(1, attrs={"shape": [-2, -3]}), "shape"),
    "a view of text": (change_node(1, attrs={"shape": "6"}), "shape"),
    "a view of nothing": (change_node(1, inputs=("",)), "input"),
    "a view of two": (change_node(1, inputs=("r", "r")), ""),
    "a constant of another type": (lambda g: g.constants.update(c=numbers(5)), "constant"),
    "an unknown output": (lambda g: g.outputs.append("z"), "'z'"),
    "an output without bytes": (lambda g: g.outputs.append("x"), "'x'"),
    "an output twice": (lambda g: g.outputs.append("y"), "'y'"),
    "a view of an output": (lambda g: g.outputs.extend(["r", "v"]), "'v'"),
    "no output at all": (lambda g: g.outputs.clear(), "output"),
    "no input at all": (lambda g: g.inputs.clear(), ""),
}


@pytest.mark.parametrize("label", ILLEGAL)
def test_an_illegal_graph_is_seen(label: str) -> None:
    spoil, word = ILLEGAL[label]
    graph = legal()
    spoil(graph)
    with pytest.raises(ModelError) as caught:
        check(graph)
    assert word in caught.value.message
