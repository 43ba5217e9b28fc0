"""Models with outputs whose size is data: beside ONNX Runtime, as images, under hostile data and hostile manifests."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from dispute_repeated import decoder
from front_models import helper, make_model, numbers
from hypothesis import given, settings
from hypothesis import strategies as st
from test_front_indexing import Feeds, ints, same
from test_front_validator import GUEST, File, Json, refused

from opml.compiler import compile_program
from opml.counts import cut_outputs
from opml.engine import Engine
from opml.errors import ModelError
from opml.graph import Count
from opml.image import Image, build_image, write_image
from opml.passes.check import check
from opml.validator import open_image

N = helper.make_node
X = (numbers(4, 5, seed=3) * (numbers(4, 5, seed=5) > 0)).astype(np.float32)


def boxes_model() -> tuple[onnx.ModelProto, Feeds]:
    """NonMaxSuppression, the kept boxes' numbers, and their boxes and scores: the end of a detector."""
    rng = np.random.default_rng(4)
    low, size = rng.random((1, 30, 2)), rng.random((1, 30, 2)) * 0.6
    feeds: Feeds = {
        "b": np.concatenate([low, low + size], 2).astype(np.float32),
        "s": rng.random((1, 2, 30)).astype(np.float32),
    }
    nodes = [
        N("NonMaxSuppression", ["b", "s", "m", "iou", "least"], ["rows"]),
        N("Gather", ["rows", "two"], ["column"], axis=1),
        N("Squeeze", ["column", "one"], ["which"]),
        N("Squeeze", ["b", "zero"], ["flat"]),
        N("Gather", ["flat", "which"], ["kept"]),
        N("GatherND", ["s", "rows"], ["sure"]),
    ]
    constants = {
        "m": ints(8), "iou": np.float32([0.4]), "least": np.float32([0.3]),
        "two": ints(2), "one": ints(1), "zero": ints(0),
    }  # fmt: skip
    return make_model(nodes, feeds, ["kept", "sure", "which"], constants), feeds


def found_model() -> tuple[onnx.ModelProto, Feeds]:
    """What is not zero, twice as large."""
    nodes = [
        N("NonZero", ["x"], ["p"]),
        N("Transpose", ["p"], ["t"]),
        N("GatherND", ["x", "t"], ["v"]),
        N("Mul", ["v", "two"], ["y"]),
    ]
    return make_model(nodes, {"x": X}, ["y", "p"], {"two": np.float32(2)}), {"x": X}


def distinct_model() -> tuple[onnx.ModelProto, Feeds]:
    x = (numbers(30) * 2).round().astype(np.float32)
    nodes = [N("Unique", ["x"], ["u", "first", "which", "many"]), N("Neg", ["u"], ["y"]), N("Abs", ["x"], ["whole"])]
    return make_model(nodes, {"x": x}, ["y", "first", "which", "many", "whole"]), {"x": x}


MODELS = {"boxes": boxes_model, "found": found_model, "distinct": distinct_model}


@pytest.mark.parametrize("label", MODELS)
def test_whole_models_are_onnx_runtimes(label: str) -> None:
    made, feeds = MODELS[label]()
    assert all(array.size for array in same(made, feeds))
    nothing = {name: np.zeros_like(array) for name, array in feeds.items()}
    same(made, nothing)


@pytest.mark.parametrize("label", MODELS)
def test_image_and_back(label: str, tmp_path: Path) -> None:
    made, feeds = MODELS[label]()
    program = compile_program(made.SerializeToString())
    image = build_image(program, GUEST, window=600, clock=300)
    write_image(image, tmp_path / "model.opml")
    read = open_image(tmp_path / "model.opml", guest=GUEST)
    assert read.header == image.header
    assert read.program.graph.counts == program.graph.counts
    assert read.program.graph.counts
    one, other = (cut_outputs(p.graph.counts, Engine(p).run(feeds)) for p in (program, read.program))
    assert list(one) == [output.name for output in made.graph.output]
    assert {name: (a.shape, a.tobytes()) for name, a in one.items()} == {
        name: (a.shape, a.tobytes()) for name, a in other.items()
    }


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("label", MODELS)
def test_a_count_is_never_beyond_its_capacity(label: str, seed: int) -> None:
    """Whatever the data are: NaN, infinities, random bits."""
    made, feeds = MODELS[label]()
    program = compile_program(made.SerializeToString())
    rng = np.random.default_rng(seed)
    wild = {
        name: rng.choice(
            np.array([rng.integers(1 << 32), 0, 1, 0x7FC00000, 0x7F800000, 0xFF800000], np.uint32), a.shape
        )
        for name, a in feeds.items()
    }
    outputs = Engine(program).run({name: a.view(np.float32) for name, a in wild.items()})
    for name, count in program.graph.counts.items():
        assert 0 <= int(outputs[count.tensor][0]) <= outputs[name].shape[count.axis]


@given(count=st.integers(-(1 << 63), (1 << 63) - 1), axis=st.integers(0, 2))
@settings(max_examples=60, deadline=None)
def test_a_count_that_a_liar_claims_cuts_within_the_capacity(count: int, axis: int) -> None:
    """Outputs of a claim are what somebody says: no count leads out of the array."""
    y = np.arange(24).reshape(2, 3, 4)
    cut = cut_outputs({"y": Count("y.count", axis)}, {"y": y, "y.count": np.array([count])})
    assert list(cut) == ["y"]
    assert cut["y"].shape[axis] == min(max(count, 0), y.shape[axis])


@pytest.mark.parametrize("limit", [-(1 << 63), -1, 0, 1, 29, 30, 1 << 40, (1 << 63) - 1])
def test_a_computed_limit_keeps_the_count_within_the_capacity(limit: int) -> None:
    rng = np.random.default_rng(limit % 97)
    feeds: Feeds = {"b": rng.random((2, 9, 4)).astype(np.float32), "s": rng.random((2, 3, 9)).astype(np.float32)}
    feeds |= {"m": ints(limit), "t": np.float32([0.5])}
    program = compile_program(
        make_model([N("NonMaxSuppression", ["b", "s", "m", "t"], ["y"])], feeds, ["y"]).SerializeToString()
    )
    outputs = Engine(program).run(feeds)
    count = int(outputs["y.count"][0])
    assert 0 <= count <= outputs["y"].shape[0]
    assert (count == 0) == (limit <= 0)
    assert (outputs["y"][count:] == -1).all()
    assert (outputs["y"][:count] >= 0).all()


# Hostile images.


@pytest.fixture(scope="module")
def image() -> Image:
    made, _ = boxes_model()
    return build_image(compile_program(made.SerializeToString()), GUEST, window=600, clock=300)


@pytest.fixture
def path(image: Image, tmp_path: Path) -> Path:
    write_image(image, tmp_path / "model.opml")
    return tmp_path / "model.opml"


def change(**fields: Any) -> Callable[[Json], object]:
    return lambda m: m["counts"][0].update(**fields)


CHANGES: dict[str, tuple[Callable[[Json], object], str]] = {
    "another axis": (change(axis=1), "table"),
    "an axis beyond": (change(axis=2), "no axis 2"),
    "a negative axis": (change(axis=-1), "axis"),
    "a huge axis": (change(axis=1 << 70), "axis"),
    "an axis that is none": (change(axis="0"), "axis"),
    "another tensor": (change(tensor="which"), "no int64"),
    "a float tensor": (change(tensor="sure"), "no int64"),
    "a tensor that is no output": (change(tensor="rows"), "not outputs"),
    "a tensor that does not exist": (change(tensor="?"), "not outputs"),
    "a count that is counted": (change(output="kept.count"), "counted itself"),
    "an output that does not exist": (change(output="?"), "not outputs"),
    "counted twice": (lambda m: m["counts"].__setitem__(1, m["counts"][0]), "twice"),
    "counted twice in two ways": (lambda m: m["counts"].__setitem__(1, {**m["counts"][0], "axis": 1}), "twice"),
    "not counted": (lambda m: m["counts"].pop(), "table"),
    "no counts": (lambda m: m.update(counts=[]), "table"),
    "counts that are none": (lambda m: m.update(counts={"a": 1}), "counts"),
    "a field too many": (change(x=1), "x"),
    "a field too few": (lambda m: m["counts"][0].pop("axis"), "axis"),
    "the count is no output": (lambda m: m["outputs"].remove(m["counts"][0]["tensor"]), ""),
}  # fmt: skip


@pytest.mark.parametrize("label", CHANGES)
def test_a_hostile_manifest_is_refused(path: Path, label: str) -> None:
    edit, word = CHANGES[label]
    file = File(path.read_bytes())
    edit(file.manifest)
    refused(path, file.bytes(), word)


def test_which_output_counts_which_is_part_of_the_id(image: Image) -> None:
    """So nobody shows outputs cut in another way under the same id."""
    made, _ = boxes_model()
    program = compile_program(made.SerializeToString())
    assert build_image(program, GUEST, window=600, clock=300).header == image.header
    other = compile_program(made.SerializeToString())
    other.graph.counts["kept"] = Count(other.graph.counts["kept"].tensor, 1)
    assert build_image(other, GUEST, window=600, clock=300).header != image.header


def test_a_program_that_is_repeated_has_no_counts() -> None:
    graph = decoder()
    check(graph)
    graph.counts[graph.outputs[0]] = Count(graph.outputs[0], 0)
    with pytest.raises(ModelError, match="repeated cannot have a count"):
        check(graph)
