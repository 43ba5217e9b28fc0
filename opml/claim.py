"""A claim on a chain as a user holds it: followed, defended, challenged, written to a file and read again."""

import base64
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from opml.chain import Chain, OpmlClient, connect, dev_contract, ensure_dev_contract
from opml.chain.accounts import dev_accounts, load_account
from opml.chain.embedded import EmbeddedChain
from opml.challenger import Verdict, challenge_claim
from opml.checked import ensure_checked
from opml.dispute.game import ClaimStatus, ClaimView
from opml.dispute.keeper import POLL_SECONDS, Sleep
from opml.errors import ChainError, InputError
from opml.graph import Array
from opml.model import Inference, Model
from opml.prover import defend_claim, post_claim
from opml.show import short, table

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

_VERSION = 1


@dataclass(frozen=True)
class Claim:
    """A claim: which model's, where it is, and what it says.

    `rpc` is the chain's URL, None for an embedded chain, which lives only in its process. `contract` is an address, and
    `block` its first block. `outputs` are numpy arrays by name; empty where only the id is known. Equal claims have
    equal ids. A claim can be pickled and written as JSON; what is read again finds its chain by the URL, or is put on
    one with `on`.
    """

    claim_id: bytes
    model_id: bytes
    chain_id: int
    contract: str
    block: int = 0
    rpc: str | None = None
    outputs: Mapping[str, Array] = field(default_factory=dict, compare=False)
    _live: "_Live | None" = field(default=None, compare=False, repr=False)

    def on(self, chain: Chain | str, *, model: Model | None = None, account: "LocalAccount | None" = None) -> "Claim":
        """The same claim, reached through this chain; with a model and an account to defend or challenge it with.

        Raises ChainError where the chain is another one.
        """
        live = _Live(_connected(chain), self.contract, self.block, model, account)
        if live.chain.chain_id != self.chain_id:
            raise ChainError(f"the claim is on chain {self.chain_id}, this is {live.chain.chain_id}")
        return replace(self, rpc=_url(live.chain), _live=live)

    def view(self) -> ClaimView:
        """The claim as the contract has it now: input, roots, prover, deadline, games. Raises ChainError."""
        return self._reached().client.claim_view(self.claim_id)

    def status(self) -> ClaimStatus:
        """PENDING, FINAL or REJECTED; NONE where the chain has no such claim. Raises ChainError."""
        return self.view().status

    def settle(self, *, poll: float = POLL_SECONDS) -> ClaimStatus:
        """Answers every challenge until the claim is final or rejected, then withdraws what is the prover's.

        Blocks for as long as the claim's window; may be stopped and called again. On an embedded chain, where nobody
        else is, time passes at once. Raises DisputeError where the account is not the prover.
        """
        live = self._reached()
        model, account = live.parties()
        return defend_claim(live.client, account, self.claim_id, model, poll=poll, sleep=live.sleep)

    def challenge(self, *, poll: float = POLL_SECONDS) -> Verdict:
        """Runs the model on the claim's input again and, if the claim is false, bonds, plays and withdraws.

        Raises DisputeError where the claim is about another model.
        """
        live = self._reached()
        model, account = live.parties()
        return challenge_claim(live.client, account, self.claim_id, model, poll=poll, sleep=live.sleep)

    def to_json(self) -> str:
        """All of the claim, outputs included, as JSON text."""
        outputs = {
            name: {
                "dtype": array.dtype.name,
                "shape": list(array.shape),
                "data": base64.b64encode(np.ascontiguousarray(array).tobytes()).decode(),
            }
            for name, array in self.outputs.items()
        }
        body = {"version": _VERSION, "claim_id": "0x" + self.claim_id.hex(), "model_id": "0x" + self.model_id.hex()}
        place = {"chain_id": self.chain_id, "contract": self.contract, "block": self.block, "rpc": self.rpc}
        return json.dumps({**body, **place, "outputs": outputs})

    @classmethod
    def from_json(cls, text: str) -> "Claim":
        """What `to_json` wrote. Raises InputError where it is anything else."""
        try:
            body = json.loads(text)
            if body["version"] != _VERSION:
                raise InputError(f"a claim of version {body['version']!r}; this opml reads {_VERSION}")
            outputs = {
                name: np.frombuffer(base64.b64decode(item["data"], validate=True), np.dtype(item["dtype"])).reshape(
                    item["shape"]
                )
                for name, item in body["outputs"].items()
            }
            claim_id, model_id = (bytes.fromhex(body[name].removeprefix("0x")) for name in ("claim_id", "model_id"))
            chain_id, contract, block = int(body["chain_id"]), str(body["contract"]), int(body["block"])
            rpc = body["rpc"]
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise InputError(f"this is no claim as `to_json` writes it: {error}") from None
        if len(claim_id) != 32 or len(model_id) != 32 or not (rpc is None or isinstance(rpc, str)):
            raise InputError("this is no claim as `to_json` writes it: an id has not 32 bytes, or the URL is no text")
        return cls(claim_id, model_id, chain_id, contract, block, rpc, outputs)

    def __repr__(self) -> str:
        where = self.rpc or "an embedded chain"
        return f"Claim({short(self.claim_id)}, model={short(self.model_id)}, on {where})"

    def _repr_html_(self) -> str:
        rows = [("claim", "0x" + self.claim_id.hex()), ("model", "0x" + self.model_id.hex())]
        rows += [("chain", f"{self.chain_id}: {self.rpc or 'embedded'}"), ("contract", self.contract)]
        if self._live is not None:
            rows.append(("status", self.status().name.lower()))
        rows += [
            (name, np.array2string(array, threshold=10, precision=4).replace("\n", " "))
            for name, array in self.outputs.items()
        ]
        return table("Claim", rows)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "outputs": dict(self.outputs), "_live": None}

    def _reached(self) -> "_Live":
        """The chain, connected to again where the claim was read from somewhere."""
        if self._live is None:
            if self.rpc is None:
                raise ChainError("the claim was on an embedded chain of another process", "see Claim.on")
            object.__setattr__(self, "_live", self.on(self.rpc)._live)
        assert self._live is not None
        return self._live


class _Live:
    """What a claim needs of this process: the chain, and who acts."""

    def __init__(
        self, chain: Chain, contract: str, block: int, model: Model | None, account: "LocalAccount | None"
    ) -> None:
        self.chain = chain
        self.client = OpmlClient(chain, contract, block)
        self._model = model
        self._account = account

    def parties(self) -> tuple[Model, "LocalAccount"]:
        """The model and the account that plays. Raises InputError where there is no model."""
        if self._model is None:
            raise InputError("the claim has no model here", "claim.on(chain, model=opml.load(…), account=…)")
        return self._model, self._account or _account(self.chain)

    @property
    def sleep(self) -> Sleep | None:
        """How to wait, if not by sleeping: on an embedded chain time passes only when it is told to."""
        chain = self.chain
        return (lambda seconds: chain.advance(math.ceil(seconds))) if isinstance(chain, EmbeddedChain) else None


def make_claim(
    chain: Chain | str,
    inference: Inference,
    *,
    account: "LocalAccount | None" = None,
    contract: str | None = None,
    uri: str = "",
    input_uri: str | None = None,
    nonce: int | None = None,
) -> Claim:
    """Posts the claim that an inference is right, with a bond. At a model's first claim, tiles are compared with the
    machine.

    `chain` is one that `opml.connect` gave, or a URL. `account` signs: by default the key in the variable OPML_KEY, on
    an embedded chain a development account. `contract` is ADDRESS or ADDRESS@BLOCK; on development chains it is found.
    `uri` says where the model can be had. With `input_uri` only the input's root goes on chain. Raises ChainError,
    SelfCheckError.
    """
    chain = _connected(chain)
    address, _, block = (contract or _contract(chain)).partition("@")
    model = inference.model
    live = _Live(chain, address, int(block or 0), model, account)
    _, account = live.parties()
    ensure_checked(inference)
    posted = post_claim(live.client, account, inference, nonce=nonce, uri=uri, input_uri=input_uri)
    place = (chain.chain_id, address, int(block or 0), _url(chain))
    return Claim(posted.claim_id, model.model_id, *place, outputs=inference.results, _live=live)


def _connected(chain: Chain | str) -> Chain:
    return connect(chain) if isinstance(chain, str) else chain


def _url(chain: Chain) -> str | None:
    return getattr(chain, "url", None)


def _contract(chain: Chain) -> str:
    found = ensure_dev_contract(chain) if isinstance(chain, EmbeddedChain) else dev_contract(chain)
    if found is None:
        raise ChainError(f"chain {chain.chain_id} has no opml contract where a devnet has it", "give `contract`")
    return found


def _account(chain: Chain) -> "LocalAccount":
    return dev_accounts()[0] if isinstance(chain, EmbeddedChain) else load_account()
