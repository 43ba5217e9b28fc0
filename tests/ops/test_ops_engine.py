"""The engine: the same bytes on any number of threads, from any buffers, and by definition."""

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import helper, numpy_helper
from ops_helpers import floats

from opml import engine as engine_module
from opml import fpenv
from opml.compiler import compile_program
from opml.engine import Engine
from opml.errors import InputError
from opml.program import Program

Floats = NDArray[np.float32]


def make_program(batch: int = 3) -> Program:
    """A small network: convolution, pool, product, softmax; two outputs, of which one is a value used further."""
    weights = {"w": floats(1, (8, 2, 3, 3)), "b": floats(2, (8,)), "m": floats(3, (8 * 5 * 6, 21))}
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Flatten", ["p"], ["flat"]),
        helper.make_node("MatMul", ["flat", "m"], ["logits"]),
        helper.make_node("Add", ["logits", "offset"], ["shifted"]),
        helper.make_node("Softmax", ["shifted"], ["y"], axis=-1),
    ]
    inputs = [
        helper.make_tensor_value_info("x", 1, [batch, 2, 10, 12]),
        helper.make_tensor_value_info("offset", 1, [21]),
    ]
    outputs = [helper.make_tensor_value_info(name, 1, None) for name in ("y", "logits")]
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "net", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return compile_program(model.SerializeToString())


PROGRAM = make_program()


def feeds(seed: int) -> dict[str, Floats]:
    return {"x": floats(seed, (3, 2, 10, 12), 0.01), "offset": floats(seed + 1, (21,))}


def same(ours: Mapping[str, NDArray[np.generic]], theirs: Mapping[str, NDArray[np.generic]]) -> bool:
    return ours.keys() == theirs.keys() and all(ours[name].tobytes() == theirs[name].tobytes() for name in ours)


def test_fast_is_the_definition_on_any_number_of_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PARALLEL_COST", 0)
    reference = Engine(PROGRAM, definition_only=True).run_full(feeds(0))
    engine = Engine(PROGRAM)
    for threads in (1, 2, 3, 7):
        assert same(engine.run_full(feeds(0), threads=threads), reference)


def test_runs_do_not_disturb_each_other() -> None:
    engine = Engine(PROGRAM)
    first = engine.run(feeds(0))
    kept = {name: value.copy() for name, value in first.items()}
    full = engine.run_full(feeds(5))
    second = engine.run(feeds(5))
    assert same(first, kept), "outputs are the caller's"
    assert not same(first, second)
    assert same(engine.run(feeds(0)), kept), "nothing of a run is left"
    for port in PROGRAM.outputs:
        assert second[port.name].tobytes() == full[port.tensor].tobytes()
    with ThreadPoolExecutor(4) as pool:
        seeds = [0, 5] * 10
        for seed, result in zip(seeds, pool.map(lambda seed: engine.run(feeds(seed)), seeds), strict=True):
            assert same(result, kept if seed == 0 else second)


def test_inputs_in_odd_places_are_read_right() -> None:
    engine, plain = Engine(PROGRAM), feeds(0)
    expected = engine.run(plain)
    strided = {"x": np.asfortranarray(plain["x"]), "offset": np.repeat(plain["offset"], 2)[::2]}
    assert same(engine.run(strided), expected)
    room = np.zeros(plain["x"].nbytes + 1, np.uint8)
    room[1:] = plain["x"].reshape(-1).view(np.uint8)
    unaligned = room[1:].view(np.float32).reshape(plain["x"].shape)
    assert same(engine.run({**plain, "x": unaligned}), expected)
    frozen = {name: value.copy() for name, value in plain.items()}
    for value in frozen.values():
        value.flags.writeable = False
    assert same(engine.run(frozen), expected)


def test_constants_may_come_from_elsewhere() -> None:
    mapped = {name: value.copy() for name, value in PROGRAM.constants.items()}
    assert same(Engine(PROGRAM, mapped).run(feeds(0)), Engine(PROGRAM).run(feeds(0)))
    largest = max(mapped, key=lambda name: mapped[name].nbytes)
    mapped[largest] = mapped[largest] * np.float32(2)
    assert not same(Engine(PROGRAM, mapped).run(feeds(0)), Engine(PROGRAM).run(feeds(0)))


def test_full_run_has_the_bytes_of_every_tensor() -> None:
    full = Engine(PROGRAM).run_full(feeds(0))
    assert full.keys() == PROGRAM.tensors.keys()
    for name, data in full.items():
        assert data.dtype == np.uint8
        assert data.shape == (PROGRAM.tensors[name].type.nbytes,)


def test_a_run_goes_on_from_any_tile_with_the_bytes_it_is_given() -> None:
    engine = Engine(PROGRAM)
    full = engine.run_full(feeds(0))
    kept = {name: data.copy() for name, data in full.items()}
    for tile in (0, 1, PROGRAM.nodes[0].tiles + 3, PROGRAM.tiles - 1, PROGRAM.tiles):
        assert same(engine.resume(full, tile), full)
    # A flipped bit of the convolution's last tile is met by all that read it, and by nothing before it.
    node = PROGRAM.nodes[0]
    flipped = full[node.output].copy()
    flipped[-1] ^= 0x40
    for threads in (1, 2):
        faulty = engine.resume({**full, node.output: flipped}, node.tiles, threads)
        assert (faulty[node.output] == flipped).all()
        assert not same(faulty, full)
        assert all(faulty[name].tobytes() == data.tobytes() for name, data in _read_before(full).items())
    assert same(engine.resume({**full, node.output: flipped}, node.tiles - 1), full), "the tile is computed anew"
    assert same(full, kept)
    assert same(engine.run_full(feeds(0)), full), "nothing of it is left"


def _read_before(full: Mapping[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.uint8]]:
    """Inputs and constants."""
    written = {node.output for node in PROGRAM.nodes}
    return {name: data for name, data in full.items() if name not in written}


def test_flush_to_zero_in_the_caller_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engine_module, "PARALLEL_COST", 0)
    tiny = {name: value * np.float32(1e-39) for name, value in feeds(0).items() if np.isfinite(value).all()}
    given = {**{name: np.full_like(value, 1e-39) for name, value in feeds(0).items()}, **tiny}
    expected = Engine(PROGRAM).run_full(given)
    before = fpenv.exchange(fpenv.FLUSH_TO_ZERO)
    try:
        flushed = Engine(PROGRAM).run_full(given, threads=3)
    finally:
        fpenv.exchange(before)
    assert same(flushed, expected)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"x": None}, "is missing"),
        ({"z": floats(0, (1,))}, "no input 'z'"),
        ({"offset": floats(0, (20,))}, r"must be float32 \[21\], not float32 \[20\]"),
        ({"offset": np.zeros(21)}, r"must be float32 \[21\], not float64 \[21\]"),
        ({"offset": np.zeros(21, ">f4")}, "must be float32"),
    ],
)
def test_wrong_inputs_are_refused_by_name(change: dict[str, object], reason: str) -> None:
    given = {name: value for name, value in {**feeds(0), **change}.items() if value is not None}
    with pytest.raises(InputError, match=reason):
        Engine(PROGRAM).run(given)  # type: ignore[arg-type]
