"""Whole programs that are repeated: definition = native = machine, for every length and whatever the prompt says."""

from itertools import product

import numpy as np
import pytest
from dispute_repeated import COUNT, VOCABULARY, WIDTH, decoder, feeds
from parity_ways import check_bits

from opml import guest
from opml.engine import Engine
from opml.errors import InputError, UnsupportedError
from opml.generation import context_of, said_in
from opml.graph import Array
from opml.image import Image, build_image
from opml.model import Model
from opml.program import build_program
from vm.constants import HALTED, MODEL_LEVEL, REG_A0
from vm.memory import Memory
from vm.run import run
from vm.state import entry_state


@pytest.fixture(scope="module")
def image() -> Image:
    return build_image(build_program(decoder()), guest.load(), window=100, clock=100)


@pytest.fixture(scope="module")
def model(image: Image) -> Model:
    return Model(image)


def reference(prompt: list[int], length: int, ends: tuple[int, ...] = (), count: int = COUNT) -> list[int]:
    """What the decoder says, in numpy."""
    random = np.random.default_rng(5)
    table, places = random.normal(size=(VOCABULARY, WIDTH)), random.normal(size=(count, WIDTH))
    head = random.normal(size=(WIDTH, VOCABULARY))
    keys: list[Array] = []
    said: list[int] = []
    for i in range(length):
        token = prompt[i] if i < len(prompt) else said[-1]
        keys.append(table[token] + places[i])
        best = int(np.argmax(np.tanh(np.mean(keys, axis=0) + keys[-1]) @ head))
        said.append(token if i >= len(prompt) and token in ends else best)
    return said


@pytest.mark.parametrize("length", [*range(COUNT + 1), COUNT + 3, -1, 2**31 - 1, -(2**31)])
def test_definition_native_and_machine_agree(image: Image, length: int) -> None:
    prompt = [3, 4]
    tokens = check_bits(image, feeds(prompt, length), seed=length & 0xFFFF)["tokens"]
    times = min(max(length, 0), COUNT)
    assert tokens.tolist() == reference(prompt, times) + [0] * (COUNT - times)


@pytest.mark.parametrize("length", [0, 1, 2, 5, COUNT, 100, -1, -100, 2**31 - 1, -(2**31)])
def test_a_prompt_has_one_token_at_least_and_no_more_than_there_are(image: Image, length: int) -> None:
    tokens = [3, 4, 7, 1, 22, 9]
    found = check_bits(image, feeds(tokens, COUNT, prompt_length=length), seed=1)["tokens"]
    assert found.tolist() == reference(tokens[: min(max(length, 1), COUNT)], COUNT)


@pytest.mark.parametrize("token", [VOCABULARY, 2**31 - 1, -1, -(2**31)])
def test_a_token_outside_of_the_vocabulary_is_its_nearest_one(image: Image, token: int) -> None:
    found = check_bits(image, feeds([5, token, 6], COUNT), seed=2)["tokens"]
    assert found.tolist() == reference([5, min(max(token, 0), VOCABULARY - 1), 6], COUNT)


def test_after_an_end_token_it_says_nothing_else() -> None:
    free = reference([3, 4], COUNT)
    end = free[2]
    image = build_image(build_program(decoder(ends=(end, 99))), guest.load(), window=1, clock=1)
    found = check_bits(image, feeds([3, 4], COUNT), seed=3)["tokens"]
    assert found.tolist() == reference([3, 4], COUNT, (end, 99)) == free[:3] + [end] * (COUNT - 3)
    # Within the prompt it ends nothing.
    assert check_bits(image, feeds([end, 4], COUNT), seed=3)["tokens"].tolist() == reference([end, 4], COUNT, (end,))


@pytest.mark.parametrize(("threads", "length"), list(product([1, 2], [0, 3, COUNT])))
def test_runs_leave_nothing_behind(model: Model, threads: int, length: int) -> None:
    """Short after long, full after plain, one prompt after another: each as if it were the first."""
    engine = Engine(model.image.program)
    engine.run(feeds([9, 8, 7], COUNT), threads)
    full = engine.run_full(feeds([3, 4], length), threads)
    assert engine.run(feeds([3, 4], length), threads)["tokens"].tolist()[:length] == reference([3, 4], length)
    assert {k: v.tobytes() for k, v in engine.run_full(feeds([3, 4], length), threads).items()} == {
        k: v.tobytes() for k, v in full.items()
    }
    tensors = model.image.program.tensors
    assert all(full[node.output].size == length * tensors[node.output].stride for node in model.image.program.nodes)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_the_number_of_threads_changes_nothing(monkeypatch: pytest.MonkeyPatch, image: Image, threads: int) -> None:
    """Every node with more than one tile is divided."""
    expected = Engine(image.program, definition_only=True).run_full(feeds([3, 4], 5))
    monkeypatch.setattr("opml.engine.PARALLEL_COST", 1)
    engine = Engine(image.program)
    assert {k: v.tobytes() for k, v in engine.run_full(feeds([3, 4], 5), threads).items()} == {
        k: v.tobytes() for k, v in expected.items()
    }
    assert engine.run(feeds([3, 4], 5), threads)["tokens"].tolist()[:5] == reference([3, 4], 5)


def test_a_listener_that_fails_ends_the_run_and_spoils_nothing(model: Model) -> None:
    def fail(token: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        model.generate([9, 9], each=fail)
    assert model.generate([3, 4]).tokens == reference([3, 4], COUNT)[1:]


def test_only_what_lasts_has_memory_for_every_iteration(image: Image) -> None:
    program = image.program
    assert {program.tensors[name].type.shape for name in program.lasting} == {(), (1, WIDTH)}
    assert len(program.lasting) == 2


def test_every_root_is_that_of_a_machine_that_went_so_far(image: Image) -> None:
    """Tile by tile over four of six iterations, and then through those that do not take place."""
    given = feeds([3, 4], 4)
    memory, program = Model(image).infer(given).memory, image.program
    state = entry_state(Memory(memory.cut(0)), image.header.entry, 0, 1)
    for tile in range(program.tiles):
        state = entry_state(state.memory, image.header.entry, tile, 1)
        steps = run(state, image.header.max_steps)
        assert (state.status, state.registers[REG_A0]) == (HALTED, 0)
        assert state.memory.node(MODEL_LEVEL, 0) == memory.root(tile + 1), tile
        assert steps < 100 or tile < memory.written_tiles
    assert memory.root(program.tiles) == memory.root(4 * program.body_tiles)


def test_resuming_after_a_flipped_key(model: Model) -> None:
    """What a computer with a fault goes on to compute, natively as in the machine."""
    program, given = model.image.program, feeds([3, 4], 5)
    full, memory = model.engine.run_full(given), model.infer(given).memory
    node = next(node for node in program.nodes if node.output in program.lasting and node.op == "add")
    tensor, tile = program.tensors[node.output], 2 * program.body_tiles + node.first_tile
    changed = 0
    for offset in range(2 * tensor.stride + 3, 2 * tensor.stride + 32, 4):
        broken = full[node.output].copy()
        broken[offset] ^= 0x80
        resumed = model.engine.resume({**full, node.output: broken}, tile + 1)
        state = entry_state(Memory(memory.cut(tile + 1)), 0, tile + 1, program.tiles)
        state.memory.write(tensor.address + offset, broken[offset].tobytes())
        run(state, program.max_steps)
        for name, place in program.tensors.items():
            assert state.memory.read(place.address, resumed[name].size) == resumed[name].tobytes(), name
        assert resumed["tokens"][: 2 * 32].tobytes() == full["tokens"][: 2 * 32].tobytes()
        changed += resumed["tokens"].tobytes() != full["tokens"].tobytes()
    assert changed


def test_generating(model: Model) -> None:
    heard: list[int] = []
    done = model.generate([3, 4], 3, heard.append)
    said = reference([3, 4], COUNT)
    assert done.tokens == heard == said[1:4]
    assert not done.ended
    assert done.inference.outputs["tokens"].tolist() == [*said[:4], 0, 0]
    assert said_in(done.inference) == done.tokens
    again = model.infer_posted(done.inference.posted)
    assert again.output_root == done.inference.output_root
    assert model.generate([3, 4]).tokens == said[1:] == model.generate([3, 4], 1000).tokens
    assert model.generate([3, 4, 5, 6, 7, 8]).tokens == [reference([3, 4, 5, 6, 7, 8], COUNT)[-1]]
    assert done.speed > 0


def test_a_listener_may_stop_it_and_so_does_an_end_token() -> None:
    model = Model(build_image(build_program(decoder(ends=(reference([3, 4], 3)[2],))), guest.load(), window=1, clock=1))
    done = model.generate([3, 4])
    assert (done.ended, done.tokens) == (True, reference([3, 4], 3)[1:])
    assert model.infer_posted(done.inference.posted).output_root == done.inference.output_root
    stopped = model.generate([3, 4], each=lambda token: True)
    assert (stopped.ended, stopped.tokens) == (False, done.tokens[:1])
    assert model.infer_posted(stopped.inference.posted).output_root == stopped.inference.output_root


@pytest.mark.parametrize(
    ("prompt", "words"),
    [([], "has 0 tokens"), ([1] * (COUNT + 1), "takes 1 to 6"), ([VOCABULARY], "no token 23"), ([-1], "no token -1")],
)
def test_prompts_that_are_none(model: Model, prompt: list[int], words: str) -> None:
    with pytest.raises(InputError, match=words):
        model.generate(prompt)


def test_models_that_do_not_generate(model: Model) -> None:
    graph = decoder()
    graph.nodes[-1] = type(graph.nodes[-1])("copy", (graph.nodes[0].outputs[0],), ("tokens",))
    graph.inputs.append("more")
    graph.types["more"] = graph.types["length"]
    program = build_program(graph)
    with pytest.raises(InputError, match="does not generate"):
        context_of(program)
    assert context_of(model.image.program) == COUNT
    with pytest.raises(InputError, match="new tokens are none"):
        model.generate([1], 0)


def test_there_is_no_receipt_of_it(model: Model) -> None:
    with pytest.raises(UnsupportedError, match="no receipts"):
        model.generate([1]).inference.receipt()
