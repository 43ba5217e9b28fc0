"""The challenger: re-run a claim, and if it is wrong, win its bond."""

from dataclasses import dataclass
from typing import Any

from opml.chain.client import OpmlClient
from opml.dispute.driver import challenge
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.dispute.keeper import PATIENCE, POLL_SECONDS, Keeper, Progress, Sleep
from opml.dispute.player import Player, player
from opml.dispute.selfcheck import self_check
from opml.model import Inference, Model
from opml.prover import claim_of, input_of, party_of, quiet
from opml.watch.traces import OnePlayer


@dataclass(frozen=True)
class Verdict:
    """What became of a claim that we looked at.

    `right` says whether the claimed output is ours; `game_id` and `winner` are None where no game was played.
    """

    right: bool
    game_id: bytes | None
    winner: Role | None
    status: ClaimStatus


def examine(
    client: OpmlClient, claim_id: bytes, model: Model, posted: bytes | None = None
) -> tuple[ClaimView, Inference]:
    """The claim, and the inference that it should be. `posted` are the input's bytes, where they are not on chain.

    Raises DisputeError where the claim is about another model, InputError where it is about another input.
    """
    claim = claim_of(client, claim_id, model)
    return claim, model.infer_posted(input_of(claim, model, posted))


def challenge_claim(
    client: OpmlClient,
    account: Any,
    claim_id: bytes,
    model: Model,
    *,
    salt: int = 0,
    party: str | None = None,
    posted: bytes | None = None,
    who: Player | None = None,
    progress: Progress = quiet,
    sleep: Sleep | None = None,
    poll: float = POLL_SECONDS,
    patience: int = PATIENCE,
) -> Verdict:
    """Re-runs a claim; if it is false, checks a few tiles in the machine, bonds, plays to the verdict and withdraws.

    May be stopped and called again at any time: it goes on with the game it finds. `salt` tells several games of one
    challenger against one claim apart. `party` is the challenger, if the account is only its delegate: it has begun the
    game itself. `posted` are the input region's bytes, for a claim whose input is not on chain. `who` is the player; by
    default an honest one. `sleep` and `patience` are as in `Keeper`. Raises DisputeError, InputError, SelfCheckError.
    """
    party = party_of(client, account, party)
    claim, inference = examine(client, claim_id, model, posted)
    if claim.output_root == inference.output_root:
        return Verdict(True, None, None, claim.status)
    self_check(model.header, inference.memory)
    game_id = challenge(client, account, claim_id, inference.trace, salt, party)
    if game_id is None:
        return Verdict(False, None, None, claim.status)
    honest = who or player(inference.trace, Role.CHALLENGER)
    options: dict[str, Any] = {"party": party, "scope": {claim_id}, "progress": progress, "sleep": sleep, "poll": poll}
    with Keeper(client, account, OnePlayer(honest), **options) as keeper:

        def settled() -> bool:
            game, view = keeper.ledger.games.get(game_id), keeper.ledger.claims.get(claim_id, claim)
            over = game is not None and game.winner is not None and not view.open_games
            return over and keeper.purse.settled

        keeper.run(settled, patience=patience)
        winner, status = keeper.ledger.games[game_id].winner, keeper.ledger.claims[claim_id].status
    return Verdict(False, game_id, winner, status)
