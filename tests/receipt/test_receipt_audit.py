"""One operator run again by its definition: right receipts pass, liars are named, nothing is believed."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper
from receipt_models import infer, inputs, lying, resealed, small

from opml.compiler import compile_onnx
from opml.errors import EvidenceError, InputError
from opml.evidence.bundle import file_of, read_tensor
from opml.evidence.check import check_receipt, node_bytes
from opml.evidence.receipt import NodeEntry, Receipt, unhex
from opml.evidence.rerun import Auditor, NodeAudit
from opml.model import Model
from opml.model_memory import input_bytes

# What reads a tensor, by the node that writes it.
READERS = {"s": ["relu"], "y": ["scale"], "p": ["shift"], "z": []}


def audits(receipt: Receipt, tensors: Path | None) -> dict[str, NodeAudit]:
    check_receipt(receipt)
    auditor = Auditor(receipt, small(), tensors=tensors)
    return {audit.name: audit for audit in map(auditor.audit, range(len(auditor.entries)))}


@given(st.sampled_from(sorted(READERS)), st.integers(0, 83), st.integers(0, 7))
@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_one_wrong_bit_is_found_at_its_node_and_tile(tmp_path: Path, tensor: str, byte: int, bit: int) -> None:
    """All proofs hold, since the liar logged what he says he has; only the operators do not give it."""
    receipt = lying(1, tensor, byte, bit).receipt(tensors=tmp_path)
    program = small().image.program
    node = next(node for node in program.nodes if node.output == tensor)
    bundled, native = audits(receipt, tmp_path), audits(receipt, None)
    for found in (bundled, native):
        problem = found[node.name].problem
        assert problem is not None
        assert (problem.where, problem.exit_status) == (f"node {node.name}", 9)
    assert bundled[node.name].first_tile == node.first_tile + byte // 32
    assert f"tile {node.first_tile + byte // 32}" in bundled[node.name].problem.message  # type: ignore[union-attr]
    # With the liar's tensors, whoever reads them is judged by them: it did not give what they give, or it did.
    for reader in READERS[tensor]:
        assert native[reader].root is None
        assert native[reader].problem is not None
        assert native[reader].problem.where == f"node {node.name}"
        assert bundled[reader].root is not None
    others = set(found) - {node.name, *READERS[tensor]}
    assert all(found[name].problem is None for found in (bundled, native) for name in others)


@pytest.mark.parametrize(("tensor", "byte"), [("s", 0), ("y", 83), ("p", 32), ("z", 63)])
def test_the_tile_is_the_one_that_a_dispute_would_find(tmp_path: Path, tensor: str, byte: int) -> None:
    liar = lying(1, tensor, byte)
    receipt = liar.receipt(tensors=tmp_path)
    wrong = [audit for audit in audits(receipt, tmp_path).values() if audit.problem]
    memory, honest = liar.memory, infer(1).memory
    first = next(m for m in range(memory.tiles + 1) if memory.root(m) != honest.root(m))
    assert wrong[0].first_tile == first - 1


def test_a_right_receipt_passes_and_carries_its_proof(tmp_path: Path) -> None:
    infer(5).receipt(log=tmp_path / "log")
    receipt = infer(1).receipt(log=tmp_path / "log", tensors=tmp_path / "t")
    seen = []
    auditor = Auditor(receipt, small(), tensors=tmp_path / "t")
    audit = auditor.audit(auditor.find("relu"), lambda node, done, tiles: seen.append((node.name, done, tiles)))
    assert (audit.problem, audit.inputs, audit.position) == (None, "bundle", 5 + 1 + 1)
    assert audit.proof == receipt.log.nodes[1].proof
    assert seen == [("relu", 0, 3), ("relu", 3, 3)]
    assert audit.to_json()["holds"] is True
    assert audits(receipt, None)["sum"].inputs == "none"


@given(st.integers(0), st.integers(0))
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_a_bit_of_a_tensor_is_caught_by_its_name(tmp_path: Path, file: int, bit: int) -> None:
    receipt = infer(1).receipt(tensors=tmp_path)
    entry = receipt.log.nodes[file % 4].entry
    path = file_of(tmp_path, unhex(entry.root), node_bytes(entry))
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)
    with pytest.raises(EvidenceError, match="does not hold") as caught:
        read_entry(tmp_path, entry)
    assert caught.value.where == f"tensor {entry.tensor}"
    for reader in READERS[entry.tensor]:
        problem = audits(receipt, tmp_path)[reader].problem
        assert problem is not None
        assert problem.where == f"tensor {entry.tensor}"


def read_entry(folder: Path, entry: NodeEntry) -> bytes:
    return read_tensor(folder, entry.tensor, unhex(entry.root), entry.level, node_bytes(entry)).tobytes()


def test_tensors_that_are_missing_short_or_long(tmp_path: Path) -> None:
    receipt = infer(1).receipt(tensors=tmp_path)
    entry = receipt.log.nodes[0].entry
    assert read_entry(tmp_path, entry) == infer(1).tensors["s"].tobytes()
    path = file_of(tmp_path, unhex(entry.root), node_bytes(entry))
    data = path.read_bytes()
    for other in (data[:-1], data + b"\0", b""):
        path.write_bytes(other)
        with pytest.raises(EvidenceError, match="does not hold"):
            read_entry(tmp_path, entry)
    path.unlink()
    with pytest.raises(InputError, match="cannot be read"):
        read_entry(tmp_path, entry)
    with pytest.raises(InputError, match="cannot be made"):
        infer(1).receipt(tensors=tmp_path / "file" / "below") if (tmp_path / "file").write_text("") == 0 else None


def test_one_folder_serves_many_receipts(tmp_path: Path) -> None:
    receipts = [infer(seed).receipt(tensors=tmp_path) for seed in range(3)]
    for receipt in receipts:
        assert all(audit.problem is None for audit in audits(receipt, tmp_path).values())


def other_model() -> Model:
    """As the small one, with another weight."""
    f32 = TensorProto.FLOAT
    ports = [helper.make_tensor_value_info(name, f32, [3]) for name in "ab"]
    nodes = [helper.make_node("Relu", ["a"], ["b"], name="only")]
    graph = helper.make_graph(nodes, "other", ports[:1], ports[1:])
    return Model(
        compile_onnx(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]).SerializeToString())
    )


def test_another_model_is_refused() -> None:
    for model in (other_model(), small(one_phase=True)):
        with pytest.raises(EvidenceError) as caught:
            Auditor(infer(1).receipt(), model)
        assert caught.value.where == "model"


@pytest.mark.parametrize(
    "change",
    [
        {"name": "other"},
        {"op": "sub"},
        {"tensor": "other"},
        {"dtype": "int32"},
        {"shape": [3, 7]},
    ],
)
def test_entries_have_to_be_the_models(change: dict[str, object], monkeypatch: pytest.MonkeyPatch) -> None:
    """A prover may log his run under other names or types, with good proofs; not with the model at hand."""
    from opml.evidence import record

    entries = record.node_entries(infer(1))
    entries[2] = entries[2].model_copy(update=change)
    monkeypatch.setattr(record, "node_entries", lambda _: entries)
    receipt = infer(1).receipt()
    check_receipt(receipt)
    with pytest.raises(EvidenceError, match="is not node 2 of the model") as caught:
        Auditor(receipt, small())
    assert caught.value.where == f"node {change.get('name', 'scale')}"


def test_nodes_are_found_by_name_output_and_index() -> None:
    auditor = Auditor(infer(1).receipt(), small())
    assert [auditor.find(name) for name in ("scale", "p", "#2")] == [2, 2, 2]
    for name in ("none", "#4", "#", "#-1", "", "#²"):
        with pytest.raises(InputError, match="has no node"):
            auditor.find(name)
    auditor.entries = [entry.model_copy(update={"name": "same"}) for entry in auditor.entries]
    with pytest.raises(InputError, match="4 nodes are called 'same'"):
        auditor.find("same")


def test_a_large_input_is_brought_by_who_audits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("opml.evidence.record.INPUT_MAX", 8)
    receipt = infer(1).receipt(tensors=tmp_path)
    posted = input_bytes(small().image.program, inputs(1))
    for auditor in (Auditor(receipt, small(), posted=posted), Auditor(receipt, small(), tensors=tmp_path)):
        assert auditor.audit(0).problem is None
    with pytest.raises(InputError, match="does not hold its input"):
        Auditor(receipt, small()).audit(0)
    other = Auditor(receipt, small(), posted=input_bytes(small().image.program, inputs(2))).audit(0)
    assert other.problem is not None
    assert other.problem.where == "input"


def test_an_unchecked_forgery_fails_in_the_audit_too() -> None:
    """`audit` does not need `check_receipt` to be safe against wrong roots."""
    receipt = infer(1).receipt()
    root = receipt.log.nodes[0].entry.root
    forged = resealed(receipt, log__nodes__1__entry__root=root)
    found = Auditor(forged, small()).audit(1)
    assert found.problem is not None
    assert found.problem.where == "node relu"
