"""Dynamic inputs: dimensions by name or whole shapes are pinned, and an error lists exactly what is missing."""

import re
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from front_models import make_model, run_graph
from onnx import TensorProto, helper, numpy_helper

import opml
from opml.cli import main
from opml.cli.options import _Pin
from opml.compiler import compile_graph
from opml.errors import ModelError, UnsupportedError

Dims = list[Any] | None


def model(*inputs: tuple[str, Dims]) -> onnx.ModelProto:
    """Relu of each input; `None` for its shape means that it has none."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs]
    nodes = [helper.make_node("Relu", [name], [f"{name}.y"]) for name, _ in inputs]
    outputs = [onnx.ValueInfoProto(name=f"{name}.y") for name, _ in inputs]
    graph = helper.make_graph(nodes, "pins", values, outputs)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])


def shapes(proto: onnx.ModelProto, pins: dict[str, Any]) -> list[tuple[int, ...]]:
    graph = compile_graph(proto.SerializeToString(), pins)
    return [graph.types[name].shape for name in graph.inputs]


TWO = model(("image", ["batch", 3, "height", "width"]), ("mask", ["batch", None]))


def test_dimensions_and_shapes() -> None:
    wanted = [(1, 3, 8, 9), (1, 5)]
    assert shapes(TWO, {"batch": 1, "height": 8, "width": 9, "mask:1": 5}) == wanted
    assert shapes(TWO, {"image": (1, 3, 8, 9), "mask": [1, 5]}) == wanted
    assert shapes(TWO, {"image": (1, 3, 8, 9), "mask:1": 5}) == wanted
    assert shapes(TWO, {"mask": (1, 5), "height": 8, "width": 9}) == wanted


def test_an_input_without_a_shape() -> None:
    assert shapes(model(("x", None)), {"x": (2, 3)}) == [(2, 3)]
    assert shapes(model(("x", None)), {"x": ()}) == [()]
    assert shapes(model(("x", ["n"])), {"x": 7}) == [(7,)]
    assert shapes(model(("x", None)), {"x": 7}) == [(7,)]
    with pytest.raises(UnsupportedError, match="'x' has no shape"):
        shapes(model(("x", None)), {})


def test_a_name_of_an_input_and_of_a_dimension() -> None:
    assert shapes(model(("n", ["n"])), {"n": 4}) == [(4,)]
    assert shapes(model(("n", ["n", "m"])), {"n": (4, 5)}) == [(4, 5)]


def test_the_error_lists_what_to_pin() -> None:
    with pytest.raises(UnsupportedError) as caught:
        shapes(TWO, {"height": 8})
    assert "dynamic dimensions: batch, width, mask:1" in caught.value.message
    assert "image [batch, 3, height, width], mask [batch, mask:1]" in caught.value.message
    assert caught.value.hint is not None
    assert "--dim batch=1 --dim width=1 --dim mask:1=1; or whole shapes:" in caught.value.hint
    assert "--shape image=1,3,8,1 --shape mask=1,1;" in caught.value.hint
    copied = dict(_Pin().convert(pin, None, None) for pin in re.findall("--dim (\\S+=1)", caught.value.hint))
    assert shapes(TWO, copied | {"height": 8}) == [(1, 3, 8, 1), (1, 1)]


@pytest.mark.parametrize(
    ("pins", "words"),
    [
        ({"depth": 3}, "depth"),
        ({"image": (1, 3, 8)}, "image"),
        ({"image": (1, 4, 8, 8)}, r"image .* cannot have the shape \[1, 4, 8, 8\]"),
        ({"image": (1, 3, 8, 8), "mask": (2, 5)}, "batch 2, but it is 1"),
        ({"image": (1, 3, 8, 8), "batch": 2, "mask:1": 1}, "batch 1, but it is 2"),
        ({"image": (1, 3, 8, 8), "mask": (1, -5)}, "impossible"),
        ({"image": (1, 3, 8, 1 << 62), "mask": (1, 5)}, "impossible"),
        ({"image": (1, 3, 8, 8), "mask:1": 1 << 70}, "impossible"),
    ],
)
def test_pins_that_do_not_fit(pins: dict[str, Any], words: str) -> None:
    with pytest.raises(ModelError, match=words):
        shapes(TWO, pins)


def test_a_shape_may_stand_for_a_negative_number() -> None:
    """As some exporters write a dynamic dimension."""
    proto = model(("x", [-1, 3]))
    with pytest.raises(ModelError, match="impossible"):
        shapes(proto, {})
    assert shapes(proto, {"x": (2, 3)}) == [(2, 3)]


def test_two_dimensions_without_a_name_are_two() -> None:
    """As some exporters write them, both as "?"."""
    proto = model(("x", ["?", 3, "?"]))
    assert shapes(proto, {"x": (2, 3, 5)}) == [(2, 3, 5)]
    assert shapes(proto, {"x:0": 2, "x:2": 5}) == [(2, 3, 5)]
    with pytest.raises(UnsupportedError, match=r"x:0, x:2"):
        shapes(proto, {})


def test_what_is_computed_from_a_pinned_shape_is_a_constant() -> None:
    """Shape, Gather, Concat, Reshape: as exporters write a flattening."""
    nodes = [
        helper.make_node("Shape", ["x"], ["s"]),
        helper.make_node("Gather", ["s", "zero"], ["n"], axis=0),
        helper.make_node("Unsqueeze", ["n", "axes"], ["u"]),
        helper.make_node("Concat", ["u", "rest"], ["target"], axis=0),
        helper.make_node("Reshape", ["x", "target"], ["y"]),
    ]
    constants = {"zero": np.array(0), "axes": np.array([0]), "rest": np.array([-1])}
    x = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
    proto = make_model(nodes, {"x": x}, ["y"], constants)
    for index, label in enumerate(["n", "c", "w"]):
        proto.graph.input[0].type.tensor_type.shape.dim[index].dim_param = label
    graph = compile_graph(proto.SerializeToString(), {"x": (2, 3, 4)})
    assert [node.op for node in graph.nodes if node.op != "view"] == ["copy"]
    np.testing.assert_array_equal(run_graph(graph, {"x": x})["y"], x.reshape(2, 12))


def test_the_command_line(tmp_path: Any) -> None:
    path, runner = tmp_path / "m.onnx", CliRunner()
    onnx.save(TWO, path)
    np.save(tmp_path / "image.npy", np.ones((1, 3, 2, 2), np.float32))
    np.save(tmp_path / "mask.npy", np.ones((1, 5), np.float32))
    files = ["-i", f"image={tmp_path}/image.npy", "-i", f"mask={tmp_path}/mask.npy"]
    for pins in (
        ["--shape", "image=1,3,2,2", "--shape", "mask=1,5"],
        ["--shape", "image=1,3,2,2", "--dim", "mask:1=5"],
    ):
        result = runner.invoke(main, ["run", str(path), *files, *pins, "--json"])
        assert result.exit_code == 0, result.output
    result = runner.invoke(main, ["run", str(path), *files, "--json"])
    assert result.exit_code == 3
    assert "--dim batch=1 --dim height=1 --dim width=1 --dim mask:1=1" in result.output
    result = runner.invoke(main, ["run", str(path), *files, "--shape", "image=batch,3,height,width"])
    assert result.exit_code == 2
    assert "NAME=NUMBER,NUMBER" in result.output


def test_initialisers_are_no_inputs_to_pin() -> None:
    proto = model(("x", ["n"]))
    proto.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, ["m"]))
    proto.graph.initializer.append(numpy_helper.from_array(np.ones(3, np.float32), "w"))
    assert shapes(proto, {"n": 2}) == [(2,)]
    with pytest.raises(ModelError, match="m"):
        shapes(proto, {"n": 2, "m": 3})


def test_numbers_of_numpy_are_numbers_and_others_are_refused(tmp_path: Any) -> None:
    path = tmp_path / "m.onnx"
    onnx.save(model(("x", ["n", "m"])), path)
    wanted = {"x": (1, 3)}
    for given in ({"dims": {"n": np.int64(1), "m": 3}}, {"shapes": {"x": np.array([1, 3])}}):
        assert {name: kind.shape for name, kind in opml.load(path, **given).inputs.items()} == wanted
    for wrong in ({"dims": {"n": 1.5, "m": 3}}, {"dims": {"n": "1", "m": 3}}, {"shapes": {"x": "1,3"}}):
        with pytest.raises(ModelError, match="neither a whole number"):
            opml.load(path, **wrong)
    with pytest.raises(ModelError, match="is a folder"):
        opml.load(tmp_path)
