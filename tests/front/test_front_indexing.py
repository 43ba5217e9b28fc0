"""What indexes, sorts and selects, as ONNX Runtime computes it; Einsum; tensors without elements."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import pytest
from front_models import helper, make_model, numbers, one_node, run_onnxruntime

from opml.compiler import compile_program
from opml.counts import cut_outputs
from opml.engine import Engine
from opml.errors import ModelError, UnsupportedError
from opml.graph import Array
from opml.program import MAX_TILE_STEPS

Feeds = dict[str, Array]


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def run(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> list[Array]:
    """The outputs of the native engine, each cut to its count."""
    program = compile_program(model.SerializeToString())
    return list(cut_outputs(program.graph.counts, Engine(program).run(feeds)).values())


def same(model: onnx.ModelProto, feeds: Mapping[str, Array], close: bool = False) -> list[Array]:
    """opml's outputs, which are ONNX Runtime's."""
    found, expected = run(model, feeds), run_onnxruntime(model, feeds)
    for mine, theirs in zip(found, expected, strict=True):
        assert (mine.dtype, mine.shape) == (theirs.dtype, theirs.shape)
        if close:
            np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)
        else:
            np.testing.assert_array_equal(mine, theirs)
    return found


def node(
    op: str, feeds: Feeds, outputs: int = 1, constants: Feeds | None = None, opset: int = 18, **attrs: Any
) -> onnx.ModelProto:
    names = [f"y{i}" for i in range(outputs)]
    nodes = [helper.make_node(op, [*feeds, *(constants or {})], names, **attrs)]
    return make_model(nodes, feeds, names, constants, opset)


X = numbers(4, 5, 6)
ONE: dict[str, tuple[str, Feeds, Feeds, dict[str, Any]]] = {
    "gather of a table": ("Gather", {"i": ints(2, -1, 0, 2)}, {}, {}),
    "gather elements": ("GatherElements", {"x": X, "i": numbers(4, 9, 6, dtype=np.int64) % 5}, {}, {"axis": 1}),
    "gather nd": ("GatherND", {"x": X, "i": numbers(4, 3, 1, dtype=np.int64) % 5}, {}, {"batch_dims": 1}),
    "scatter elements": (
        "ScatterElements",
        {"x": X, "i": numbers(2, 5, 6, dtype=np.int64) % 4, "u": numbers(2, 5, 6, seed=1)},
        {},
        {"axis": -3, "reduction": "add"},
    ),
    "scatter nd": (
        "ScatterND",
        {"x": X, "i": numbers(9, 2, dtype=np.int64) % 4, "u": numbers(9, 6, seed=1)},
        {},
        {"reduction": "mul"},
    ),
    "scatter nd of int8": (
        "ScatterND",
        {"x": numbers(9, dtype=np.int8), "i": ints(3, 3, -1)[:, None], "u": numbers(3, dtype=np.int8)},
        {},
        {},
    ),
    "one hot": ("OneHot", {"i": numbers(3, 4, dtype=np.int64)}, {"d": ints(5), "v": np.float32([0, 1])}, {"axis": 1}),
    "trilu": ("Trilu", {"x": X}, {"k": np.array(-1)}, {"upper": 0}),
    "reverse sequence": ("ReverseSequence", {"x": X, "l": ints(4, 0, 1, 2, 3)}, {}, {}),
    "tile": ("Tile", {"x": X}, {"r": ints(2, 1, 3)}, {}),
    "tile to nothing": ("Tile", {"x": X}, {"r": ints(2, 0, 3)}, {}),
    "expand to nothing": ("Expand", {"x": X[:, :1]}, {"s": ints(0, 1)}, {}),
    "slice of nothing": ("Slice", {"x": X}, {"s": ints(3), "e": ints(1)}, {}),
    "slice backwards": ("Slice", {"x": X}, {"s": ints(9), "e": ints(-9), "a": ints(1), "t": ints(-2)}, {}),
    "depth to space": ("DepthToSpace", {"x": numbers(2, 12, 3, 2)}, {}, {"blocksize": 2, "mode": "CRD"}),
    "space to depth": ("SpaceToDepth", {"x": numbers(2, 3, 4, 6)}, {}, {"blocksize": 2}),
    "eye like": ("EyeLike", {"x": numbers(3, 5)}, {}, {"k": -1, "dtype": 7}),
    "non zero": ("NonZero", {"x": numbers(4, 3, 5, dtype=np.int32) // 5}, {}, {}),
    "non zero of none": ("NonZero", {"x": np.zeros((3, 4), bool)}, {}, {}),
    "compress": ("Compress", {"x": X, "c": numbers(5, dtype=np.bool_)}, {}, {"axis": 1}),
    "compress flat": ("Compress", {"x": X, "c": numbers(50, dtype=np.bool_)}, {}, {}),
    "compress by a constant": ("Compress", {"x": X}, {"c": numbers(5, dtype=np.bool_)}, {"axis": -2}),
    "concat": ("Concat", {f"x{i}": numbers(2, i % 3 + 1, 2, seed=i) for i in range(21)}, {}, {"axis": 1}),
}


@pytest.mark.parametrize("label", ONE)
def test_one_node_is_onnx_runtimes(label: str) -> None:
    op, feeds, constants, attrs = ONE[label]
    if label == "gather of a table":
        model = make_model([helper.make_node("Gather", ["w", "i"], ["y"])], feeds, ["y"], {"w": numbers(3, 8)})
    else:
        model = node(op, feeds, 1, constants, **attrs)
    same(model, feeds)


@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize(("axis", "k"), [(0, 1), (1, 5), (-1, 3), (2, 0)])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_top_k(dtype: Any, axis: int, k: int, largest: int) -> None:
    x = numbers(4, 5, 6, dtype=dtype)
    same(node("TopK", {"x": x}, 2, {"k": ints(k)}, axis=axis, largest=largest), {"x": x})


def test_top_k_as_an_attribute_and_of_nan() -> None:
    x = np.float32([[1, np.nan, -0.0, 0.0, -np.inf, np.nan]])
    values, indices = run(node("TopK", {"x": x}, 2, opset=9, k=5), {"x": x})
    assert indices.tolist() == [[1, 5, 0, 2, 3]]
    assert np.signbit(values[0, 3:]).tolist() == [True, False]
    with pytest.raises(UnsupportedError, match="K"):
        run(node("TopK", {"x": x}, 2, {"k": ints(7)}), {"x": x})


@pytest.mark.parametrize("sorted_", [0, 1])
@pytest.mark.parametrize("axis", [None, 0, 1, 2])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int8])
def test_unique(dtype: Any, axis: int | None, sorted_: int) -> None:
    x = (numbers(4, 3, 2, dtype=dtype) / 5).astype(np.int8).astype(dtype)
    attrs = {} if axis is None else {"axis": axis}
    same(node("Unique", {"x": x}, 4, sorted=sorted_, **attrs), {"x": x})


def test_unique_of_odd_numbers() -> None:
    """All NaN are one number, both zeros are, and the first shows."""
    x = np.float32([np.nan, 0.0, -0.0, np.inf, np.nan, 0.0])
    y, first, inverse, counts = run(node("Unique", {"x": x}, 4), {"x": x})
    assert (first.tolist(), inverse.tolist(), counts.tolist()) == ([1, 3, 0], [2, 0, 0, 1, 2, 0], [3, 1, 2])
    assert y.view(np.uint32).tolist() == x[[1, 3, 0]].view(np.uint32).tolist()


@pytest.mark.parametrize("center", [0, 1])
@pytest.mark.parametrize("most", [0, 2, 1 << 40])
@pytest.mark.parametrize("score", [None, 0.5])
def test_non_max_suppression(score: float | None, most: int, center: int) -> None:
    rng = np.random.default_rng(7)
    low, size = rng.random((2, 30, 2)), rng.random((2, 30, 2)) * 0.7
    boxes = np.concatenate([low, size if center else low + size], 2).astype(np.float32)
    boxes[0, :5] = boxes[0, 0]
    scores = (rng.integers(0, 9, (2, 3, 30)) / 9).astype(np.float32)
    constants = {"m": ints(most), "i": np.float32([0.3])} | ({} if score is None else {"t": np.float32([score])})
    feeds = {"b": boxes, "s": scores}
    (found,) = same(node("NonMaxSuppression", feeds, 1, constants, center_point_box=center), feeds)
    assert (len(found) > 0) == (most > 0)


def test_non_max_suppression_with_computed_thresholds() -> None:
    rng = np.random.default_rng(7)
    feeds = {
        "b": rng.random((1, 20, 4)).astype(np.float32),
        "s": rng.random((1, 2, 20)).astype(np.float32),
        "m": ints(3),
        "i": np.float32([0.2]),
        "t": np.float32([0.1]),
    }
    same(node("NonMaxSuppression", feeds), feeds)


SPLITS: list[tuple[int, int, dict[str, Any], Array | None]] = [
    (18, 3, {"num_outputs": 3}, None),
    (18, 2, {}, ints(3, 4)),
    (13, 7, {}, None),
    (13, 3, {}, ints(0, 7, 0)),
    (11, 2, {"split": [1, 6]}, None),
]


@pytest.mark.parametrize("case", range(len(SPLITS)))
def test_split(case: int) -> None:
    opset, outputs, attrs, sizes = SPLITS[case]
    x = numbers(2, 7)
    constants = {} if sizes is None else {"s": sizes}
    same(node("Split", {"x": x}, outputs, constants, opset, axis=1, **attrs), {"x": x})


def test_split_that_does_not_add_up() -> None:
    x = numbers(2, 7)
    for opset, attrs, sizes in (
        (18, {"num_outputs": 1}, None),
        (13, {}, None),
        (13, {}, ints(3, 3)),
        (13, {}, ints(8, -1)),
    ):
        with pytest.raises(UnsupportedError, match="Split"):
            run(node("Split", {"x": x}, 2, {} if sizes is None else {"s": sizes}, opset, axis=1, **attrs), {"x": x})


RANGES = [(0, 10, 3), (10, 0, -4), (5, 5, 1), (0, -5, 2)]


@pytest.mark.parametrize("bounds", RANGES)
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32])
def test_range(bounds: tuple[int, int, int], dtype: Any) -> None:
    scale = dtype(0.5) if dtype is np.float32 else dtype(1)
    a, b, d = (np.array(v, dtype) * scale for v in bounds)
    nodes = [helper.make_node("Range", ["a", "b", "d"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
    x = numbers(1, dtype=dtype)
    same(make_model(nodes, {"x": x}, ["y"], {"a": a, "b": b, "d": d}), {"x": x})


def test_a_range_without_end_is_refused() -> None:
    x = numbers(1)
    for values in ([0, 1e30, 1e-30], [0, np.inf, 1], [0, 1, 0], [0, np.nan, 1]):
        constants = {name: np.float32(v) for name, v in zip("abd", values, strict=True)}
        nodes = [helper.make_node("Range", ["a", "b", "d"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])]
        with pytest.raises(UnsupportedError, match="Range"):
            run(make_model(nodes, {"x": x}, ["y"], constants), {"x": x})


EINSUMS = [
    ("ij,jk->ik", (3, 4), (4, 5)),
    ("ij,jk", (3, 4), (4, 5)),
    ("bij,bjk->bik", (2, 3, 4), (2, 4, 5)),
    ("bhid,bhjd->bhij", (2, 3, 4, 5), (2, 3, 6, 5)),
    ("...ij,...jk->...ik", (2, 3, 4), (4, 5)),
    ("...ij,...jk->...ik", (1, 3, 4), (6, 4, 5)),
    ("ii->i", (4, 4)),
    ("ii", (4, 4)),
    ("...ii->...i", (3, 4, 4)),
    ("iji,j->", (3, 4, 3), (4,)),
    ("ij->ji", (3, 4)),
    ("ba", (3, 4)),
    ("ij->", (3, 4)),
    ("i,j->ij", (3,), (4,)),
    ("ij,ij->i", (3, 4), (3, 4)),
    ("ij,kj,lk->il", (2, 3), (4, 3), (5, 4)),
    (" i j , j -> i ", (3, 4), (4,)),
    ("a...b->b...a", (2, 3, 4, 5)),
    ("abc,cd,def->abf", (2, 3, 4), (4, 5), (5, 6, 2)),
    (",ij->ij", (), (3, 4)),
]


@pytest.mark.parametrize("case", EINSUMS, ids=lambda case: case[0])
def test_einsum(case: Any) -> None:
    """Beside numpy, whose broadcasting and diagonals ONNX Runtime has not all."""
    equation, *shapes = case
    feeds = {f"x{i}": numbers(*shape, seed=i) for i, shape in enumerate(shapes)}
    (found,) = run(node("Einsum", feeds, equation=equation), feeds)
    expected = np.einsum(equation, *feeds.values()).astype(np.float32)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_einsum_of_integers_and_of_many_axes() -> None:
    feeds = {"a": numbers(3, 4, dtype=np.int64), "b": numbers(4, 5, dtype=np.int64)}
    (found,) = run(node("Einsum", feeds, equation="ij,jk->ik"), feeds)
    np.testing.assert_array_equal(found, feeds["a"] @ feeds["b"])


@pytest.mark.parametrize(
    "equation", ["ij,jk->il", "ij->ii", "ijk->i", "ij,jk,kl->il", "i1->i", "...i...->i", "ij;->", "", "ij,kj->ik->i"]
)
def test_an_equation_that_makes_no_sense_is_refused(equation: str) -> None:
    feeds = {"a": numbers(3, 4), "b": numbers(4, 5)}
    with pytest.raises(ModelError, match="Einsum"):
        run(node("Einsum", feeds, equation=equation), feeds)


def test_updates_that_are_too_many_for_a_tile_are_applied_in_turn() -> None:
    """The same bits as in one go, and no tile beyond the bound."""
    rng = np.random.default_rng(0)
    x, updates = np.zeros((4, 8), np.float32), rng.standard_normal((600_000, 8)).astype(np.float32)
    feeds = {"x": x, "i": rng.integers(0, 4, (600_000, 1)), "u": updates}
    model = node("ScatterND", feeds, reduction="add")
    program = compile_program(model.SerializeToString())
    assert max(n.cost for n in program.nodes) < MAX_TILE_STEPS
    assert sum(n.op == "scatter_nd" for n in program.nodes) > 1
    np.add.at(x, feeds["i"][:, 0], updates)
    np.testing.assert_array_equal(Engine(program).run({**feeds, "x": np.zeros_like(x)})["y0"], x)


# Tensors without elements.


def test_inputs_and_outputs_without_elements() -> None:
    feeds = {"x": numbers(2, 3), "e": np.zeros((0, 3), np.float32)}
    nodes = [helper.make_node("Concat", ["x", "e"], ["y"], axis=0), helper.make_node("Neg", ["e"], ["z"])]
    found = same(make_model(nodes, feeds, ["y", "z"]), feeds)
    assert [value.shape for value in found] == [(2, 3), (0, 3)]


@pytest.mark.parametrize("op", ["Relu", "Transpose", "MatMul", "Softmax", "NonZero"])
def test_operators_of_nothing_give_nothing(op: str) -> None:
    feeds = {"x": np.zeros((0, 3), np.float32), "w": numbers(3, 4)}
    names = ["x", "w"] if op == "MatMul" else ["x"]
    nodes = [helper.make_node(op, names, ["y"]), helper.make_node("Identity", ["w"], ["z"])]
    same(make_model(nodes, feeds, ["y", "z"]), feeds)


def test_nothing_along_two_axes_is_refused_as_an_output() -> None:
    feeds = {"x": np.zeros((0, 0), np.float32), "w": numbers(2)}
    with pytest.raises(UnsupportedError, match=r"\[0, 0\]"):
        run(make_model([helper.make_node("Relu", ["x"], ["y"])], feeds, ["y"]), feeds)


def test_a_constant_index_outside_is_refused_and_a_computed_one_clamped() -> None:
    x = numbers(4, 3)
    with pytest.raises(UnsupportedError, match="index is outside"):
        run(one_node("Gather", {"x": x}, {"i": ints(4)}), {"x": x})
    feeds = {"x": x, "i": ints(4, -5, 1 << 62)}
    (found,) = run(node("Gather", feeds), feeds)
    np.testing.assert_array_equal(found, x[[3, 0, 3]])


def test_a_cast_like_something_counted_has_its_own_size() -> None:
    """Only the dtype is read, even where the capacity is the size."""
    nodes = [helper.make_node("NonZero", ["x"], ["found"]), helper.make_node("CastLike", ["k", "found"], ["y"])]
    feeds = {"x": np.zeros(1, np.float32)}
    (found,) = same(make_model(nodes, feeds, ["y"], {"k": np.ones((1, 1), np.float32)}, 18), feeds)
    assert found.tolist() == [[1]]
