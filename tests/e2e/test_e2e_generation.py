"""An answer of several tokens is one claim: a lie in any tile of any token is found, on a real EVM."""

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from dispute_repeated import decoder
from test_e2e_faults import World

from opml import guest
from opml.chain.base import Receipt
from opml.commitment import ModelMemory
from opml.dispute.driver import withdraw
from opml.dispute.faults import Bluff, flip_natively
from opml.dispute.game import ClaimStatus, GameView, Phase, Role
from opml.dispute.liars import LIARS, Spot
from opml.dispute.moves import Move
from opml.dispute.player import player, should_challenge
from opml.dispute.trace import ModelTrace
from opml.generation import said_in
from opml.image import build_image, write_image
from opml.model import Inference, Model, load
from opml.program import Program, build_program
from opml.prover import register

COUNT, PROMPT, NEW = 40, [3, 4, 17], 9
# Iterations that take place: the last token is not fed back.
TIMES = len(PROMPT) + NEW - 1


class Scene(World):
    """The decoder, its answer to a prompt, and what the games about it cost."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self.spent, transact = 0, self.chain.transact

        def metered(*arguments: Any, **options: Any) -> Receipt:
            receipt = transact(*arguments, **options)
            self.spent += receipt.gas_used
            return receipt

        self.chain.transact = metered  # type: ignore[method-assign]
        self.path = folder / "decoder.opml"
        write_image(build_image(build_program(decoder(COUNT)), guest.load(), window=3600, clock=3600), self.path)
        self.model = load(self.path)
        register(self.client, self.accounts[Role.PROVER], self.model)
        done = self.model.generate(PROMPT, NEW)
        assert len(done.tokens) == NEW
        self.answer = done.inference

    @property
    def program(self) -> Program:
        return self.model.image.program

    def tile(self, op: str, iteration: int, which: int = 0) -> int:
        """The first tile of the `which`-th node of an operator in an iteration."""
        nodes = [node for node in self.program.nodes if node.op == op]
        return iteration * self.program.body_tiles + nodes[which].first_tile


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return Scene(tmp_path_factory.mktemp("generation"))


def shown(name: str, view: GameView, seconds: float, gas: int) -> None:
    print(f"{name}: tile {view.tile}, {view.phase.name.lower()} {view.position}, {gas:,} gas, {seconds:.2f} s")


def other_length(answer: Inference, times: int) -> ModelTrace:
    """The trace of one who runs another number of iterations than the claim's input says."""
    inputs = {"prompt": np.zeros(COUNT, np.int32), "prompt_length": np.array([len(PROMPT)], np.int32)}
    inputs["prompt"][: len(PROMPT)] = PROMPT
    memory = answer.model.infer(inputs | {"length": np.array([times], np.int32)}).memory
    true = next(r for r in answer.memory.regions if r.address == memory.input.address)
    regions = [true if region.address == true.address else region for region in memory.regions]
    return ModelTrace(answer.model.header, ModelMemory(regions, memory.input, memory.output, memory.tiles))


def flipping(op: str, iteration: int, which: int = 0) -> Callable[[Scene], tuple[ModelTrace, int]]:
    """A bit of a tile that changes the answer is flipped; what follows is computed from it."""

    def make(scene: Scene) -> tuple[ModelTrace, int]:
        tile = scene.tile(op, iteration, which)
        for byte, bit in ((3, 7), (7, 7), (3, 6), (11, 7), (15, 7), (0, 0), (0, 1), (0, 2)):
            if byte < min(32, scene.program.node_of_tile(tile).out_type.nbytes):
                faulty = flip_natively(scene.answer, tile, byte, bit)
                if faulty.output_root != scene.answer.output_root:
                    return faulty, tile
        raise AssertionError("no bit there changes the answer")

    return make


def running(times: int) -> Callable[[Scene], tuple[ModelTrace, int]]:
    """Who writes a zero leaf, a token 0, say, writes nothing: the lie begins with the first that is none."""

    def make(scene: Scene) -> tuple[ModelTrace, int]:
        truth, faulty = scene.answer.trace, other_length(scene.answer, times)
        start = min(times, TIMES) * scene.program.body_tiles
        tiles = range(start, start + scene.program.body_tiles)
        return faulty, next(m for m in tiles if faulty.tile_root(m + 1) != truth.tile_root(m + 1))

    return make


# Where the lie is: the trace that follows from it, and the first tile whose root is false.
LIES: dict[str, Callable[[Scene], tuple[ModelTrace, int]]] = {
    "a tile of the first token": flipping("matmul", 0, 1),
    "a token of the prompt": flipping("next_token", 1),
    "a key that all later tokens read": flipping("add", 2, 0),
    "a tile of a token in the middle": flipping("tanh", 6),
    "the mean over all keys": flipping("history_mean", 7),
    "the chosen token": flipping("chosen_token", 5),
    "the last token": flipping("argmax", TIMES - 1),
    "a token too many": running(TIMES + 1),
    "a token too few": running(TIMES - 1),
    "tokens to the end": running(COUNT),
    "none at all": running(0),
}


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize("name", LIES)
def test_a_lie_about_any_token_is_found(scene: Scene, name: str, lying: Role) -> None:
    faulty, tile = LIES[name](scene)
    step = 5 if name in ("a token too many", "tokens to the end") else 300
    bluff = Bluff(faulty, step)
    claimed = faulty.output_root if lying is Role.PROVER else scene.answer.output_root
    began, before = time.perf_counter(), scene.spent
    view = scene.match(scene.answer, lying, claimed, player(bluff, lying))
    shown(f"{name}, lying {lying.value}", view, time.perf_counter() - began, scene.spent - before)
    assert (view.phase, view.tile, view.length) == (Phase.INSTRUCTION, tile, 1)


@pytest.mark.parametrize("lying", Role)
@pytest.mark.parametrize(
    "name", ["register", "memory", "status", "other-tile", "one-step-few", "many-steps", "wrong-once"]
)
@pytest.mark.parametrize("where", ["in a token", "beyond the length", "the very last"])
def test_lies_about_the_machine(scene: Scene, where: str, name: str, lying: Role) -> None:
    tiles = {
        "in a token": scene.tile("tanh", 4),
        "beyond the length": scene.tile("tanh", TIMES + 9),
        "the very last": scene.program.tiles - 1,
    }
    spot, liar = Spot(tile=tiles[where], step=11), LIARS[name]
    truth = scene.answer.trace
    claimed = liar.trace(truth, spot).output_root if lying is Role.PROVER else scene.answer.output_root
    scene.match(scene.answer, lying, claimed, liar.player(truth, lying, spot))


@pytest.mark.parametrize("killed", Role)
def test_a_player_who_is_killed_after_each_move_wins_all_the_same(scene: Scene, killed: Role) -> None:
    """It comes back with nothing but the image's file and the chain."""
    lying = killed.other
    faulty, tile = LIES["the chosen token"](scene)

    def reborn(view: GameView, now: int) -> Move | None:
        claim = scene.client.claim_view(view.claim_id)
        inference = load(scene.path).infer_posted(claim.input)
        return player(inference.trace, killed)(view, now)

    claimed = faulty.output_root if lying is Role.PROVER else scene.answer.output_root
    claim_id = scene.claim(scene.answer, claimed)
    game_id, _ = scene.client.challenge(claim_id, 0, scene.accounts[Role.CHALLENGER])
    view = scene.play(game_id, {killed: reborn, lying: player(Bluff(faulty, 7), lying)})
    assert (view.winner, view.tile, view.position) == (killed, tile, 7)
    claim = scene.client.claim_view(claim_id)
    scene.chain.advance(max(claim.deadline - scene.client.now(), 0) + 1)
    withdraw(scene.client, scene.accounts[killed], claim_id)


def test_a_true_answer_becomes_final_and_says_its_tokens(scene: Scene) -> None:
    claim_id = scene.claim(scene.answer, scene.answer.output_root)
    claim = scene.client.claim_view(claim_id)
    again = load(scene.path).infer_posted(claim.input)
    assert not should_challenge(claim, again.trace, scene.client.now())
    assert said_in(again) == said_in(scene.answer) == scene.model.generate(PROMPT, NEW).tokens
    scene.chain.advance(scene.model.header.window + 1)
    withdraw(scene.client, scene.accounts[Role.PROVER], claim_id)
    assert scene.client.claim_view(claim_id).status is ClaimStatus.FINAL


@pytest.mark.parametrize(("prompt", "new"), [([1], 1), ([1, 2, 3, 4, 5, 6], 30), ([22] * COUNT, 1)])
def test_one_id_serves_every_prompt_and_length(scene: Scene, prompt: Sequence[int], new: int) -> None:
    answer = scene.model.generate(prompt, new).inference
    faulty = flip_natively(answer, (len(prompt) - 1) * scene.program.body_tiles + scene.tile("chosen_token", 0))
    view = scene.match(answer, Role.PROVER, faulty.output_root, player(Bluff(faulty, 20), Role.PROVER))
    assert view.tile == scene.tile("chosen_token", len(prompt) - 1)


def test_in_one_phase(scene: Scene) -> None:
    """The baseline: the whole answer is one run of the machine."""
    image = build_image(build_program(decoder(4)), guest.load(), window=3600, clock=3600, one_phase=True)
    model = Model(image)
    register(scene.client, scene.accounts[Role.PROVER], model)
    answer = model.generate([3, 4], 2).inference
    tile = 2 * image.program.body_tiles + image.program.nodes[-1].first_tile
    faulty = flip_natively(answer, tile)
    for lying in Role:
        claimed = faulty.output_root if lying is Role.PROVER else answer.output_root
        view = scene.match(answer, lying, claimed, player(Bluff(faulty, 12345), lying))
        assert (view.position, view.length) == (12345, 1)
