"""Which windows and clocks are good enough to put a bond on: they are part of a model's id, and anybody may register a
known model with others. A clock that is over before an honest player has run the model takes his bond.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from opml.dispute.rules import rounds
from opml.header import ModelHeader

HOUR: Final = 3600
MIN_WINDOW: Final = 600
MAX_WINDOW: Final = 30 * 24 * HOUR
# Until a transaction is in a block: three of Ethereum's, for when prices rise.
INCLUSION_SECONDS: Final = 36.0
# How much longer than measured all may take.
SAFETY: Final = 2


@dataclass(frozen=True)
class TermsPolicy:
    """Seconds that a header's clock and window must have for a bond, as a challenger or as a prover.

    They are for other people's variants of our models. The ids of our own files, whose terms we have chosen, only need
    time to be played. By default (None) the limits are an hour's clock and a window of ten minutes to thirty days,
    or our own file's of the same model where that is less strict; and with slow blocks in mind, unless `min_clock` says
    that whoever gives it knows the chain.
    """

    min_clock: int | None = None
    min_window: int | None = None
    max_window: int | None = None

    def refusal(
        self, header: ModelHeader, own: Collection[ModelHeader], *, k: int, seconds: float = 0.0, poll: float = 0.0
    ) -> str | None:
        """What is wrong with the header's terms: None, `clock` or `window`.

        `own` are the headers of our files (`Library.headers`); `seconds` is what it takes here to get the computation
        ready for a game, as far as it is known, `poll` the seconds between two looks, `k` the contract's.
        """
        ours = header in own
        pause = poll if ours or self.min_clock is not None else poll + INCLUSION_SECONDS
        if header.clock < least_clock(header, k=k, seconds=seconds, pause=pause):
            return "clock"
        if ours:
            return None
        same = [one for one in own if kind(one) == kind(header)]
        if header.clock < _or(self.min_clock, min([HOUR, *(one.clock for one in same)])):
            return "clock"
        least = _or(self.min_window, min([MIN_WINDOW, *(one.window for one in same)]))
        most = _or(self.max_window, max([MAX_WINDOW, *(one.window for one in same)]))
        return None if least <= header.window <= most else "window"


def kind(header: ModelHeader) -> ModelHeader:
    """The same for all headers that differ in nothing but window and clock."""
    return replace(header, window=1, clock=1)


def moves(header: ModelHeader, k: int) -> int:
    """The most moves that one side makes in a game."""
    return rounds(header.tiles, k) + rounds(header.max_steps, k) + 3


def least_clock(header: ModelHeader, *, k: int, seconds: float, pause: float) -> float:
    """The seconds in which a game can be played with certainty, with a `pause` for each move."""
    return SAFETY * (seconds + moves(header, k) * pause)


def _or(chosen: int | None, default: int) -> int:
    return default if chosen is None else chosen
