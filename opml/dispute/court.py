"""The contract as the players' loop uses it: the chain client is one, the referee of the tests another."""

from typing import Protocol, TypeVar

from opml.dispute.game import ClaimView, GameView
from opml.dispute.moves import Move

AccountT = TypeVar("AccountT", contravariant=True)


class Court(Protocol[AccountT]):
    """Views of the present state, and the methods that change it.

    Every method that sends a transaction takes the sender's account last, returns after it was mined, and raises
    RevertError with the custom error's name if the contract refuses it.
    """

    def now(self) -> int:
        """The time of the next block, or of the latest one where the next is not known, in seconds."""

    def claim_view(self, claim_id: bytes) -> ClaimView:
        """The claim; status NONE if there is none of that id."""

    def game_view(self, game_id: bytes) -> GameView:
        """The game; stage NONE if there is none of that id."""

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        """The ids of all games against a claim, oldest first."""

    def credit(self, address: str) -> int:
        """Wei that the contract owes to `address`."""

    def move(self, game_id: bytes, move: Move, account: AccountT) -> object:
        """Make a move: calls the contract's method `move.method` with the game's id and `move.args()`."""

    def finalise(self, claim_id: bytes, account: AccountT) -> object:
        """Make a claim final whose window has passed without a game open or lost."""

    def withdraw(self, games: list[bytes], account: AccountT) -> object:
        """Collect the account's shares of these games, and pay out all its credit."""
