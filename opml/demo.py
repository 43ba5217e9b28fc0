"""The whole protocol in miniature: honest and lying parties on an embedded chain, every transaction recorded."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.base import Receipt
from opml.chain.client import OpmlClient
from opml.chain.deploy import deploy
from opml.dispute.driver import turn, withdraw
from opml.dispute.faults import Bluff, flip_natively, with_fault
from opml.dispute.game import ClaimStatus, GameView, Role
from opml.dispute.moves import Move
from opml.dispute.player import player
from opml.dispute.trace import Trace
from opml.errors import DisputeError
from opml.graph import Array
from opml.model import Inference, Model
from opml.program import Kind
from opml.prover import register
from opml.terms import POSTABLE_BYTES
from vm.constants import LEAF_BYTES
from vm.isa import disassemble

MAX_TURNS = 1000
Fault = Callable[[Inference, int], Bluff]
"""What a faulty party believes about an inference; a seed chooses where the fault is."""
HONEST = "an honest claim becomes final"
LYING = {Role.PROVER: "a lying prover is caught", Role.CHALLENGER: "a lying challenger is beaten"}


@dataclass(frozen=True)
class Sent:
    """A transaction: who sent it, the contract's method, its gas and price (wei), seconds with the thinking before it.

    A move of a game comes with the game as it was before it.
    """

    who: Role
    method: str
    gas: int
    cost: int
    seconds: float
    view: GameView | None = None
    move: Move | None = None


@dataclass
class Scene:
    """What happened to one claim.

    `liar` is None where both are honest. A game ends at instruction `step` of the `steps` of unit `tile`. `profit` is
    what each party has won or lost besides its gas, in wei.
    """

    name: str
    model: Model
    liar: Role | None
    outputs: dict[str, Array] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    status: ClaimStatus = ClaimStatus.PENDING
    winner: Role | None = None
    tile: int = 0
    step: int = 0
    steps: int = 0
    instruction: str = ""
    profit: dict[Role, int] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def gas(self) -> int:
        """Gas of all transactions of both parties; the model's registration, which is once for all claims, is apart."""
        return sum(sent.gas for sent in self.claimed)

    @property
    def claimed(self) -> list[Sent]:
        """The transactions from the claim on."""
        return [sent for sent in self.sent if sent.method != "registerModel"]


class Party:
    """The client as one party uses it: a `Court` that tells of each transaction."""

    def __init__(self, role: Role, client: OpmlClient, account: Any, tell: Callable[[Sent], None]) -> None:
        self.role = role
        self.account = account
        self._client = client
        self._tell = tell
        self._clock = time.perf_counter()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._client, name)

    def register_model(self, *args: Any) -> Receipt:
        return self._told("registerModel", self._client.register_model(*args))

    def claim(self, *args: Any) -> tuple[bytes, Receipt]:
        claim_id, receipt = self._client.claim(*args)
        return claim_id, self._told("claim", receipt)

    def claim_by_root(self, *args: Any) -> tuple[bytes, Receipt]:
        claim_id, receipt = self._client.claim_by_root(*args)
        return claim_id, self._told("claimByRoot", receipt)

    def challenge(self, *args: Any) -> tuple[bytes, Receipt]:
        game_id, receipt = self._client.challenge(*args)
        return game_id, self._told("challenge", receipt)

    def move(self, game_id: bytes, move: Move, account: Any) -> Receipt:
        view = self._client.game_view(game_id)
        return self._told(move.method, self._client.move(game_id, move, account), view, move)

    def withdraw(self, *args: Any) -> Receipt:
        return self._told("withdraw", self._client.withdraw(*args))

    def start(self) -> None:
        """The clock of the next transaction starts now."""
        self._clock = time.perf_counter()

    def _told(self, method: str, receipt: Receipt, view: GameView | None = None, move: Move | None = None) -> Receipt:
        seconds = time.perf_counter() - self._clock
        self._tell(Sent(self.role, method, receipt.gas_used, receipt.cost, seconds, view, move))
        return receipt


class Arena:
    """A chain with the contracts on it and two accounts, on which scenes are played one after the other.

    `k` is the number of parts per round; `watch` is called after each transaction.
    """

    def __init__(self, k: int, watch: Callable[[Sent], None] = lambda sent: None) -> None:
        self.chain = connect()
        deployer, prover, challenger = dev_accounts()[:3]
        self.deployment = deploy(self.chain, deployer, k=k)
        self.client = OpmlClient(self.chain, self.deployment.address)
        self._watch = watch
        self._sent: list[Sent] = []
        self.prover = Party(Role.PROVER, self.client, prover, self._tell)
        self.challenger = Party(Role.CHALLENGER, self.client, challenger, self._tell)
        self._nonce = 0

    @property
    def parties(self) -> dict[Role, Party]:
        """Both parties by role."""
        return {party.role: party for party in (self.prover, self.challenger)}

    def honest_claim(self, model: Model, inputs: dict[str, Array]) -> Scene:
        """Nobody objects: the window passes, and the claim is final."""
        scene = Scene(HONEST, model, None)
        before = self._begin()
        inference = model.infer(inputs)
        claim_id = self._claim(inference, inference.output_root)
        return self._end(scene, before, inference, claim_id, self.prover)

    def dispute(
        self, model: Model, inputs: dict[str, Array], liar: Role, seed: int = 0, fault: Fault | None = None
    ) -> Scene:
        """One party has one bit of an intermediate tensor wrong, and lies about the machine; the other is honest.

        `fault` chooses the bit: `lie` by default.
        """
        scene = Scene(LYING[liar], model, liar)
        inference = model.infer(inputs, keep_tensors=True)
        false = (fault or lie)(inference, seed)
        before = self._begin()
        traces: dict[Role, Trace] = {liar: false, liar.other: inference.trace}
        claim_id = self._claim(inference, traces[Role.PROVER].output_root)
        self.challenger.start()
        game_id, _ = self.challenger.challenge(claim_id, 0, self.challenger.account)
        view = self._play(game_id, traces)
        run = inference.trace.machine(view.tile)
        state = run.state(view.position)
        scene.winner, scene.tile, scene.step, scene.steps = view.winner, view.tile, view.position, run.steps
        scene.instruction = disassemble(state.memory.load(state.pc, 4))
        return self._end(scene, before, inference, claim_id, self.parties[liar.other])

    def _begin(self) -> tuple[float, dict[Role, int]]:
        self._sent = []
        return time.perf_counter(), self._balances()

    def _claim(self, inference: Inference, output_root: bytes) -> bytes:
        self.prover.start()
        model, account = inference.model, self.prover.account
        register(self.prover, account, model)
        self._nonce += 1
        if len(inference.posted) > POSTABLE_BYTES:
            roots = (inference.input_root, output_root)
            return self.prover.claim_by_root(model.model_id, *roots, self._nonce, "held by both", account)[0]
        return self.prover.claim(model.model_id, inference.posted, output_root, self._nonce, account)[0]

    def _play(self, game_id: bytes, traces: dict[Role, Trace]) -> GameView:
        """Both sides in turn until one has won."""
        players = {role: player(trace, role) for role, trace in traces.items()}
        for _ in range(MAX_TURNS):
            for role, party in self.parties.items():
                party.start()
                view = turn(party, party.account, game_id, players[role])
                if view.winner:
                    return view
        raise DisputeError("the game does not end")

    def _end(
        self, scene: Scene, before: tuple[float, dict[Role, int]], inference: Inference, claim_id: bytes, paid: Party
    ) -> Scene:
        """Final or rejected, and the money where it belongs."""
        claim = self.client.claim_view(claim_id)
        if claim.status is ClaimStatus.PENDING:
            self.chain.advance(max(claim.deadline - self.client.now(), 0) + 1)
        paid.start()
        withdraw(paid, paid.account, claim_id)
        scene.status = self.client.claim_view(claim_id).status
        scene.outputs, scene.sent, scene.seconds = inference.outputs, self._sent, time.perf_counter() - before[0]
        gas = {role: sum(sent.cost for sent in self._sent if sent.who is role) for role in Role}
        scene.profit = {role: after - before[1][role] + gas[role] for role, after in self._balances().items()}
        return scene

    def _balances(self) -> dict[Role, int]:
        return {role: self.chain.balance(party.account.address) for role, party in self.parties.items()}

    def _tell(self, sent: Sent) -> None:
        self._sent.append(sent)
        self._watch(sent)


def lie(inference: Inference, seed: int) -> Bluff:
    """A false trace with a false output: a bit of a tensor that was dear to compute is flipped, and a run bluffed."""
    chance = random.Random(seed)
    program, trace = inference.model.image.program, inference.trace
    dear = max(node.cost for node in program.nodes) // 16
    nodes = [n for n in program.nodes if n.cost >= dear and program.tensors[n.output].kind is Kind.VALUE]
    for _ in range(64 if nodes else 0):
        node = chance.choice(nodes)
        # The top byte of an element, in a float its sign and exponent: what reads it cannot but notice; but who does?
        size = node.out_type.dtype.size
        offset = size * chance.randrange(node.out_type.elements) + size - 1
        faulty = with_fault(trace, program.tensors[node.output].address + offset, bit=chance.randrange(8))
        if faulty.output_root != inference.output_root:
            unit = (node.first_tile + offset // LEAF_BYTES) // trace.header.stride
            return Bluff(faulty, step=chance.randrange(trace.machine(unit).steps))
    raise DisputeError("no flipped bit changes the output of this model on this input", "try another input or seed")


def random_lie(inference: Inference, seed: int) -> Bluff:
    """As `lie`, with a bit in a random tile of the whole program; what follows is computed by the native kernels.

    So it takes about as long as an inference and a hash pass, for a model of any size.
    """
    chance = random.Random(seed)
    program = inference.model.image.program
    for _ in range(64):
        tile = chance.randrange(inference.memory.written_tiles)
        node, (_, leaf) = program.node_of_tile(tile), program.place_of_tile(tile)
        size = node.out_type.dtype.size
        element = chance.randrange(min(LEAF_BYTES, node.out_type.nbytes - leaf * LEAF_BYTES) // size)
        faulty = flip_natively(inference, tile, size * element + size - 1, chance.randrange(8))
        if faulty.output_root != inference.output_root:
            unit = tile // inference.model.header.stride
            return Bluff(faulty, step=chance.randrange(inference.trace.machine(unit).steps))
    raise DisputeError("no flipped bit changes the output of this model on this input", "try another input or seed")


def scenes(
    arena: Arena, two_phase: Model, one_phase: Model, inputs: dict[str, Array], seed: int
) -> Iterator[tuple[Model, str, Callable[[], Scene]]]:
    """The scenes of the demonstration, to be played in order: model, title, play. Both models take the same inputs."""
    yield two_phase, HONEST, partial(arena.honest_claim, two_phase, inputs)
    for model in (two_phase, one_phase):
        for liar in (Role.PROVER, Role.CHALLENGER):
            yield model, LYING[liar], partial(arena.dispute, model, inputs, liar, seed)
