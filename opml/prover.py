"""The prover: post a claim with its bond, and defend it until it is final."""

import secrets
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from opml.chain.client import OpmlClient
from opml.dispute.driver import POLL_SECONDS, Progress, Sleep, defend, existing_claim
from opml.dispute.game import ClaimStatus, ClaimView, GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import Player, player
from opml.errors import DisputeError
from opml.model import Inference, Model

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
    client: OpmlClient, account: Any, inference: Inference, *, nonce: int | None = None, uri: str = ""
) -> PostedClaim:
    """Posts the claim that this inference is right, with the prover's bond.

    `nonce` tells equal claims of one prover apart; by default it is random. Raises ChainError and RevertError.
    """
    model = inference.model
    registered = register(client, account, model, uri)
    number = secrets.randbits(64) if nonce is None else nonce
    claim_id, claimed = client.claim(
        model.model_id, inference.posted, inference.output_root, number, model.input_path, account
    )
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


def defend_claim(
    client: OpmlClient,
    account: Any,
    claim_id: bytes,
    model: Model,
    *,
    who: Player | None = None,
    progress: Progress = quiet,
    sleep: Sleep = time.sleep,
    poll: float = POLL_SECONDS,
) -> ClaimStatus:
    """Answers every challenge until the claim is final or rejected, then withdraws what is ours.

    Needs nothing but the chain and the model, so it may be stopped and called again at any time. The model is run again
    only when somebody challenges. `who` is the player; by default an honest one. Raises DisputeError.
    """
    claim = claim_of(client, claim_id, model)
    if claim.prover != account.address:
        raise DisputeError(f"the claim was posted by {claim.prover}, not by {account.address}")
    honest: list[Player] = [] if who is None else [who]

    def play(view: GameView, now: int) -> Move | None:
        if not honest:
            honest.append(player(model.infer_posted(claim.input).trace, Role.PROVER))
        return honest[0](view, now)

    return defend(client, account, claim_id, play, progress=progress, sleep=sleep, poll=poll)
