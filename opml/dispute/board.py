"""The games that matter to one account, kept up to date from what has changed on the chain."""

from collections.abc import Callable, Collection, Iterator
from typing import Any

from opml.chain.ledger import Ledger
from opml.dispute.errands import Emit
from opml.dispute.game import GameView, Role


class Board:
    """Games of `party`, and the open ones of everybody by claim. `scope` are the claims it cares about, or all.

    ours    ids of games that we play and that are not over
    won     ids of games that we have won and not been paid for
    lost    ids of games that we have ever lost
    """

    def __init__(self, ledger: Callable[[], Ledger], party: str, scope: Collection[bytes] | None, emit: Emit) -> None:
        self._ledger = ledger
        self._party = party
        self._scope = scope
        self._emit = emit
        self.ours: set[bytes] = set()
        self.won: set[bytes] = set()
        self.lost: set[bytes] = set()
        self.open_by_claim: dict[bytes, set[bytes]] = {}

    def in_scope(self, claim_id: bytes) -> bool:
        """Whether we care about a claim."""
        return self._scope is None or claim_id in self._scope

    def roles(self, view: GameView) -> list[Role]:
        """The sides of a game that are ours."""
        return [role for role in Role if view.party(role) == self._party] if self.in_scope(view.claim_id) else []

    def games(self) -> Iterator[GameView]:
        """The games that we play."""
        games = self._ledger().games
        return (games[game_id] for game_id in self.ours)

    def winnings(self) -> list[GameView]:
        """The games that we have won and not been paid for."""
        games = self._ledger().games
        return [games[game_id] for game_id in self.won]

    def open_games(self, claim_id: bytes) -> Iterator[GameView]:
        """Open games against a claim, whoever plays them."""
        games = self._ledger().games
        return (games[game_id] for game_id in self.open_by_claim.get(claim_id, ()))

    def sort(self, game_id: bytes) -> None:
        """Puts a game that is new, has changed or has vanished where it belongs."""
        view, was_ours = self._ledger().games.get(game_id), game_id in self.ours
        self.ours.discard(game_id)
        self.won.discard(game_id)
        self.lost.discard(game_id)
        if view is None:
            return
        open_games, roles = self.open_by_claim.setdefault(view.claim_id, set()), self.roles(view)
        if view.turn is not None:
            open_games.add(game_id)
            if roles:
                self.ours.add(game_id)
                if not was_ours:
                    self._emit("game-open", game=game_id, claim=view.claim_id, role=roles[0].value)
            return
        open_games.discard(game_id)
        if not open_games:
            del self.open_by_claim[view.claim_id]
        won = view.winner in roles
        if won and not view.collected:
            self.won.add(game_id)
        if roles and not won:
            self.lost.add(game_id)
        if was_ours:
            self._emit("game-won" if won else "game-lost", "info" if won else "error", **names(view, roles[0]))


def names(view: GameView, role: Role | None) -> dict[str, Any]:
    """What an event says of a game."""
    return {
        "game": view.game_id,
        "claim": view.claim_id,
        "role": role.value if role else "nobody",
        "phase": view.phase.name.lower(),
        "position": view.position,
        "length": view.length,
    }
