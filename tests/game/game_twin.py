"""The contract on a bare EVM and the referee, side by side: each transaction goes to both, and they must agree.

They agree when both refuse for the same reason, or both accept with the same events, and then have the same claim and
game and owe the same. The computation is a toy's; so is the step verifier: a contract that knows only true steps.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple
from typing import Any

from contracts_evm import CHAIN_ID, ETHER, Evm, Reverted, address_of, artifact
from dispute_referee import Account, Referee
from dispute_toy import ToyTrace

from opml.dispute.game import GameView
from opml.dispute.moves import Move, Step
from opml.errors import RevertError
from vm.errors import WitnessError
from vm.keccak import keccak256

# The referee's methods whose names in the contract are others.
NAMES = {"claim_by_root": "claimByRoot", "set_delegate": "setDelegate", "register_model": "registerModel"}
# step(witness): pre = keccak256(witness); post = storage[pre]; MalformedWitness where that is 0.
VERIFIER = bytes.fromhex(
    "602435" "80" "6044" "6000" "37"  # calldatacopy(0, 68, length)
    "6000" "20" "80" "54"  # pre, post
    "80" "6022" "57"  # if post != 0 goto 0x22
    "63" + keccak256(b"MalformedWitness()")[:4].hex() + "60e0" "1b" "6000" "52" "6004" "6000" "fd"
    "5b" "6020" "52" "6000" "52" "6040" "6000" "f3"
)  # fmt: skip


def account(name: str) -> Account:
    """An account with an address that both sides know."""
    return Account("0x" + address_of(name).hex())


def raw(who: Account) -> bytes:
    """The address as the EVM has it."""
    return bytes.fromhex(who.address[2:])


class Twin:
    """One contract and one referee for the computation `truth`; `people` have money.

    `send` makes a transaction on both. What a player sees comes from the referee.
    """

    def __init__(self, truth: ToyTrace, k: int, bonds: tuple[int, int], people: list[Account]) -> None:
        self.truth, self.people = truth, people
        owner = account("owner")
        self.evm = Evm()
        self.evm.fund(*map(raw, [owner, *people]))
        self.verifier = address_of("verifier")
        self.evm.state.set_code(self.verifier, VERIFIER)
        self.contract = self.evm.deploy(raw(owner), artifact("Opml"), self.verifier, *bonds, k)
        self.referee = Referee(k, *bonds, step=truth.verify)
        self.referee.time = self.evm.now
        self.referee.chain_id, self.referee.address = CHAIN_ID, "0x" + self.contract.hex()
        self.transactions = self.refusals = 0
        self.model_id = truth.header.model_id
        self.referee.register_model(truth.header, "", owner)
        data = self.evm.abi.encode("registerModel", [astuple(truth.header), ""])
        assert self.evm.transact(raw(owner), self.contract, data).output == self.model_id

    def advance(self, seconds: int) -> None:
        """Time passes."""
        self.referee.advance(seconds)
        self.evm.now += seconds

    def move(self, game_id: bytes, move: Move, who: Account) -> str:
        """A move of a game: "" or why it was refused."""
        view = self.referee.game_view(game_id)
        claim = self.referee.claim_view(view.claim_id).claim
        if isinstance(move, Step):
            self._teach(move.witness)
        return self.send(who, move.method, *move.args(view.key, claim))

    def send(self, who: Account, method: str, *args: Any, value: int | None = None) -> str:
        """A transaction: "" or the reason for which both refused it. By default with the bond that the method takes."""
        self.transactions += 1
        before = len(self.referee.events)
        reason = self._refuse(method, args, who, value)
        bond = {"claim": self.referee.prover_bond, "claim_by_root": self.referee.prover_bond}.get(method, 0)
        bond = self.referee.challenger_bond if method == "challenge" else bond
        theirs, events = self._transact(who, method, args, bond if value is None else value)
        assert theirs == reason, f"{method}: the contract says {theirs or 'yes'}, the referee {reason or 'yes'}"
        if reason:
            self.refusals += 1
            return reason
        assert events == self.referee.events[before:]
        self._compare(events)
        return ""

    def _refuse(self, method: str, args: tuple[Any, ...], who: Account, value: int | None) -> str:
        paid = () if value is None else (value,)
        try:
            getattr(self.referee, method)(*self._for_referee(method, args), who, *paid)
        except RevertError as error:
            return error.reason
        return ""

    def _for_referee(self, method: str, args: tuple[Any, ...]) -> tuple[Any, ...]:
        """The referee takes ids where the contract wants the preimage and needs nothing else of it."""
        if method == "challenge":
            claim, salt = args
            return claim.id_at(CHAIN_ID, self.referee.address), salt
        if method == "withdraw":
            party, claims, keys = args
            return party, claims, [key.id for key in keys]
        return args

    def _transact(self, who: Account, method: str, args: tuple[Any, ...], value: int) -> tuple[str, list[Any]]:
        data = self.evm.abi.encode(NAMES.get(method, method), args)
        try:
            return "", self.evm.transact(raw(who), self.contract, data, value).events
        except Reverted as error:
            return error.name, []

    def _teach(self, witness: bytes) -> None:
        """The toy's step for this witness, where it has one."""
        try:
            pre, post = self.truth.verify(witness)
        except WitnessError:
            return
        self.evm.state.set_storage(self.verifier, int.from_bytes(pre, "big"), int.from_bytes(post, "big"))
        self.evm.state.lock_changes()

    def _compare(self, events: list[tuple[str, dict[str, Any]]]) -> None:
        """The claims and games that the transaction touched, and the money."""
        ledger = self.referee.ledger
        for claim_id in {args["claimId"] for _, args in events if "claimId" in args}:
            mine = ledger.claims[claim_id]
            theirs = self.evm.call(self.contract, "claims", claim_id)
            assert tuple(theirs.values()) == (mine.prover, mine.deadline, mine.open_games, mine.lost_games, mine.status)
        for game_id in {args["gameId"] for _, args in events if "gameId" in args}:
            game = ledger.games[game_id]
            theirs = self.evm.call(self.contract, "games", game_id)
            clocks = (game.last_move, game.prover_clock, game.challenger_clock)
            place = (game.position, game.length, *clocks, game.stage, game.phase, game.collected, game.range)
            assert tuple(theirs.values()) == place
        self.check_money()

    @contextmanager
    def abandoned(self) -> Iterator[None]:
        """What happens inside is on a branch of the chain that is then abandoned."""
        referee = self.referee
        ledger, time, events = referee.ledger.copy(), referee.time, len(referee.events)
        with self.evm.rollback():
            yield
        referee.ledger, referee.time = ledger, time
        del referee.events[events:]

    def check_money(self) -> None:
        """Balances and credit are the same, and the contract holds what it owes and what is burnt, to the wei."""
        ledger = self.referee.ledger
        assert self.evm.balance(self.contract) == ledger.balance == self.referee.liabilities()
        for who in self.people:
            assert self.evm.balance(raw(who)) == 1000 * ETHER + ledger.balances[who.address]
            assert self.evm.call(self.contract, "credit", raw(who)) == ledger.credit[who.address]

    def game_view(self, game_id: bytes) -> GameView:
        """The game."""
        return self.referee.game_view(game_id)
