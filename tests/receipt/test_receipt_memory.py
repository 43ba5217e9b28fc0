"""The roots in a log are the nodes of the committed memory: receipts and disputes speak of the same."""

import runpy
from pathlib import Path

import numpy as np
import pytest
from receipt_models import EXAMPLES, small

from opml.compiler import compile_onnx
from opml.evidence.check import check_receipt
from opml.evidence.receipt import to_hex
from opml.evidence.rerun import Auditor
from opml.model import Inference, Model, load
from vm.constants import LEAF_LOG2, MODEL_LEVEL
from vm.merkle import fold


def vgg() -> Model:
    make = runpy.run_path(str(EXAMPLES / "vgg.py"))["make_vgg"]
    return Model(compile_onnx(make(16).SerializeToString()))


MODELS = {
    "small": small,
    "small, one phase": lambda: small(one_phase=True),
    "mlp": lambda: load(EXAMPLES / "mlp.onnx"),
    "cnn": lambda: load(EXAMPLES / "cnn.onnx"),
    "vgg": vgg,
}


@pytest.fixture(params=MODELS, scope="module")
def inference(request: pytest.FixtureRequest) -> Inference:
    model = MODELS[request.param]()
    random = np.random.default_rng(0)
    values = {name: random.integers(0, 17, kind.shape).astype(kind.dtype.numpy) for name, kind in model.inputs.items()}
    return model.infer(values, keep_tensors=True)


def test_logged_roots_are_nodes_of_the_memory_after_the_last_tile(inference: Inference) -> None:
    memory, receipt = inference.memory, inference.receipt()
    check_receipt(receipt)
    assert to_hex(memory.input_root) == receipt.input_root
    assert to_hex(memory.output_root) == receipt.output_root
    assert len(receipt.log.nodes) == len(inference.model.image.program.nodes)
    final = memory.root(memory.tiles)
    for logged in receipt.log.nodes:
        entry = logged.entry
        index = entry.address >> (entry.level + LEAF_LOG2)
        node = memory.node(entry.level, index, memory.tiles)
        assert to_hex(node) == entry.root
        # So one path more shows, to whoever knows S_M, that this operator had this output.
        siblings = [
            memory.node(lv, index >> (lv - entry.level) ^ 1, memory.tiles) for lv in range(entry.level, MODEL_LEVEL)
        ]
        assert fold(node, entry.level, index, siblings, MODEL_LEVEL) == final


def test_each_operators_definition_gives_them(inference: Inference, tmp_path: Path) -> None:
    receipt = inference.receipt(tensors=tmp_path)
    for tensors, source in ((None, "native"), (tmp_path, "bundle")):
        auditor = Auditor(receipt, inference.model, tensors=tensors)
        audits = [auditor.audit(index) for index in range(len(auditor.entries))]
        assert all(audit.problem is None and audit.root == audit.logged_root for audit in audits)
        assert {audit.inputs for audit in audits} <= {source, "none"}
        assert audits[-1].inputs == source


def test_outputs_are_those_of_a_run_that_keeps_nothing(inference: Inference) -> None:
    plain = inference.model.infer_posted(inference.posted)
    assert {name: value.tobytes() for name, value in plain.outputs.items()} == {
        name: value.tobytes() for name, value in inference.outputs.items()
    }
    assert plain.output_root == inference.output_root
