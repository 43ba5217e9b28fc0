"""A chain with the contracts on it, and players that make a game's moves by hand, from the runs of contracts_runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from contracts_evm import ETHER, Evm, Receipt, Reverted, address_of, artifact
from contracts_runs import Run

from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm.constants import MODEL_LEVEL
from vm.keccak import keccak256
from vm.state import State
from vm.step import prove_step

PROVER_BOND, CHALLENGER_BOND = ETHER + 7, ETHER // 2 + 3
PROVER_TURNS = (Stage.OPEN, Stage.POST, Stage.ENTER, Stage.STEP)

Move = tuple[str, tuple[Any, ...]]


class World:
    """A chain with the contracts on it, three accounts, and all events since the deployment."""

    def __init__(self, k: int = 4) -> None:
        self.evm = Evm()
        self.prover, self.challenger, self.other = (address_of(name) for name in ("prover", "challenger", "other"))
        self.accounts = {self.prover, self.challenger, self.other}
        self.evm.fund(*self.accounts)
        self.verifier = self.evm.deploy(self.other, artifact("StepVerifier"))
        self.opml = self.evm.deploy(self.other, artifact("Opml"), self.verifier, PROVER_BOND, CHALLENGER_BOND, k)
        self.k = k
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.forced = 0  # wei that somebody forced into the contract
        self.wallets: set[bytes] = set()  # accounts that are contracts: somebody else calls for them
        self.gas: list[tuple[str, int]] = []

    def send(self, sender: bytes, name: str, *args: Any, value: int = 0) -> Receipt:
        """A transaction to the contract, after which its books must balance."""
        receipt = self.evm.transact(*self.envelope(sender, self.evm.abi.encode(name, args)), value)
        self.gas.append((name, receipt.gas))
        self.events += receipt.events
        self.check_books()
        return receipt

    def envelope(self, sender: bytes, data: bytes) -> tuple[bytes, bytes, bytes]:
        """Who sends the transaction, to whom, with what, so that `sender` calls the contract."""
        if sender in self.wallets:
            return self.other, sender, self.evm.abi.encode("forward", (self.opml, data))
        return sender, self.opml, data

    def refuses(self, reason: str, sender: bytes, name: str, *args: Any, value: int = 0) -> None:
        """The transaction reverts, for this reason."""
        with self.evm.rollback(), pytest.raises(Reverted) as error:
            self.evm.transact(*self.envelope(sender, self.evm.abi.encode(name, args)), value)
        assert error.value.name == reason, f"{name}: {error.value.name} instead of {reason}"

    def view(self, name: str, *args: Any) -> Any:
        return self.evm.call(self.opml, name, *args)

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Forgets, at its end, all that happened inside."""
        events, forced = len(self.events), self.forced
        try:
            with self.evm.rollback():
                yield
        finally:
            del self.events[events:]
            self.forced = forced

    # What the events say

    def logged(self, name: str, **match: Any) -> list[dict[str, Any]]:
        """The events of this name with these values, in order."""
        return [v for n, v in self.events if n == name and all(v[key] == match[key] for key in match)]

    def claim_of(self, claim_id: bytes) -> tuple[Any, ...]:
        """The claim, as the moves bring it."""
        (c,) = self.logged("Claimed", claimId=claim_id)
        return tuple(c[n] for n in ("modelId", "inputRoot", "outputRoot", "prover", "nonce", "inputPosted"))

    def key(self, game_id: bytes) -> tuple[Any, ...]:
        """What the game is called."""
        (game,) = self.logged("Challenged", gameId=game_id)
        return game["claimId"], game["challenger"], game["salt"]

    def game(self, game_id: bytes) -> dict[str, Any]:
        """The game as the contract has it, with the newest `lo`, `hi` and `states` of the events, which must agree."""
        game: dict[str, Any] = self.view("games", game_id) | {"lo": b"", "hi": b"", "states": []}
        for name, values in self.events:
            if values.get("gameId") == game_id:
                if name in ("Opened", "Chosen", "Entered"):
                    game |= {"lo": values["lo"], "hi": values["hi"], "states": []}
                elif name == "Posted":
                    game |= {"states": list(values["states"])}
        ended = game["stage"] in (Stage.OPEN, Stage.PROVER_WON, Stage.CHALLENGER_WON)
        root = rules.commit(game["states"], game["length"], self.k) if game["stage"] == Stage.CHOOSE else b""
        assert game["range"] == (bytes(32) if ended else keccak256(game["lo"] + game["hi"] + root))
        return game

    def range(self, game_id: bytes) -> tuple[int, int, bytes, bytes]:
        """The disputed range, as the moves bring it."""
        game = self.game(game_id)
        return game["position"], game["length"], game["lo"], game["hi"]

    def stage(self, game_id: bytes) -> Stage:
        return Stage(self.view("games", game_id)["stage"])

    @property
    def burnt(self) -> int:
        return sum(c["burnt"] for c in self.logged("ClaimSettled"))

    def check_books(self) -> None:
        """I8: what the contract holds is what it owes and has burnt, to the wei."""
        bonds = PROVER_BOND * (len(self.logged("Claimed")) - len(self.logged("ClaimSettled")))
        bonds += CHALLENGER_BOND * len(self.logged("Challenged"))
        shares = sum(c["games"] * c["share"] for c in self.logged("ClaimSettled"))
        paid = sum(w["amount"] for w in self.logged("Withdrawn"))
        assert self.evm.balance(self.opml) == bonds + shares + self.burnt - paid + self.forced
        # What was freed and not yet paid is credit.
        freed = PROVER_BOND * len(self.logged("ClaimFinalised"))
        freed += sum(c["amount"] for c in self.logged("Collected"))
        assert sum(self.view("credit", account) for account in self.accounts) == freed - paid
        for c in self.logged("ClaimSettled"):
            assert c["games"] * c["share"] + c["burnt"] == PROVER_BOND
            assert c["burnt"] >= PROVER_BOND - PROVER_BOND // 2  # I10

    # What players do

    def register(self, run: Run, **changes: Any) -> bytes:
        model = run.model(**changes)
        self.send(self.other, "registerModel", tuple(model.values()), "")
        words = [v if isinstance(v, bytes) else v.to_bytes(32, "big") for v in model.values()]
        return keccak256(b"".join(words))

    def claim(self, run: Run, model_id: bytes, nonce: int = 0, sender: bytes | None = None) -> bytes:
        args = (model_id, run.data, run.output_root, nonce)
        receipt = self.send(sender or self.prover, "claim", *args, value=PROVER_BOND)
        return receipt.events[0][1]["claimId"]

    def challenge(self, claim_id: bytes, salt: int = 0, sender: bytes | None = None) -> bytes:
        args = (self.claim_of(claim_id), salt)
        receipt = self.send(sender or self.challenger, "challenge", *args, value=CHALLENGER_BOND)
        return receipt.events[0][1]["gameId"]

    def game_against(self, run: Run, **changes: Any) -> tuple[bytes, bytes]:
        """A claim of this run with one game open: the ids of both."""
        claim_id = self.claim(run, self.register(run, **changes))
        return claim_id, self.challenge(claim_id)

    def timeout(self, game_id: bytes, sender: bytes | None = None) -> Receipt:
        return self.send(sender or self.other, "timeout", self.key(game_id))

    def collect(self, account: bytes, claims: list[bytes] | None = None, games: list[bytes] | None = None) -> int:
        """The account withdraws what it has won in these; what it got."""
        before = self.evm.balance(account)
        self.send(account, "withdraw", account, claims or [], [self.key(game) for game in games or []])
        return self.evm.balance(account) - before

    def cannot_collect(
        self, reason: str, account: bytes, claims: list[bytes] | None = None, games: list[bytes] | None = None
    ) -> None:
        self.refuses(reason, account, "withdraw", account, claims or [], [self.key(game) for game in games or []])

    def states(self, run: Run, machine: list[State] | None, length: int, position: int = 0) -> list[bytes]:
        """The post for a range."""
        inner = [position + i for i in rules.inner_boundaries(length, self.k)]
        return [run.unit(i) if machine is None else machine[i].hash() for i in inner]

    def choose(self, game_id: bytes, segment: int) -> Move:
        """The move that chooses a segment of the last post."""
        opening = rules.opening(self.game(game_id)["states"], segment)
        return "choose", (self.key(game_id), self.range(game_id), segment, list(opening))


class Player:
    """Makes a prover's or a challenger's next move in one game, each from its own run."""

    def __init__(self, world: World, run: Run, game_id: bytes) -> None:
        self.world, self.run, self.id = world, run, game_id
        self.machine: list[State] | None = None
        self.tile = 0

    def answer(self) -> Move:
        """The prover's next move."""
        world, run, key = self.world, self.run, self.world.key(self.id)
        game, range_ = world.game(self.id), world.range(self.id)
        stage, position, length = game["stage"], game["position"], game["length"]
        if stage == Stage.OPEN:
            paths = run.input_path(), run.unit(run.units), run.output_path()
            return "open", (key, world.claim_of(key[0]), *paths, world.states(run, None, run.units))
        if stage == Stage.POST:
            return "post", (key, range_, world.states(run, self.machine, length, position))
        if stage == Stage.ENTER:
            self.machine, self.tile = run.machine(position), position
            end, steps = self.machine[-1], len(self.machine) - 1
            ends = steps, end.encode(), end.memory.node(MODEL_LEVEL, 1)
            return "enter", (key, world.claim_of(key[0]), range_, *ends, world.states(run, self.machine, steps))
        assert stage == Stage.STEP
        assert self.machine is not None
        return "step", (key, game["hi"], prove_step(self.machine[position]))

    def send_answer(self, sender: bytes) -> Receipt:
        """Makes the prover's next move."""
        name, args = self.answer()
        return self.world.send(sender, name, *args)

    def choice(self, tile: int) -> Move:
        """The challenger's next move: the first segment with whose end it disagrees."""
        game, run = self.world.game(self.id), self.run
        position, length = game["position"], game["length"]
        p = rules.parts(length, self.world.k)
        ends = [position + rules.boundary(length, p, j + 1) for j in range(p)]
        if game["phase"] == Phase.TILE:
            mine = [run.unit(end) for end in ends]
        else:
            machine = run.machine(tile)
            mine = [machine[min(end, len(machine) - 1)].hash() for end in ends]
        claimed = [*game["states"], game["hi"]]
        return self.world.choose(self.id, next(j for j in range(p) if claimed[j] != mine[j]))


def address(text: str) -> bytes:
    """An address as the events have it."""
    return bytes.fromhex(text[2:])


def play(
    world: World, prover: Run, challenger: Run, game_id: bytes, segments: list[int] | None = None, until: Any = None
) -> Stage:
    """Plays to the end, or until `until(game)`; `segments` are a challenger's choices that follow no run."""
    prover_side, challenger_side = Player(world, prover, game_id), Player(world, challenger, game_id)
    choices = list(segments or [])
    claim_id, challenger_address, _ = world.key(game_id)
    prover_address = world.claim_of(claim_id)[3]
    while (stage := world.stage(game_id)) < Stage.PROVER_WON:
        game = world.game(game_id)
        if until is not None and until(game):
            return stage
        if stage in PROVER_TURNS:
            prover_side.send_answer(address(prover_address))
            continue
        p = rules.parts(game["length"], world.k)
        if segments is None:
            name, args = challenger_side.choice(prover_side.tile)
        else:
            name, args = world.choose(game_id, choices.pop(0) % p if choices else p - 1)
        world.send(address(challenger_address), name, *args)
    return stage
