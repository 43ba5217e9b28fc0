"""ONNX's own cases: those that have passed pass, and the documentation says which."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from conformance_report import DOCUMENT, document
from conformance_suite import RESULTS, Case, cases, outcome
from onnx import helper
from onnx.backend.base import DeviceType

import opml.onnx_backend
from opml.errors import InputError, ModelError, UnsupportedError

RECORDED = json.loads(RESULTS.read_text())
PARTS = 24
ROOT = Path(__file__).parents[2]
SMALL = tuple(case for case in cases() if case.suite != "light")
LIGHT = tuple(case for case in cases() if case.suite == "light")
X = np.array([[-1.0, 2.0, 3.0]], np.float32)


@pytest.mark.parametrize("part", range(PARTS))
def test_the_cases_that_passed_pass_and_no_others(part: int) -> None:
    compare(SMALL[part::PARTS])


@pytest.mark.slow
@pytest.mark.parametrize("case", LIGHT, ids=lambda case: case.source.name)
def test_the_light_networks(case: Case) -> None:
    compare((case,))


def compare(group: tuple[Case, ...]) -> None:
    reasons = {case.name: outcome(case) for case in group}
    recorded = set(RECORDED["passing"])
    lost = {name: reason for name, reason in reasons.items() if reason and name in recorded}
    assert not lost, lost
    gained = [name for name, reason in reasons.items() if not reason and name not in recorded]
    assert not gained, f"more pass than docs/operators.md says: run conformance_suite.py --write; {gained}"


@pytest.mark.parametrize("part", range(PARTS))
def test_what_does_not_pass_is_refused_or_known_to_be_wrong(part: int) -> None:
    """No case may end in anything but a result or a refusal: a traceback is a fault."""
    known = set(RECORDED["passing"])
    for case in SMALL[part::PARTS]:
        if case.name not in known:
            reason = outcome(case)
            assert reason.startswith(("refused: ", "wrong: ")), f"{case.name}: {reason}"


def test_the_documentation_is_what_was_measured() -> None:
    assert DOCUMENT.read_text() == document(RECORDED)
    assert RECORDED["onnx"] == onnx.__version__


def test_more_pass_than_with_onnx_runtime_and_the_readme_says_how_many() -> None:
    plain = [counts for name, counts in RECORDED["counts"].items() if re.search("plain|half", name)]
    ours, theirs, total = (sum(counts[way] for counts in plain) for way in ("opml", "onnxruntime", "cases"))
    assert ours > theirs
    assert f"{ours:,} of {total:,} pass ({theirs:,} with ONNX Runtime)" in (ROOT / "README.md").read_text()


def test_a_case_with_a_wrong_result_is_told_from_one_that_passes() -> None:
    case = next(case for case in cases() if case.name == "node/test_relu")
    wrong = onnx.ModelProto()
    wrong.CopyFrom(case.model)
    wrong.graph.node[0].op_type = "Neg"
    assert outcome(case) == ""
    assert outcome(Case(case.suite, replace(case.source, model=wrong))).startswith("wrong: ")


def relu() -> onnx.ModelProto:
    kind = helper.make_tensor_value_info("x", 1, [1, 3]), helper.make_tensor_value_info("y", 1, [1, 3])
    return helper.make_model(helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", [kind[0]], [kind[1]]))


def test_the_back_end_runs_models_and_nodes() -> None:
    expected = np.maximum(X, 0)
    for outputs in (
        opml.onnx_backend.run_model(relu(), [X]),
        opml.onnx_backend.prepare(relu()).run({"x": X}),
        opml.onnx_backend.prepare(relu()).run(X),
        opml.onnx_backend.run_node(helper.make_node("Relu", ["x"], ["y"]), [X]),
    ):
        assert len(outputs) == 1
        assert outputs[0].tobytes() == expected.tobytes()


def test_a_shape_is_pinned_and_pinned_anew() -> None:
    node = helper.make_node("Reshape", ["x", "s"], ["y"])
    kinds = [helper.make_tensor_value_info("x", 1, [2, 3]), helper.make_tensor_value_info("s", 7, [2])]
    graph = helper.make_graph([node], "g", kinds, [helper.make_tensor_value_info("y", 1, None)])
    prepared = opml.onnx_backend.prepare(helper.make_model(graph))
    x = np.zeros((2, 3), np.float32)
    for shape in ([3, 2], [6, 1], [6, 1]):
        assert prepared.run([x, np.array(shape)])[0].shape == tuple(shape)
        assert prepared.pinned["s"].tolist() == shape


def test_dynamic_dimensions_are_those_of_each_run() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    prepared = opml.onnx_backend.prepare(model)
    for rows in (2, 2, 5):
        x = np.repeat(X, rows, 0)
        np.testing.assert_array_equal(prepared.run([x])[0], np.maximum(x, 0))
    with pytest.raises(ModelError, match="cannot have the shape"):
        prepared.run([np.zeros((2, 4), np.float32)])


def test_what_the_back_end_refuses() -> None:
    assert opml.onnx_backend.supports_device("CPU")
    assert not opml.onnx_backend.supports_device("CUDA:0")
    assert not opml.onnx_backend.supports_device("nonsense")
    assert DeviceType.CPU is not None
    with pytest.raises(UnsupportedError, match="CUDA"):
        opml.onnx_backend.prepare(relu(), "CUDA")
    with pytest.raises(InputError):
        opml.onnx_backend.prepare(relu()).run([X.astype(np.int32)])
    with pytest.raises(UnsupportedError, match="no tensor"):
        opml.onnx_backend.prepare(relu()).run([[X]])
