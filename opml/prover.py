"""The prover: post a claim with its bond, and defend it until it is final."""

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opml.chain.client import OpmlClient
from opml.dispute.driver import existing_claim
from opml.dispute.game import ClaimStatus, ClaimView, GameView
from opml.dispute.keeper import PATIENCE, POLL_SECONDS, Keeper, Progress, Sleep
from opml.dispute.moves import Move
from opml.dispute.player import Player
from opml.dispute.thinker import Players
from opml.errors import DisputeError, InputError
from opml.model import Inference, Model
from opml.watch.traces import OnePlayer, Traces
from vm.merkle import subtree_root

if TYPE_CHECKING:
    from opml.chain.base import Receipt


def quiet(view: GameView, move: Move) -> None:
    """Progress that nobody watches."""


@dataclass(frozen=True)
class PostedClaim:
    """A claim on chain: its id, and the receipts of registering the model (None if it was known) and of claiming."""

    claim_id: bytes
    registered: "Receipt | None"
    claimed: "Receipt"


def register(client: Any, account: Any, model: Model, uri: str = "") -> "Receipt | None":
    """Makes the model known to the contract, if it is not. `uri` says where its image can be had."""
    return client.register_model(model.header, uri, account) if client.model(model.model_id) is None else None


def post_claim(
    client: OpmlClient,
    account: Any,
    inference: Inference,
    *,
    nonce: int | None = None,
    uri: str = "",
    input_uri: str | None = None,
) -> PostedClaim:
    """Posts the claim that this inference is right, with the prover's bond.

    `nonce` tells equal claims of one prover apart; by default it is random. With `input_uri`, which says where the
    input's bytes can be had, only their root goes on chain: nobody can check the claim who has not the bytes. Raises
    ChainError and RevertError.
    """
    model = inference.model
    registered = register(client, account, model, uri)
    number = secrets.randbits(64) if nonce is None else nonce
    if input_uri is None:
        claim_id, claimed = client.claim(model.model_id, inference.posted, inference.output_root, number, account)
    else:
        roots = (inference.input_root, inference.output_root)
        claim_id, claimed = client.claim_by_root(model.model_id, *roots, number, input_uri, account)
    return PostedClaim(claim_id, registered, claimed)


def claim_of(client: OpmlClient, claim_id: bytes, model: Model) -> ClaimView:
    """A claim about this model. Raises DisputeError where there is none of that id, or it is about another model."""
    claim = existing_claim(client, claim_id)
    if claim.model_id != model.model_id:
        raise DisputeError(
            f"the claim is about model 0x{claim.model_id.hex()}, this is 0x{model.model_id.hex()}",
            "compile the claim's model with the same window, clock and phases",
        )
    return claim


def input_of(claim: ClaimView, model: Model, given: bytes | None = None) -> bytes:
    """The bytes of a claim's input region: those on chain, or else those given. They have the claim's root.

    Raises InputError where there are none, or where they are others.
    """
    data = claim.input if claim.input_posted else given
    if data is None:
        where = f"; its prover says that it can be had at {claim.input_uri}" if claim.input_uri else ""
        raise InputError(f"the claim's input is not on chain{where}", "give it with --input")
    size, level = model.header.input_bytes, model.header.input_level
    if len(data) != size or subtree_root(data, level) != claim.input_root:
        raise InputError("the input is not the one that the claim is about: its root is another")
    return data


def party_of(client: OpmlClient, account: Any, party: str | None) -> str:
    """Whose claims and games the account looks after: its own, or those of a party that has made it its delegate.

    Raises DisputeError where the party has not.
    """
    if party is None or party == account.address:
        return str(account.address)
    if not client.is_delegate(party, account.address):
        raise DisputeError(
            f"{account.address} is no delegate of {party}",
            f"with the key of {party}: opml delegate {account.address}",
        )
    return party


def own_claim(client: OpmlClient, account: Any, claim_id: bytes, model: Model, party: str | None) -> ClaimView:
    """A claim about this model that the account, or the party for which it acts, has posted. Raises DisputeError."""
    claim, party = claim_of(client, claim_id, model), party_of(client, account, party)
    if claim.prover != party:
        raise DisputeError(f"the claim was posted by {claim.prover}, not by {party}")
    return claim


def defend_claim(
    client: OpmlClient,
    account: Any,
    claim_id: bytes,
    model: Model,
    *,
    party: str | None = None,
    posted: bytes | None = None,
    who: Player | None = None,
    progress: Progress = quiet,
    sleep: Sleep | None = None,
    poll: float = POLL_SECONDS,
    patience: int = PATIENCE,
) -> ClaimStatus:
    """Answers every challenge until the claim is final or rejected, then withdraws what is ours.

    Needs nothing but the chain and the model, so it may be stopped and called again at any time. The model is run again
    only when somebody challenges. `party` is the prover, if the account is only its delegate; `posted` the input
    region's bytes, for a claim whose input is not on chain; `who` the player, by default an honest one. `sleep` and
    `patience` are as in `Keeper`. All challenges are answered at once. Raises DisputeError and InputError.
    """
    claim = own_claim(client, account, claim_id, model, party)
    party = claim.prover
    data = input_of(claim, model, posted)
    players: Players = OnePlayer(who) if who else Traces(lambda _: model, posted=data)
    options: dict[str, Any] = {"party": party, "scope": {claim_id}, "progress": progress, "sleep": sleep, "poll": poll}
    with Keeper(client, account, players, **options) as keeper:

        def settled() -> bool:
            view = keeper.ledger.claims.get(claim_id, claim)
            over = view.status is not ClaimStatus.PENDING and not view.open_games
            return over and keeper.purse.settled

        keeper.run(settled, patience=patience)
        return keeper.ledger.claims[claim_id].status
