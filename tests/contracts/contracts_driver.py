"""A small real model in the machine, and players that make a game's moves by hand.

The guest writes one leaf per tile from the input and the tile's number, touches its scratch, and exits. A `Run` is the
honest computation; a `Lie` differs from it from one tile, and within that tile from one instruction on.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import pytest
from contracts_evm import ETHER, Evm, Receipt, Reverted, address_of, artifact

from opml.dispute import rules
from opml.dispute.game import Phase, Stage
from vm.constants import MODEL_LEVEL
from vm.isa import encode
from vm.keccak import keccak256
from vm.memory import Memory
from vm.merkle import encode_path, subtree_root
from vm.state import State, entry_state
from vm.step import DirectAccess, prove_step, step

INPUT, OUTPUT = 1 << 21, 1 << 22
INPUT_BYTES, INPUT_LEVEL = 40, 1
PROVER_BOND, CHALLENGER_BOND = ETHER + 7, ETHER // 2 + 3
PROVER_TURNS = (Stage.OPEN, Stage.POST, Stage.ENTER, Stage.STEP)

CODE = [
    encode("beq", rs1=11, imm=4 * 12),  # loop: until the count is 0
    encode("slli", rd=5, rs1=10, imm=5),
    encode("lui", rd=6, imm=OUTPUT),
    encode("add", rd=5, rs1=5, rs2=6),
    encode("lui", rd=7, imm=INPUT),
    encode("ld", rd=28, rs1=7, imm=8),
    encode("mul", rd=28, rs1=28, rs2=10),
    encode("addi", rd=28, rs1=28, imm=1),
    encode("sd", rs1=5, rs2=28),
    encode("addi", rd=10, rs1=10, imm=1),
    encode("addi", rd=11, rs1=11, imm=-1),
    encode("jal", imm=-4 * 11),
    encode("addi", rd=5, imm=1),  # done: a word to the scratch, exit(0)
    encode("slli", rd=5, rs1=5, imm=39),
    encode("sd", rs1=5, rs2=28, imm=64),
    encode("addi", rd=10),
    encode("addi", rd=17, imm=93),
    encode("ecall"),
]
LOOP_STEPS, FIXED_STEPS = 12, 7


def output_level(tiles: int) -> int:
    return (tiles - 1).bit_length()


@dataclass(frozen=True)
class Run:
    """The honest computation of `units` of `stride` tiles each."""

    units: int
    stride: int = 1
    data: bytes = bytes(range(40))

    @property
    def tiles(self) -> int:
        return self.units * self.stride

    @cached_property
    def blank(self) -> Memory:
        memory = Memory()
        memory.write(0, b"".join(word.to_bytes(4, "little") for word in CODE))
        memory.write(1 << 25, b"weights" * 9)
        return memory

    @cached_property
    def memories(self) -> list[Memory]:
        """Before each unit, and after the last."""
        memory = self.blank.fork()
        memory.write(INPUT, self.data)
        memories = [memory.fork()]
        factor = int.from_bytes(self.data[8:16], "little")
        for tile in range(self.tiles):
            memory.store(OUTPUT + 32 * tile, 8, self.leaf(tile, (factor * tile + 1) % (1 << 64)))
            if (tile + 1) % self.stride == 0:
                memories.append(memory.fork())
        return memories

    def leaf(self, tile: int, value: int) -> int:
        return value

    def model(self, **changes: Any) -> dict[str, Any]:
        level = output_level(self.tiles)
        return {
            "modelRoot": self.blank.node(MODEL_LEVEL, 0),
            "guestRoot": self.blank.node(15, 0),
            "entry": 0,
            "tiles": self.units,
            "stride": self.stride,
            "maxSteps": LOOP_STEPS * self.stride + FIXED_STEPS,
            "inputAddress": INPUT,
            "inputBytes": INPUT_BYTES,
            "outputAddress": OUTPUT,
            "outputBytes": 32 * self.tiles,
            "window": 1000,
            "clock": 100,
            "inputLevel": INPUT_LEVEL,
            "outputLevel": level,
        } | changes

    def input_path(self) -> bytes:
        index = INPUT >> (5 + INPUT_LEVEL)
        return encode_path(self.blank.siblings(INPUT_LEVEL, index, MODEL_LEVEL), INPUT_LEVEL)

    @property
    def input_root(self) -> bytes:
        return subtree_root(self.data, INPUT_LEVEL)

    @property
    def output_root(self) -> bytes:
        level = output_level(self.tiles)
        return self.memories[-1].node(level, OUTPUT >> (5 + level))

    def output_path(self) -> bytes:
        level = output_level(self.tiles)
        return encode_path(self.memories[-1].siblings(level, OUTPUT >> (5 + level), MODEL_LEVEL), level)

    def unit(self, m: int) -> bytes:
        """S_m."""
        return self.memories[m].node(MODEL_LEVEL, 0)

    def machine(self, m: int) -> list[State]:
        """The machine's states within unit `m`, from its start until it has halted."""
        memory = Memory()
        source = self.memories[m]
        for page in {0, INPUT >> 12, *((OUTPUT + 32 * t) >> 12 for t in range(self.tiles))}:
            memory.write(page << 12, source.read(page << 12, 4096))
        memory.write(1 << 25, source.read(1 << 25, 4096))
        state = entry_state(memory, 0, m * self.stride, self.stride)
        states = [state.fork()]
        while state.status == 0:
            step(DirectAccess(state))
            states.append(state.fork())
        return states


@dataclass(frozen=True)
class Lie(Run):
    """As the honest run, but the leaf of tile `wrong` holds another value, written by instruction `at` of its unit."""

    wrong: int = 0
    at: int = 9

    def leaf(self, tile: int, value: int) -> int:
        return value ^ 0x100 if tile == self.wrong else value

    def machine(self, m: int) -> list[State]:
        states = super().machine(m)
        if m == self.wrong // self.stride:
            for state in states[self.at + 1 :]:
                address = OUTPUT + 32 * self.wrong
                state.memory.write(address, self.memories[m + 1].read(address, 32))
        return states


class World:
    """A chain with the contracts on it, two accounts and a registered model."""

    def __init__(self, k: int = 4) -> None:
        self.evm = Evm()
        self.prover, self.challenger, self.other = (address_of(name) for name in ("prover", "challenger", "other"))
        self.accounts = {self.prover, self.challenger, self.other}
        self.evm.fund(*self.accounts)
        self.verifier = self.evm.deploy(self.other, artifact("StepVerifier"))
        self.opml = self.evm.deploy(self.other, artifact("Opml"), self.verifier, PROVER_BOND, CHALLENGER_BOND, k)
        self.k = k
        self.claims: set[bytes] = set()
        self.games: set[bytes] = set()
        self.gas: list[tuple[str, int]] = []

    def send(self, sender: bytes, name: str, *args: Any, value: int = 0) -> Receipt:
        """A transaction to the contract, after which its books must balance."""
        self.accounts.add(sender)
        receipt = self.evm.transact(sender, self.opml, self.evm.abi.encode(name, args), value)
        self.gas.append((name, receipt.gas))
        for event, values in receipt.events:
            self.claims |= {values["claimId"]} if event == "Claimed" else set()
            self.games |= {values["gameId"]} if event == "Challenged" else set()
        self.check_books()
        return receipt

    def refuses(self, reason: str, sender: bytes, name: str, *args: Any, value: int = 0) -> None:
        """The transaction reverts, for this reason."""
        with self.evm.rollback(), pytest.raises(Reverted) as error:
            self.evm.transact(sender, self.opml, self.evm.abi.encode(name, args), value)
        assert error.value.name == reason, f"{name}: {error.value.name} instead of {reason}"

    def view(self, name: str, *args: Any) -> Any:
        return self.evm.call(self.opml, name, *args)

    def game(self, game_id: bytes) -> Any:
        return self.view("games", game_id)

    def stage(self, game_id: bytes) -> Stage:
        return Stage(self.game(game_id)["stage"])

    def check_books(self) -> None:
        """What the contract holds is what it owes and has burnt, to the wei."""
        owed = self.view("burnt") + sum(self.view("credit", account) for account in self.accounts)
        claims = {claim_id: self.view("claims", claim_id) for claim_id in self.claims}
        for c in claims.values():
            if c["status"] == 1 or (c["status"] == 3 and c["openGames"]):
                owed += PROVER_BOND
        for game_id in self.games:
            game = self.game(game_id)
            c = claims[game["claimId"]]
            if game["stage"] < Stage.PROVER_WON:
                owed += CHALLENGER_BOND
            elif game["stage"] == Stage.CHALLENGER_WON and not c["openGames"] and not game["collected"]:
                owed += PROVER_BOND // 2 // c["lostGames"]
        assert self.evm.balance(self.opml) == owed

    @contextmanager
    def undone(self) -> Iterator[None]:
        """Forgets, at its end, all that happened inside."""
        claims, games = set(self.claims), set(self.games)
        try:
            with self.evm.rollback():
                yield
        finally:
            self.claims, self.games = claims, games

    # What players do

    def register(self, run: Run, **changes: Any) -> bytes:
        model = run.model(**changes)
        self.send(self.other, "registerModel", tuple(model.values()), "")
        words = [v if isinstance(v, bytes) else v.to_bytes(32, "big") for v in model.values()]
        return keccak256(b"".join(words))

    def claim(self, run: Run, model_id: bytes, nonce: int = 0, sender: bytes | None = None) -> bytes:
        args = (model_id, run.data, run.output_root, nonce, run.input_path())
        receipt = self.send(sender or self.prover, "claim", *args, value=PROVER_BOND)
        return receipt.output

    def challenge(self, claim_id: bytes, salt: int = 0, sender: bytes | None = None) -> bytes:
        return self.send(sender or self.challenger, "challenge", claim_id, salt, value=CHALLENGER_BOND).output

    def game_against(self, run: Run, **changes: Any) -> tuple[bytes, bytes]:
        """A claim of this run with one game open: the ids of both."""
        claim_id = self.claim(run, self.register(run, **changes))
        return claim_id, self.challenge(claim_id)

    def states(self, run: Run, machine: list[State] | None, length: int, position: int = 0) -> list[bytes]:
        """The post for a range."""
        inner = [position + i for i in rules.inner_boundaries(length, self.k)]
        return [run.unit(i) if machine is None else machine[i].hash() for i in inner]


class Player:
    """Makes a prover's or a challenger's next move in one game, each from its own run."""

    def __init__(self, world: World, run: Run, game_id: bytes) -> None:
        self.world, self.run, self.id = world, run, game_id
        self.machine: list[State] | None = None
        self.tile = 0
        self.posted: list[bytes] = []

    def answer(self) -> tuple[str, tuple[Any, ...]]:
        """The prover's next move."""
        game, run = self.world.game(self.id), self.run
        stage, position, length = game["stage"], game["position"], game["length"]
        if stage == Stage.OPEN:
            return "open", (self.id, run.unit(run.units), run.output_path(), self.world.states(run, None, run.units))
        if stage == Stage.POST:
            return "post", (self.id, position, length, self.world.states(run, self.machine, length, position))
        if stage == Stage.ENTER:
            self.machine, self.tile = run.machine(position), position
            end = self.machine[-1]
            steps = len(self.machine) - 1
            states = self.world.states(run, self.machine, steps)
            return "enter", (self.id, position, steps, end.encode(), end.memory.node(MODEL_LEVEL, 1), states)
        assert stage == Stage.STEP
        assert self.machine is not None
        return "step", (self.id, prove_step(self.machine[position]))

    def send_answer(self, sender: bytes) -> Receipt:
        """Makes the prover's next move."""
        name, args = self.answer()
        return self.world.send(sender, name, *args)

    def choice(self, states: list[bytes], tile: int, segment: int | None = None) -> tuple[str, tuple[Any, ...]]:
        """The challenger's next move: the first segment with whose end it disagrees, or the one given."""
        game, run = self.world.game(self.id), self.run
        position, length = game["position"], game["length"]
        p = rules.parts(length, self.world.k)
        if segment is None:
            ends = [position + rules.boundary(length, p, j + 1) for j in range(p)]
            if game["phase"] == Phase.TILE:
                mine = [run.unit(end) for end in ends]
            else:
                machine = run.machine(tile)
                mine = [machine[min(end, len(machine) - 1)].hash() for end in ends]
            segment = next(j for j in range(p) if [*states, game["hi"]][j] != mine[j])
        opening = list(rules.opening(states, segment))
        return "choose", (self.id, position, length, segment, opening)


def play(
    world: World, prover: Run, challenger: Run, game_id: bytes, segments: list[int] | None = None, until: Any = None
) -> Stage:
    """Plays to the end, or until `until(game)`; `segments` are a challenger's choices that follow no run."""
    prover_side, challenger_side = Player(world, prover, game_id), Player(world, challenger, game_id)
    states: list[bytes] = []
    choices = list(segments or [])
    sender = world.view("claims", world.game(game_id)["claimId"])["prover"]
    challenger_address = bytes.fromhex(world.game(game_id)["challenger"][2:])
    prover_address = bytes.fromhex(sender[2:])
    while (stage := world.stage(game_id)) < Stage.PROVER_WON:
        game = world.game(game_id)
        if until is not None and until(game):
            return stage
        if stage in PROVER_TURNS:
            receipt = prover_side.send_answer(prover_address)
        else:
            p = rules.parts(game["length"], world.k)
            segment = choices.pop(0) % p if choices else (None if segments is None else p - 1)
            name, args = challenger_side.choice(states, prover_side.tile, segment)
            receipt = world.send(challenger_address, name, *args)
        states = next((list(values["states"]) for event, values in receipt.events if event == "Posted"), states)
    return stage
