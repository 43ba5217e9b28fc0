"""Whose claim is checked next: nobody's flood of true claims may hide a false one."""

from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import count

from opml.dispute.game import ClaimView

# Who competes for time: a model under certain terms, and a prover.
Party = tuple[bytes, str]
REMEMBERED = 10_000


class Queue:
    """Claims on the models as we have them come first, by their deadlines. Then come other people's variants, whose
    short windows must not be an advantage: one claim of each party in turn, who was served longest ago first.
    """

    def __init__(self) -> None:
        self._numbers = count(1)
        self._served: dict[Party, int] = {}

    def served(self, claim: ClaimView) -> None:
        """A claim was checked."""
        self._served.pop(_party(claim), None)
        self._served[_party(claim)] = next(self._numbers)
        if len(self._served) > REMEMBERED:
            del self._served[next(iter(self._served))]

    def first(self, number: int, claims: Iterable[ClaimView], ours: Collection[bytes]) -> list[ClaimView]:
        """The claims to check next, in order; `ours` are the ids of the models as we have them."""
        places: dict[Party, int] = defaultdict(int)
        order: list[tuple[tuple[int, int], ClaimView]] = []
        for claim in sorted(claims, key=lambda claim: claim.deadline):
            party = _party(claim)
            if claim.model_id in ours:
                order.append(((-1, 0), claim))
            else:
                order.append(((places[party], self._served.get(party, 0)), claim))
                places[party] += 1
        return [claim for _, claim in sorted(order, key=lambda item: item[0])[:number]]


def _party(claim: ClaimView) -> Party:
    return claim.model_id, claim.prover
