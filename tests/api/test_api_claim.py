"""Claims from Python: made, settled, challenged, pickled, written and read; the page about it runs as it stands."""

import json
import pickle
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import opml
from opml.chain import Chain, OpmlClient, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.dispute.game import ClaimStatus, Role
from opml.errors import ChainError, DisputeError, InputError
from opml.prover import register

ROOT = Path(__file__).parents[2]
MODELS = ROOT / "examples" / "models"


@pytest.fixture(scope="module")
def model() -> opml.Model:
    return opml.load(MODELS / "mlp.onnx", window=600, clock=600)


@pytest.fixture(scope="module")
def scan() -> np.ndarray:
    with np.load(MODELS / "digits.npz") as file:
        return np.asarray(file["images"][3])


@pytest.fixture
def chain() -> Chain:
    return opml.connect()


def test_a_claim_is_made_and_settled(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    assert claim.model_id == model.model_id
    assert claim.outputs["logits"].tobytes() == model.run(scan)["logits"].tobytes()
    view = claim.view()
    assert view.prover == dev_accounts()[0].address
    assert view.output_root == model.infer(scan).output_root
    assert claim.status() is opml.ClaimStatus.PENDING
    assert claim.settle() is ClaimStatus.FINAL
    assert claim.status() is ClaimStatus.FINAL


def test_two_claims_of_one_inference_are_two(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    one, two = model.prove(chain, scan), model.prove(chain, image=scan)
    assert one != two
    assert len({one, two, one}) == 2


def test_pickled_and_as_json(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    for copy in (pickle.loads(pickle.dumps(claim)), opml.Claim.from_json(claim.to_json())):
        assert copy == claim
        assert copy.chain_id == claim.chain_id
        assert copy.outputs["logits"].dtype == np.float32
        assert copy.outputs["logits"].tobytes() == claim.outputs["logits"].tobytes()
        with pytest.raises(ChainError, match="embedded chain of another process"):
            copy.status()
        assert copy.on(chain).status() is ClaimStatus.PENDING
        with pytest.raises(InputError, match="no model here"):
            copy.on(chain).settle()
    assert opml.Claim.from_json(claim.to_json()).on(chain, model=model).settle() is ClaimStatus.FINAL


def test_a_stranger_cannot_settle_but_may_challenge(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    stranger = claim.on(chain, model=model, account=dev_accounts()[1])
    with pytest.raises(DisputeError, match="was posted by"):
        stranger.settle()
    verdict = stranger.challenge()
    assert verdict.right
    assert verdict.game_id is None


def test_a_false_claim_that_nobody_defends_is_rejected(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    client, liar = OpmlClient(chain, ensure_dev_contract(chain)), dev_accounts()[0]
    inference = model.infer(scan)
    register(client, liar, model)
    claim_id, _ = client.claim(model.model_id, inference.posted, bytes(32), 7, liar)
    claim = opml.Claim(claim_id, model.model_id, chain.chain_id, client.address)
    verdict = claim.on(chain, model=model, account=dev_accounts()[1]).challenge()
    assert not verdict.right
    assert verdict.winner is Role.CHALLENGER
    assert claim.on(chain).status() is ClaimStatus.REJECTED


def test_another_model_is_refused(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    with pytest.raises(DisputeError, match="the claim is about model"):
        claim.on(chain, model=model.compile(window=601)).settle()


def test_an_input_that_does_not_fit_is_refused_before_anything_is_posted(model: opml.Model, chain: Chain) -> None:
    before = chain.block_number()
    with pytest.raises(InputError):
        model.prove(chain, np.zeros(3))
    assert chain.block_number() == before


def test_an_input_kept_off_chain(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan, input_uri="https://example.org/scan")
    assert not claim.view().input_posted
    assert claim.view().input_uri == "https://example.org/scan"


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"version": 2}, "of version 2"),
        ({"claim_id": "0x12"}, "an id has not 32 bytes"),
        ({"claim_id": "zz"}, "no claim as"),
        ({"claim_id": 5}, "no claim as"),
        ({"rpc": 5}, "the URL is no text"),
        ({"outputs": {"y": {"dtype": "float32", "shape": [3], "data": "AAAA"}}}, "no claim as"),
        ({"outputs": {"y": {"dtype": "object", "shape": [1], "data": "AAAAAAAAAAA="}}}, "no claim as"),
        ({"outputs": []}, "no claim as"),
    ],
)
def test_json_that_is_no_claim(
    model: opml.Model, scan: np.ndarray, chain: Chain, change: dict[str, Any], text: str
) -> None:
    body = json.loads(model.prove(chain, scan).to_json())
    with pytest.raises(InputError, match=text):
        opml.Claim.from_json(json.dumps({**body, **change}))
    for broken in ("", "[]", "{", "null"):
        with pytest.raises(InputError):
            opml.Claim.from_json(broken)


def test_another_chain_is_refused(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    elsewhere = opml.Claim(claim.claim_id, claim.model_id, 1, claim.contract)
    with pytest.raises(ChainError, match="the claim is on chain 1"):
        elsewhere.on(chain)


def test_how_a_claim_looks(model: opml.Model, scan: np.ndarray, chain: Chain) -> None:
    claim = model.prove(chain, scan)
    assert repr(claim) == (
        f"Claim(0x{claim.claim_id.hex()[:12]}…, model=0x{model.model_id.hex()[:12]}…, on an embedded chain)"
    )
    html = claim._repr_html_()
    assert claim.claim_id.hex() in html
    assert "pending" in html
    away = opml.Claim.from_json(claim.to_json())
    assert "pending" not in away._repr_html_()
    hostile = opml.Claim(claim.claim_id, claim.model_id, 1, "<i>x</i>")
    assert "<i>" not in hostile._repr_html_()


def snippets(page: Path) -> list[str]:
    return re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.mark.parametrize("page", ["docs/python.md", "README.md"])
def test_the_snippets_run_as_they_stand(page: str, monkeypatch: pytest.MonkeyPatch, scan: np.ndarray) -> None:
    monkeypatch.chdir(ROOT)
    space: dict[str, Any] = {"scan": scan, "image": scan}
    blocks = snippets(ROOT / page)
    assert blocks
    for block in blocks:
        exec(compile(block, page, "exec"), space)
    assert "logits" in space["outputs"]


def test_a_chain_says_what_it_is() -> None:
    assert repr(opml.connect()) == "EmbeddedChain(block 0)"
