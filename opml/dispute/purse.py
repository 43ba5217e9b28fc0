"""What an account has won and not yet been paid, and what stands between it and the money."""

from collections.abc import Collection
from typing import TYPE_CHECKING

from opml.chain.abi import artifact
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.player import should_finalise

if TYPE_CHECKING:
    from opml.dispute.keeper import Keeper

# Claims and games in one withdrawal: far below the gas that a transaction may use.
BATCH = 50
# After so many refusals in a row they are taken one by one: one that cannot be collected must not hold up the others.
SINGLY = 3
KEY = "withdraw"
# After so many, nobody waits for them any longer: an account that takes no money cannot be paid.
HOPELESS = 8


class Purse:
    """Makes our claims final and collects what we have won, in one transaction at a time."""

    def __init__(self, keeper: "Keeper") -> None:
        self._keeper = keeper
        # Our claims that are not settled yet.
        self._ours: set[bytes] = set()

    @property
    def ours(self) -> Collection[bytes]:
        """Our claims that are pending."""
        return self._ours

    @property
    def waiting_for(self) -> set[bytes]:
        """Claims with open games that have to end before we are paid."""
        keeper = self._keeper
        claims = keeper.ledger.claims
        mine = {claim_id for claim_id in self._ours if claims[claim_id].open_games}
        return mine | {game.claim_id for game in self._keeper.board.winnings() if claims[game.claim_id].open_games}

    @property
    def empty(self) -> bool:
        """Whether nothing is left that we could be paid, now or later, but for what open games may bring."""
        return not (self._ours or self._keeper.board.won or self.credit)

    @property
    def settled(self) -> bool:
        """Whether all has been paid, or the contract refuses to."""
        errands = self._keeper.errands
        return errands.refusals(KEY) > HOPELESS or (self.empty and not errands.under_way(KEY))

    @property
    def credit(self) -> int:
        """What the contract owes us for claims that somebody else made final, in wei."""
        return self._keeper.ledger.credit.get(self._keeper.address, 0)

    def meet(self, claim_id: bytes) -> None:
        """Takes note of a claim that has changed."""
        keeper, was_ours = self._keeper, claim_id in self._ours
        self._ours.discard(claim_id)
        claim = keeper.ledger.claims.get(claim_id)
        if claim is None or claim.prover != keeper.address or not keeper.board.in_scope(claim_id):
            return
        if claim.status is ClaimStatus.PENDING:
            self._ours.add(claim_id)
        elif was_ours:
            level = "info" if claim.status is ClaimStatus.FINAL else "error"
            keeper.emit(f"claim-{claim.status.name.lower()}", level, claim=claim_id, ours=True)

    def act(self) -> bool:
        """Sends what is to be sent; whether anything was. Raises ChainError."""
        keeper = self._keeper
        if not keeper.errands.free(KEY):
            return False
        claims = [claim_id for claim_id in self._ours if should_finalise(keeper.ledger.claims[claim_id], keeper.now)]
        games = [game for game in self._keeper.board.winnings() if self._collectable(game)]
        if not (claims or games or self.credit):
            return False
        refusals = keeper.errands.refusals(KEY)
        if refusals >= SINGLY and claims + games:
            chosen = (claims + games)[refusals % len(claims + games)]
            claims, games = [c for c in claims if c is chosen], [g for g in games if g is chosen]
        claims, games = claims[:BATCH], games[: BATCH - len(claims[:BATCH])]
        data = artifact("Opml").abi.encode_call("withdraw", keeper.address, claims, [game.key for game in games])
        return keeper.errands.send(KEY, KEY, data, claims=len(claims), games=len(games), credit_wei=self.credit)

    def _collectable(self, game: GameView) -> bool:
        return game.winner is Role.PROVER or not self._keeper.ledger.claims[game.claim_id].open_games
