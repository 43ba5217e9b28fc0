"""A computation that costs nothing: roots are hashes of numbers, and a machine whose memory root is a hash chain.

States are encoded like the real machine's, and the toy's step has the real one's shape (a total function of the state
that a witness brings), so that the court's rules about start and end states apply unchanged.
"""

from dataclasses import dataclass
from functools import cached_property, lru_cache

from dispute_referee import Account, Referee

from opml.dispute.game import GameView, Role
from opml.dispute.moves import Timeout
from opml.dispute.player import Player
from opml.errors import RevertError
from opml.header import ModelHeader
from vm.constants import HALTED, MODEL_LEVEL, REG_A0, REG_A1, REGISTERS, RUNNING, STATE_BYTES
from vm.errors import WitnessLengthError
from vm.keccak import keccak256
from vm.merkle import ZERO, encode_path
from vm.state import StateHeader, decode_state

HALF = MODEL_LEVEL - 1
INPUT = b"the input of a toy model".ljust(32)
ENTRY = 0x40
WINDOW, CLOCK = 1000, 100


def number_hash(name: str, *numbers: int) -> bytes:
    return keccak256(name.encode() + b"".join(n.to_bytes(8, "big") for n in numbers))


@dataclass(frozen=True)
class ToyTrace:
    """`tiles` units; unit m takes `steps + m % vary` steps."""

    tiles: int
    steps: int
    vary: int = 1
    stride: int = 1
    max_steps: int = 1 << 20

    def steps_of(self, m: int) -> int:
        return self.steps + m % self.vary

    @cached_property
    def header(self) -> ModelHeader:
        model_root = keccak256(ZERO[HALF] * 2)
        sizes = (ENTRY, self.tiles, self.stride, self.max_steps)
        return ModelHeader(model_root, bytes(32), *sizes, 0, 32, 32 << HALF, 32, WINDOW, CLOCK, HALF, HALF)

    @cached_property
    def input_root(self) -> bytes:
        node = INPUT
        for level in range(HALF):
            node = keccak256(node + ZERO[level])
        return node

    def input_path(self) -> bytes:
        return encode_path([ZERO[HALF]], HALF)

    @cached_property
    def output_root(self) -> bytes:
        return number_hash("output", self.tiles)

    def output_path(self) -> bytes:
        return encode_path([self.input_root], HALF)

    @lru_cache(maxsize=4096)  # noqa: B019 (they are few, and equal ones are one)
    def tile_root(self, m: int) -> bytes:
        assert 0 <= m <= self.tiles
        if m == 0:
            return keccak256(self.input_root + ZERO[HALF])
        return keccak256(self.input_root + self.output_root) if m == self.tiles else number_hash("tile", m)

    def machine(self, m: int) -> "ToyRun":
        assert 0 <= m < self.tiles
        return _run(self, m)

    def verify(self, witness: bytes) -> tuple[bytes, bytes]:
        """The step as the court executes it."""
        if len(witness) != STATE_BYTES:
            raise WitnessLengthError("not one state")
        return keccak256(witness), self.step(decode_state(witness)).hash()

    def step(self, state: StateHeader) -> StateHeader:
        if state.status != RUNNING:
            return state
        m, t = state.registers[REG_A1 + 1], (state.pc - ENTRY) // 4
        if t == 0:
            m = state.registers[REG_A0] // self.stride
        registers = list(state.registers)
        registers[REG_A1 + 1] = m
        if m < self.tiles and t + 1 == self.steps_of(m):
            registers[REG_A0] = 0
            return StateHeader(keccak256(self.tile_root(m + 1) + scratch(m)), registers, state.pc, HALTED)
        pc = (state.pc + 4) % 2**64
        return StateHeader(keccak256(state.root + t.to_bytes(8, "big", signed=True)), registers, pc, RUNNING)


def scratch(m: int) -> bytes:
    return number_hash("scratch", m)


class ToyRun:
    """All states of one unit."""

    def __init__(self, trace: ToyTrace, m: int) -> None:
        registers = [0] * REGISTERS
        registers[REG_A0], registers[REG_A1] = m * trace.stride, trace.stride
        self._states = [StateHeader(keccak256(trace.tile_root(m) + ZERO[MODEL_LEVEL]), registers, ENTRY, RUNNING)]
        while self._states[-1].status == RUNNING:
            self._states.append(trace.step(self._states[-1]))
        self.scratch_root = scratch(m)

    @property
    def steps(self) -> int:
        return len(self._states) - 1

    def encode(self, t: int) -> bytes:
        return self._states[min(t, self.steps)].encode()

    def hash(self, t: int) -> bytes:
        return keccak256(self.encode(t))

    def witness(self, t: int) -> bytes:
        return self.encode(t)


@lru_cache(maxsize=256)
def _run(trace: ToyTrace, m: int) -> ToyRun:
    return ToyRun(trace, m)


PROVER, CHALLENGER, STRANGER = Account("prover"), Account("challenger"), Account("stranger")


def toy_court(trace: ToyTrace, k: int) -> tuple[Referee, bytes]:
    """A court that knows the toy's model, and the model's id."""
    court = Referee(k, step=trace.verify)
    court.register_model(trace.header, "", STRANGER)
    return court, trace.header.model_id


def claim_toy(court: Referee, model_id: bytes, trace: ToyTrace, output_root: bytes, nonce: int = 0) -> bytes:
    return court.claim(model_id, INPUT, output_root, nonce, PROVER)[0]


def play_out(court: Referee, game_id: bytes, players: dict[Role, Player]) -> GameView:
    """Plays a game to its end. Who has no move, or one that the court refuses, lets its clock run out."""
    accounts = {Role.PROVER: PROVER, Role.CHALLENGER: CHALLENGER}
    while (view := court.game_view(game_id)).winner is None:
        for role, player in players.items():
            move = player(view, court.now())
            if move is None:
                continue
            assert not isinstance(move, Timeout) or view.turn is role.other
            try:
                court.move(game_id, move, accounts[role])
                break
            except RevertError:
                assert court.game_view(game_id) == view
        else:
            court.advance(view.time_left(court.now()) + 1)
    return view
