"""A receipt's file: one form, nothing else read, every bit of it counts; and what is in it has to agree."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipt_models import flipped, infer, lying, resealed

from opml.dispute.game import Claim
from opml.errors import EvidenceError, InputError, OpmlError, ReceiptError
from opml.evidence.check import check_receipt
from opml.evidence.receipt import (
    INPUT_MAX,
    RECEIPT_MAX,
    Receipt,
    canonical,
    claim_json,
    claimed,
    read_receipt,
    unhex,
)

PROVER = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
CONTRACT = "0x5FbDB2315678afecb367f032d93F642f64180aa3"


@pytest.fixture(scope="module")
def receipts(tmp_path_factory: pytest.TempPathFactory) -> list[Receipt]:
    """Three runs in one log; the last one is of a claim."""
    log = tmp_path_factory.mktemp("log") / "runs.log"
    made = [infer(seed).receipt(log=log) for seed in range(2)]
    roots = (unhex(made[0].model_id), unhex(infer(2).receipt().input_root), infer(2).output_root)
    claim = Claim(*roots, PROVER, 7, True)
    return [*made, infer(2).receipt(log=log, claim=claim_json(claim, 31337, CONTRACT))]


def where(receipt: Receipt) -> str:
    with pytest.raises(EvidenceError) as caught:
        check_receipt(receipt)
    return caught.value.where


def test_a_receipt_holds_and_survives_its_file(receipts: list[Receipt], tmp_path: Path) -> None:
    for number, receipt in enumerate(receipts):
        held = check_receipt(receipt)
        assert any("output root" in text for text in held)
        assert any("claim" in text for text in held) == (receipt.claim is not None)
        receipt.save(tmp_path / str(number))
        assert read_receipt(tmp_path / str(number)) == receipt
        with pytest.raises(InputError, match="there already"):
            receipt.save(tmp_path / str(number))
    assert claimed(receipts[0]) is None
    claim = claimed(receipts[2])
    assert claim is not None
    assert receipts[2].claim is not None
    assert claim.id_at(31337, CONTRACT) == unhex(receipts[2].claim.claim_id)
    with pytest.raises(InputError, match="cannot be written"):
        receipts[0].save(tmp_path / "no" / "folder")


def test_runs_are_receipted_alike(receipts: list[Receipt]) -> None:
    assert infer(0).receipt() == receipts[0], "the first run of a log is like one without"
    assert infer(1).receipt().log.nodes[0].entry == receipts[1].log.nodes[0].entry
    plain = infer(0).model.infer_posted(infer(0).posted)
    assert plain.receipt() == receipts[0], "tensors that were not kept are computed again"
    assert check_receipt(infer(0, one_phase=True).receipt())


def test_every_byte_of_a_receipts_file_counts(receipts: list[Receipt]) -> None:
    data = canonical(receipts[2]) + b"\n"
    assert Receipt.parse(data)
    for place in range(len(data)):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        with pytest.raises(EvidenceError):
            check_receipt(Receipt.parse(bytes(changed)))


@given(st.integers(0), st.integers(0, 7))
@settings(max_examples=300)
def test_every_bit_of_a_receipts_file_counts(receipts: list[Receipt], place: int, bit: int) -> None:
    data = bytearray(canonical(receipts[1]) + b"\n")
    data[place % len(data)] ^= 1 << bit
    with pytest.raises(EvidenceError):
        check_receipt(Receipt.parse(bytes(data)))


FORGERIES: dict[str, tuple[str, Any]] = {
    "model_id": ("header", flipped),
    "header__model_root": ("header", flipped),
    "header__guest_root": ("header", flipped),
    **{f"header__{name}": ("header", lambda value: value + 1) for name in (
        "entry", "tiles", "stride", "max_steps", "input_address", "input_bytes", "output_address", "output_bytes",
        "window", "clock", "input_level", "output_level",
    )},
    "input": ("input", flipped),
    "input_root": ("input", flipped),
    "output_root": ("claim", flipped),
    "claim__chain_id": ("claim", lambda value: value + 1),
    "claim__contract": ("claim", flipped),
    "claim__prover": ("claim", flipped),
    "claim__nonce": ("claim", flipped),
    "claim__input_posted": ("claim", lambda value: not value),
    "claim__claim_id": ("claim", flipped),
    "log__size": ("run", lambda value: value + 1),
    "log__root": ("run", flipped),
    "log__consistency__0": ("consistency", flipped),
    "log__run__proof__0": ("run", flipped),
    "log__run__entry__before__size": ("run", lambda value: value + 1),
    "log__run__entry__before__peaks__0": ("run", flipped),
    "log__run__entry__model_id": ("run", flipped),
    "log__run__entry__input_root": ("run", flipped),
    "log__run__entry__output_root": ("run", flipped),
    "log__run__entry__nodes": ("run", lambda value: value + 1),
    "log__nodes__1__proof__2": ("node relu", flipped),
    "log__nodes__2__entry__index": ("node scale", lambda value: value + 1),
    "log__nodes__2__entry__name": ("node other", lambda value: "other"),
    "log__nodes__2__entry__op": ("node scale", lambda value: "add"),
    "log__nodes__2__entry__tensor": ("node scale", lambda value: "other"),
    "log__nodes__2__entry__dtype": ("node scale", lambda value: "int32"),
    "log__nodes__2__entry__shape": ("node scale", lambda value: [3, 7]),
    "log__nodes__2__entry__address": ("node scale", lambda value: value + 128),
    "log__nodes__2__entry__level": ("node scale", lambda value: value + 1),
    "log__nodes__2__entry__root": ("node scale", flipped),
}  # fmt: skip


@pytest.mark.parametrize("path", FORGERIES)
def test_a_forgers_change_is_found_by_name(receipts: list[Receipt], path: str) -> None:
    """The digest fits again; the part that was changed, or the first that depends on it, is named."""
    place: Any = receipts[2].model_dump()
    for step in path.split("__"):
        place = place[int(step) if isinstance(place, list) else step]
    expected, change = FORGERIES[path]
    assert where(resealed(receipts[2], **{path: change(place)})) == expected


def test_the_table_of_forgeries_has_every_field(receipts: list[Receipt]) -> None:
    def names(value: Any, path: str = "") -> set[str]:
        if isinstance(value, dict):
            return {name for key, item in value.items() for name in names(item, f"{path}__{key}")}
        items = value if isinstance(value, list) else []
        inner = {name for item in items for name in names(item, f"{path}__#")} if items and path != "shape" else set()
        return inner or {path.strip("_")}

    every = {name.replace("__shape__#", "__shape") for name in names(receipts[2].model_dump())}
    tried = {"__".join("#" if step.isdigit() else step for step in path.split("__")) for path in FORGERIES}
    constant = {"kind", "version", "digest", "log__run__entry__entry", "log__nodes__#__entry__entry"}
    assert every - tried == constant


def test_a_run_cannot_be_taken_for_a_claim(receipts: list[Receipt]) -> None:
    """A claim's part of another input's receipt has another id."""
    claim = receipts[2].model_dump()["claim"]
    assert where(resealed(receipts[0], claim=claim)) == "claim"


def test_outputs_of_the_log_make_the_output_root() -> None:
    """A liar who logs other tensors than he claims cannot have both proofs and output root."""
    liar = lying(0, "z", 5)
    liar.outputs["z"] = infer(0).outputs["z"]
    assert liar.output_root == infer(0).output_root
    assert where(liar.receipt()) == "output"
    assert check_receipt(lying(0, "z", 5).receipt()), "what agrees with itself is left to `--all`"
    assert check_receipt(lying(0, "s", 5).receipt())


@pytest.mark.parametrize(
    "change",
    [{"address": 1 << 39}, {"shape": [1 << 39]}, {"shape": [0]}, {"shape": [1 << 30] * 60}, {"level": 40}],
)
def test_impossible_places_are_refused(receipts: list[Receipt], change: dict[str, Any]) -> None:
    """Whoever writes his own log may log anything: it must be possible in the model's memory."""
    liar = infer(0)
    from opml.evidence import record

    entries = record.node_entries(liar)
    entries[2] = entries[2].model_copy(update=change)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(record, "node_entries", lambda _: entries)
        assert where(liar.receipt()) == "node scale"
        entries[2] = entries[0].model_copy(update={"index": 2, "name": "twin"})
        assert where(liar.receipt()) in ("node twin", "node sum")
        del entries[3]
        entries[2] = record.NodeEntry(**(receipts[0].log.nodes[2].entry.model_dump()))
        assert where(liar.receipt()) == "nodes"


def test_a_large_input_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    assert INPUT_MAX >= 1 << 17
    monkeypatch.setattr("opml.evidence.record.INPUT_MAX", 8)
    receipt = infer(0).receipt()
    assert receipt.input is None
    assert not any("input's bytes" in text for text in check_receipt(receipt))


HOSTILE = [
    b"",
    b"\x00" * 99,
    b"\xff\xfe",
    b"null",
    b"[]",
    b"{}",
    b"[" * 100_000,
    b'{"a":' * 100_000,
    b"1e999999",
    b'{"version":NaN}',
    b'"' + b"\\ud800" * 9 + b'"',
]


@pytest.mark.parametrize("data", HOSTILE, ids=range(len(HOSTILE)))
def test_what_is_no_receipt_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "r").write_bytes(data)
    with pytest.raises(ReceiptError) as caught:
        read_receipt(tmp_path / "r")
    assert len(str(caught.value)) < 500
    assert caught.value.code == "bad-receipt"


def test_files_that_cannot_be_receipts(tmp_path: Path) -> None:
    for path, reason in ((tmp_path, "cannot be read"), (tmp_path / "none", "cannot be read")):
        with pytest.raises(InputError, match=reason):
            read_receipt(path)
    with pytest.raises(ReceiptError, match="larger than"):
        read_receipt("/dev/zero")
    with pytest.raises(ReceiptError, match="larger than"):
        Receipt.parse(b" " * (RECEIPT_MAX + 1))


def test_one_content_has_one_form(receipts: list[Receipt]) -> None:
    data = canonical(receipts[0]) + b"\n"
    plain = json.loads(data)
    others = [
        data[:-1],
        data + b"\n",
        b" " + data,
        json.dumps(plain, sort_keys=True).encode() + b"\n",
        json.dumps(dict(reversed(plain.items())), separators=(",", ":")).encode() + b"\n",
        data.replace(b'"version":1', b'"version":1,"version":1'),
        data.replace(b'"relu"', b'"rel\\u0075"'),
    ]
    for other in others:
        assert other != data
        with pytest.raises(ReceiptError, match="canonical form"):
            Receipt.parse(other)
    for other in (data.replace(b'"version":1', b'"version":2'), data.replace(b'"version":1', b'"version":1,"more":1')):
        with pytest.raises(ReceiptError, match="is wrong at"):
            Receipt.parse(other)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=300)
def test_anything_in_the_place_of_anything_is_an_error_with_a_code(
    receipts: list[Receipt], data: st.DataObject
) -> None:
    plain: Any = json.loads(canonical(receipts[2]))
    place: Any = plain
    while True:
        key = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        if not isinstance(place[key], dict | list) or not place[key] or data.draw(st.booleans()):
            break
        place = place[key]
    before, place[key] = place[key], data.draw(JSON)
    if before == place[key] and type(before) is type(place[key]):
        return
    text = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    with pytest.raises(OpmlError) as caught:
        check_receipt(Receipt.parse(text))
    assert caught.value.code in ("bad-receipt", "evidence")
    assert caught.value.exit_status == 9
