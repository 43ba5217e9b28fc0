"""The contract as the players' loop uses it: the chain client is one court, the referee of the tests another."""

from typing import Any, Protocol

from opml.dispute.game import ClaimView, GameView
from opml.dispute.moves import Move


class Account(Protocol):
    """Whoever sends a transaction."""

    @property
    def address(self) -> str: ...


class Court(Protocol):
    """Views of the present state, and the methods that change it.

    Every method that sends a transaction takes the sender's account last, returns after it was mined (a receipt, where
    the court gives them), and raises RevertError with the custom error's name if the contract refuses it.
    """

    def now(self) -> int:
        """The time in seconds, as the next transaction will meet it."""

    def claim_view(self, claim_id: bytes) -> ClaimView:
        """The claim; status NONE if there is none of that id."""

    def game_view(self, game_id: bytes) -> GameView:
        """The game; stage NONE if there is none of that id."""

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        """The ids of all games against a claim, oldest first."""

    def credit(self, address: str) -> int:
        """Wei that the contract owes to `address`, without winnings not yet collected."""

    def challenge(self, claim_id: bytes, salt: int, account: Any) -> tuple[bytes, Any]:
        """Open a game against a claim, with its bond; returns its id first."""

    def move(self, game_id: bytes, move: Move, account: Any) -> Any:
        """Make a move: calls the contract's method `move.method` with `move.args` of the game's key and claim."""

    def finalise(self, claim_id: bytes, account: Any) -> Any:
        """Make a claim final whose window has passed without a game open or lost."""

    def withdraw(self, party: str, claims: list[bytes], games: list[bytes], account: Any) -> Any:
        """Make these claims of the party final, collect its winnings of these games, and pay it that and its credit."""
