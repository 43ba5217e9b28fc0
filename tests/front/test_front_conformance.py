"""The node cases of ONNX itself, of all operators that opml reads: right, or refused by name."""

from collections import Counter

import numpy as np
import onnx
import pytest
from front_models import run_opml
from onnx import numpy_helper
from onnx.backend.test.loader import load_model_tests

from opml.errors import UnsupportedError
from opml.lowering import OPERATORS


def pinned(model: onnx.ModelProto, values: list[object]) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The cases feed shapes, axes and the like as inputs; here all but the first input of a node become constants."""
    first = {node.input[0] for node in model.graph.node if node.input}
    feeds = {}
    for index, (info, value) in enumerate(zip(model.graph.input, values, strict=True)):
        if index == 0 or info.name in first or isinstance(value, list | None):
            feeds[info.name] = np.asarray(value)
        else:
            tensor = value if isinstance(value, onnx.TensorProto) else numpy_helper.from_array(np.asarray(value))
            model.graph.initializer.add().CopyFrom(tensor)
            model.graph.initializer[-1].name = info.name
    return model, feeds


@pytest.mark.filterwarnings("ignore")
def test_the_node_cases_of_onnx() -> None:
    outcomes: Counter[str] = Counter()
    for case in load_model_tests(kind="node"):
        if not {node.op_type for node in case.model.graph.node} <= set(OPERATORS):
            continue
        inputs, outputs = case.data_sets[0]
        model, feeds = pinned(case.model, inputs)
        try:
            results = run_opml(model, feeds)
        except UnsupportedError:
            outcomes["refused"] += 1
            continue
        for actual, expected in zip(results, map(np.asarray, outputs), strict=True):
            assert (actual.dtype, actual.shape) == (expected.dtype, expected.shape), case.name
            np.testing.assert_allclose(actual, expected, rtol=max(case.rtol, 1e-4), atol=1e-6, err_msg=case.name)
        outcomes["right"] += 1
    # Float16, double, 3-D pooling and training are refused; fewer right ones than this would be a step back.
    assert outcomes["right"] >= 380, outcomes
