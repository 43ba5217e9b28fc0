"""If, Loop and Scan beside ONNX Runtime: unrolled where their rounds are known, else refused by name."""

from typing import Any

import numpy as np
import onnx
import pytest
from front_models import make_model, numbers, run_onnxruntime, run_opml
from onnx import GraphProto, TensorProto, helper, numpy_helper

from opml.compiler import compile_graph, compile_program
from opml.counts import cut_outputs
from opml.engine import Engine
from opml.errors import ModelError, UnsupportedError
from opml.graph import Array
from opml.lowering import builder

X = numbers(2, 3)
OPSET = 17


def value(name: str, kind: int = TensorProto.FLOAT, shape: Any = None) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, kind, shape)


def graph(nodes: list[onnx.NodeProto], inputs: list[Any], outputs: list[Any], **constants: Array) -> GraphProto:
    tensors = [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()]
    return helper.make_graph(nodes, "body", inputs, outputs, tensors)


def same(model: onnx.ModelProto, feeds: dict[str, Array]) -> None:
    for ours, theirs in zip(run_opml(model, feeds), run_onnxruntime(model, feeds), strict=True):
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-6)


def refused(model: onnx.ModelProto, *words: str, error: type[Exception] = UnsupportedError) -> None:
    with pytest.raises(error) as caught:
        compile_graph(model.SerializeToString())
    for word in words:
        assert word in str(caught.value)


def branch(op: str, *inputs: str) -> GraphProto:
    return graph([helper.make_node(op, list(inputs), ["z"])], [], [value("z")])


def choice(yes: GraphProto, no: GraphProto, cond: Array | None, feeds: dict[str, Array]) -> onnx.ModelProto:
    node = helper.make_node("If", ["cond"], ["y"], then_branch=yes, else_branch=no)
    constants = {} if cond is None else {"cond": cond}
    return make_model([node], feeds, ["y"], constants, OPSET)


# If.


@pytest.mark.parametrize("cond", [True, False])
def test_a_constant_condition_takes_its_branch_alone(cond: bool) -> None:
    dead = branch("ImageDecoder", "x")
    live = branch("Neg", "x")
    model = choice(*((live, dead) if cond else (dead, live)), np.array(cond), {"x": X})
    np.testing.assert_array_equal(run_opml(model, {"x": X})[0], -X)
    other = choice(*((dead, live) if cond else (live, dead)), np.array(cond), {"x": X})
    refused(other, "ImageDecoder")


@pytest.mark.parametrize("cond", [[True], [False]])
def test_a_computed_condition_selects(cond: list[bool]) -> None:
    feeds = {"x": X, "cond": np.array(cond)}
    same(choice(branch("Neg", "x"), branch("Exp", "x"), None, feeds), feeds)


def test_a_computed_condition_does_not_decide_a_shape() -> None:
    feeds = {"x": X, "cond": np.array([True])}
    yes, no = branch("Neg", "x"), branch("Shape", "x")
    refused(choice(yes, no, None, feeds), "If 'y'", "float32 [2, 3]", "int64 [2]")


def test_a_condition_must_be_one_bool() -> None:
    feeds = {"x": X, "cond": np.array([True, False])}
    refused(choice(branch("Neg", "x"), branch("Exp", "x"), None, feeds), "no single bool")


def test_branches_within_branches_read_names_around_them() -> None:
    inner = helper.make_node(
        "If", ["c2"], ["z"], then_branch=branch("Add", "x", "t"), else_branch=branch("Mul", "t", "w")
    )
    yes = graph([helper.make_node("Exp", ["x"], ["t"]), inner], [], [value("z")], w=np.float32(3))
    node = helper.make_node("If", ["c1"], ["y"], then_branch=yes, else_branch=branch("Neg", "x"))
    for c1 in (True, False):
        for c2 in (True, False):
            feeds = {"x": X, "c1": np.array(c1), "c2": np.array(c2)}
            same(make_model([node], feeds, ["y"], {}, OPSET), feeds)
            fixed = make_model([node], {"x": X}, ["y"], {"c1": np.array(c1), "c2": np.array(c2)}, OPSET)
            np.testing.assert_allclose(run_opml(fixed, {"x": X})[0], run_onnxruntime(fixed, {"x": X})[0], rtol=1e-5)


def test_names_within_a_branch_are_not_known_outside() -> None:
    yes = graph([helper.make_node("Neg", ["x"], ["inner"])], [], [value("inner")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=yes, else_branch=branch("Neg", "x"))
    after = helper.make_node("Relu", ["inner"], ["r"])
    refused(make_model([node, after], {"x": X, "c": np.array(True)}, ["r"]), "inner", error=ModelError)


@pytest.mark.parametrize("missing", ["then_branch", "else_branch"])
def test_a_branch_is_missing(missing: str) -> None:
    branches = {"then_branch": branch("Neg", "x"), "else_branch": branch("Exp", "x")}
    del branches[missing]
    node = helper.make_node("If", ["c"], ["y"], **branches)
    refused(make_model([node], {"x": X, "c": np.array(True)}, ["y"]), missing)


# Loop.


def loop(
    body: GraphProto, feeds: dict[str, Array], constants: dict[str, Array], carried: list[str], outputs: list[str],
    trips: str = "m", cond: str = "",
) -> onnx.ModelProto:  # fmt: skip
    node = helper.make_node("Loop", [trips, cond, *carried], outputs, body=body)
    return make_model([node], feeds, outputs, constants, OPSET)


def growing(*extra: onnx.NodeProto, cond: str = "go") -> GraphProto:
    """s = s * x + i; gives s of every round."""
    nodes = [
        helper.make_node("Cast", ["i"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["s", "x"], ["p"]),
        helper.make_node("Add", ["p", "f"], ["t"]),
        helper.make_node("Identity", ["t"], ["each"]),
        *extra,
    ]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    return graph(nodes, inputs, [value(cond, TensorProto.BOOL, []), value("t"), value("each")])


@pytest.mark.parametrize("trips", [1, 2, 5])
def test_a_constant_trip_count(trips: int) -> None:
    again = helper.make_node("Identity", ["go"], ["again"])
    model = loop(growing(again, cond="again"), {"x": X}, {"m": np.int64(trips), "s0": X}, ["s0"], ["s", "all"])
    same(model, {"x": X})


def test_a_loop_that_never_runs() -> None:
    again = helper.make_node("Identity", ["go"], ["again"])
    body = growing(again, cond="again")
    del body.output[2:]
    model = loop(body, {"x": X}, {"m": np.int64(0)}, ["x"], ["s"])
    np.testing.assert_array_equal(run_opml(model, {"x": X})[0], X)
    model = loop(growing(again, cond="again"), {"x": X}, {"m": np.int64(0)}, ["x"], ["s", "all"])
    refused(model, "never runs")


def test_a_condition_that_becomes_false_ends_the_loop() -> None:
    """The condition is computed from the round's number alone, so it is constant in each round."""
    done = helper.make_node("Less", ["i", "last"], ["again"])
    body = growing(done, cond="again")
    body.initializer.append(numpy_helper.from_array(np.int64(3), "last"))
    for trips, cond in (("m", ""), ("", "start"), ("m", "start")):
        constants = {"m": np.int64(50), "start": np.array(True), "s0": X}
        same(loop(body, {"x": X}, constants, ["s0"], ["s", "all"], trips, cond), {"x": X})


def test_a_computed_condition_stops_a_loop_of_known_length() -> None:
    """s doubles until it is large; what follows changes nothing."""
    nodes = [
        helper.make_node("Add", ["s", "s"], ["t"]),
        helper.make_node("ReduceMax", ["t"], ["top"], keepdims=0),
        helper.make_node("Less", ["top", "limit"], ["again"]),
    ]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    outputs = [value("again", TensorProto.BOOL, []), value("t")]
    body = graph(nodes, inputs, outputs, limit=np.float32(100))
    for scale in (0.01, 1, 70, 1000):
        feeds = {"x": np.abs(X) * np.float32(scale)}
        same(loop(body, feeds, {"m": np.int64(9)}, ["x"], ["s"]), feeds)
    refused(loop(body, {"x": X}, {}, ["x"], ["s"], trips=""), "Loop", "no trip count")
    body.output.append(value("top", TensorProto.FLOAT, []))
    for scale in (0.001, 0.01, 1, 70, 1000):
        feeds = {"x": np.abs(X) * np.float32(scale)}
        counted = loop(body, feeds, {"m": np.int64(9)}, ["x"], ["s", "tops"])
        program = compile_program(counted.SerializeToString())
        found = cut_outputs(program.graph.counts, Engine(program).run(feeds))
        for name, theirs in zip(("s", "tops"), run_onnxruntime(counted, feeds), strict=True):
            np.testing.assert_array_equal(found[name], theirs)


def test_a_round_does_not_add_what_has_a_size_that_is_data() -> None:
    nodes = [helper.make_node("NonZero", ["s"], ["places"]), helper.make_node("Neg", ["s"], ["t"])]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    outputs = [value("go", TensorProto.BOOL, []), value("t"), value("places", TensorProto.INT64)]
    model = loop(graph(nodes, inputs, outputs), {"x": X}, {"m": np.int64(2)}, ["x"], ["s", "all"])
    refused(model, "Loop", "size that is data")
    body = graph(nodes[:1], [value("s")], [value("places", TensorProto.INT64)])
    node = helper.make_node("Scan", ["x"], ["all"], body=body, num_scan_inputs=1)
    refused(make_model([node], {"x": X}, ["all"], {}, OPSET), "Scan", "size that is data")


def test_a_computed_trip_count_is_refused() -> None:
    again = helper.make_node("Identity", ["go"], ["again"])
    model = loop(growing(again, cond="again"), {"x": X, "m": np.array(3)}, {}, ["x"], ["s", "all"])
    refused(model, "Loop", "'M'")


def test_loops_within_loops() -> None:
    keep = helper.make_node("Identity", ["go"], ["again"])
    step = [helper.make_node("Add", ["u", "x"], ["v"]), helper.make_node("Identity", ["g"], ["h"])]
    inner = graph(
        step,
        [value("j", TensorProto.INT64, []), value("g", TensorProto.BOOL, []), value("u")],
        [value("h", TensorProto.BOOL, []), value("v")],
    )
    nodes = [
        helper.make_node("Add", ["i", "one"], ["rounds"]),
        helper.make_node("Loop", ["rounds", "", "s"], ["t"], body=inner),
        keep,
    ]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    body = graph(nodes, inputs, [value("again", TensorProto.BOOL, []), value("t")], one=np.int64(1))
    same(loop(body, {"x": X}, {"m": np.int64(3)}, ["x"], ["s"]), {"x": X})


def test_what_is_carried_may_change_its_shape_where_the_rounds_are_known() -> None:
    nodes = [helper.make_node("Concat", ["s", "x"], ["t"], axis=0), helper.make_node("Identity", ["go"], ["again"])]
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, []), value("s")]
    body = graph(nodes, inputs, [value("again", TensorProto.BOOL, []), value("t", shape=[None, 3])])
    model = loop(body, {"x": X}, {"m": np.int64(3)}, ["x"], ["s"])
    np.testing.assert_array_equal(run_opml(model, {"x": X})[0], np.concatenate([X] * 4))


@pytest.mark.parametrize("trips", [1 << 40, (1 << 63) - 1])
def test_a_loop_does_not_unroll_for_ever(trips: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder, "MAX_OPERATORS", 1 << 10)
    again = helper.make_node("Identity", ["go"], ["again"])
    model = loop(growing(again, cond="again"), {"x": X}, {"m": np.int64(trips)}, ["x"], ["s", "all"])
    refused(model, "unroll", str(1 << 10))
    empty = graph([], [value("i", 7, []), value("go", 9, []), value("s")], [value("go", 9, []), value("s")])
    refused(loop(empty, {"x": X}, {"m": np.int64(trips)}, ["x"], ["s"]), "unroll")


# Scan.


def running(directions: int = 1) -> GraphProto:
    """The state is the sum so far of two scanned tensors; gives the state and its negative."""
    nodes = [
        helper.make_node("Add", ["s", "a"], ["t"]),
        helper.make_node("Add", ["t", "b"], ["u"]),
        helper.make_node("Identity", ["u"], ["each"]),
        helper.make_node("Neg", ["u"], ["other"]),
    ]
    return graph(nodes, [value("s"), value("a"), value("b")], [value("u"), value("each"), value("other")])


@pytest.mark.parametrize("axes", [(0, 0), (1, 0), (-1, 1)])
@pytest.mark.parametrize("directions", [(0, 0), (1, 0), (1, 1)])
@pytest.mark.parametrize("out", [(0, 0), (1, -1)])
def test_all_axes_and_directions(axes: tuple[int, int], directions: tuple[int, int], out: tuple[int, int]) -> None:
    state = numbers(3)
    tensors = []
    for index, axis in enumerate(axes):
        tensors.append(np.moveaxis(numbers(4, 3, seed=index), 0, axis))
    attrs = {
        "scan_input_axes": list(axes),
        "scan_input_directions": list(directions),
        "scan_output_axes": list(out),
        "scan_output_directions": list(directions[::-1]),
    }
    node = helper.make_node("Scan", ["s0", "p", "q"], ["s", "e", "o"], body=running(), num_scan_inputs=2, **attrs)
    feeds = {"s0": state, "p": tensors[0], "q": tensors[1]}
    same(make_model([node], feeds, ["s", "e", "o"], {}, OPSET), feeds)


def test_scan_as_it_was_in_operator_set_8() -> None:
    feeds = {"s0": numbers(2, 3), "p": numbers(2, 4, 3), "q": numbers(2, 4, 3, seed=1)}
    node = helper.make_node("Scan", ["", *feeds], ["s", "e", "o"], body=running(), num_scan_inputs=2, directions=[1, 0])
    ours = run_opml(make_model([node], feeds, ["s", "e", "o"], {}, 8), feeds)
    for index in range(2):
        attrs = {"body": running(), "num_scan_inputs": 2, "scan_input_directions": [1, 0]}
        node = helper.make_node("Scan", list(feeds), ["s", "e", "o"], **attrs)
        part = {name: array[index] for name, array in feeds.items()}
        for array, theirs in zip(
            ours, run_onnxruntime(make_model([node], part, ["s", "e", "o"], {}, 11), part), strict=True
        ):
            np.testing.assert_allclose(array[index], theirs, rtol=1e-5)


@pytest.mark.parametrize(
    ("attrs", "words"),
    [
        ({"num_scan_inputs": 0}, "num_scan_inputs"),
        ({"num_scan_inputs": 4}, "num_scan_inputs"),
        ({"scan_input_axes": [2, 0]}, "axis 2"),
        ({"scan_input_axes": [0]}, "scan_input_axes"),
        ({"scan_input_directions": [0, 2]}, "scan_input_directions"),
        ({"scan_output_axes": [0, 3]}, "axis 3"),
        ({"scan_input_axes": [0, 1]}, "lengths"),
    ],
)
def test_scans_that_make_no_sense(attrs: dict[str, Any], words: str) -> None:
    feeds = {"s0": numbers(3), "p": numbers(4, 3), "q": numbers(4, 3)}
    all_attrs = {"body": running(), "num_scan_inputs": 2, **attrs}
    node = helper.make_node("Scan", list(feeds), ["s", "e", "o"], **all_attrs)
    refused(make_model([node], feeds, ["s", "e", "o"], {}, OPSET), "Scan", words)


def test_a_body_with_too_few_inputs() -> None:
    body = running()
    del body.input[0]
    feeds = {"s0": numbers(3), "p": numbers(4, 3), "q": numbers(4, 3)}
    node = helper.make_node("Scan", list(feeds), ["s", "e", "o"], body=body, num_scan_inputs=2)
    refused(make_model([node], feeds, ["s", "e", "o"], {}, OPSET), "'s'", error=ModelError)
    body.input.add().CopyFrom(value("s"))
    del body.input[0]
    node = helper.make_node("Scan", list(feeds), ["s", "e", "o"], body=body, num_scan_inputs=2)
    refused(make_model([node], feeds, ["s", "e", "o"], {}, OPSET), "'a'", error=ModelError)


def test_graphs_do_not_lie_within_each_other_without_end() -> None:
    body = branch("Neg", "x")
    for _ in range(20):
        node = helper.make_node("If", ["c"], ["z"], then_branch=body, else_branch=branch("Exp", "x"))
        body = graph([node], [], [value("z")])
    node = helper.make_node("If", ["c"], ["y"], then_branch=body, else_branch=branch("Exp", "x"))
    refused(make_model([node], {"x": X, "c": np.array(True)}, ["y"]), "deep")


# Sizes that are data.


def each_round(op: str, *reads: str, scan: bool = False) -> GraphProto:
    """A body whose only further output is what `op` makes of a tensor around it, or of a scan input `row`."""
    nodes = [helper.make_node(op, list(reads), ["each"])]
    if scan:
        return graph(nodes, [value("row")], [value("each", TensorProto.INT64)])
    again = helper.make_node("Identity", ["go"], ["again"])
    inputs = [value("i", TensorProto.INT64, []), value("go", TensorProto.BOOL, [])]
    return graph([*nodes, again], inputs, [value("again", TensorProto.BOOL), value("each", TensorProto.INT64)])


def test_rounds_whose_size_is_data_are_not_put_beside_each_other() -> None:
    """Else their capacity would be taken for their size."""
    x = np.array([[0, 1, 2], [3, 0, 1]], np.float32)
    found = helper.make_node("NonZero", ["x"], ["found"])
    refused(loop(each_round("NonZero", "x"), {"x": x}, {"m": np.int64(2)}, [], ["y"]), "Loop 'y'", "data")
    for body in (each_round("NonZero", "row", scan=True), each_round("Identity", "found", scan=True)):
        node = helper.make_node("Scan", ["x"], ["y"], body=body, num_scan_inputs=1)
        refused(make_model([found, node], {"x": x}, ["y"], {}, OPSET), "Scan 'y'", "data")
    same(loop(each_round("Shape", "x"), {"x": x}, {"m": np.int64(2)}, [], ["y"]), {"x": x})


def test_a_computed_condition_does_not_decide_a_size_that_is_data() -> None:
    """Not even where the capacity is one element."""
    feeds = {"x": np.zeros(1, np.float32), "cond": np.array([False])}
    some = graph([helper.make_node("Neg", ["k"], ["z"])], [], [value("z", TensorProto.INT64)], k=np.ones((1, 1), int))
    refused(choice(branch("NonZero", "x"), some, None, feeds), "If 'y'", "data")
