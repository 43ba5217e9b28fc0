"""The reader takes what the format allows and refuses the rest by name."""

import contextlib
from pathlib import Path

import numpy as np
import onnx
import pytest
from front_models import helper, make_model, numbers, one_node, run_opml
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import AttributeProto, TensorProto, numpy_helper

from opml.compiler import compile_graph, compile_onnx, compile_program
from opml.errors import ModelError, OpmlError, UnsupportedError
from opml.graph import DType, TensorType
from opml.onnx_nodes import MAX_OPSET
from opml.reader import MIN_OPSET, read_onnx
from opml.tensors import read_tensor

X = numbers(2, 3)


def relu() -> onnx.ModelProto:
    return one_node("Relu", {"x": X})


def refused(model: onnx.ModelProto | bytes, error: type[OpmlError], *words: str) -> None:
    data = model if isinstance(model, bytes) else model.SerializeToString()
    with pytest.raises(error) as caught:
        compile_graph(data)
    assert caught.type is error
    for word in words:
        assert word in caught.value.message


def test_a_graph_has_inputs_nodes_and_the_opset() -> None:
    graph = read_onnx(relu().SerializeToString())
    assert (graph.inputs, graph.outputs, graph.opset) == (["x"], ["y"], 18)
    assert graph.types == {"x": TensorType(DType.FLOAT32, (2, 3))}
    assert [node.op for node in graph.nodes] == ["Relu"]


def test_a_path_and_its_bytes_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(relu().SerializeToString())
    assert read_onnx(path) == read_onnx(str(path)) == read_onnx(path.read_bytes())


def test_a_missing_file_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="No such file"):
        read_onnx(tmp_path / "no.onnx")
    with pytest.raises(ModelError, match="directory"):
        read_onnx(tmp_path)


@pytest.mark.parametrize("opset", [MIN_OPSET, MAX_OPSET])
def test_operator_sets_that_are_read(opset: int) -> None:
    assert read_onnx(one_node("Relu", {"x": X}, opset=opset).SerializeToString()).opset == opset


@pytest.mark.parametrize("opset", [MIN_OPSET - 1, MAX_OPSET + 1])
def test_operator_sets_that_are_not(opset: int) -> None:
    refused(one_node("Relu", {"x": X}, opset=opset), UnsupportedError, f"operator set {opset}")


def test_no_operator_set() -> None:
    model = relu()
    model.opset_import[0].domain = "com.example"
    refused(model, UnsupportedError, "com.example alone")
    del model.opset_import[:]
    refused(model, ModelError, "operator set")


@pytest.mark.parametrize("data", [b"", b"hello", b"\x00" * 64, b"\xff" * 64, b"\x0a" + b"\x80" * 9, b"{}"])
def test_no_model_at_all(data: bytes) -> None:
    refused(data, ModelError)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_damaged_file_never_gives_a_traceback(data: st.DataObject) -> None:
    whole = bytearray(relu().SerializeToString())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    whole = whole[: data.draw(st.integers(0, len(whole)))]
    with contextlib.suppress(ModelError):
        compile_graph(bytes(whole))


# Operators, domains, attributes, dtypes.


def test_all_unknown_operators_are_named() -> None:
    nodes = [helper.make_node("StringSplit", ["x"], ["a"]), helper.make_node("StringConcat", ["a"], ["y"])]
    refused(make_model(nodes, {"x": X}, ["y"]), UnsupportedError, "StringSplit", "StringConcat")


def test_another_domain_is_named() -> None:
    model = relu()
    model.graph.node[0].domain = "com.microsoft"
    refused(model, UnsupportedError, "com.microsoft.Relu")


def test_an_unknown_attribute_is_named() -> None:
    model = relu()
    model.graph.node[0].attribute.append(helper.make_attribute("colour", 1))
    refused(model, UnsupportedError, "colour", "Relu")


def test_an_attribute_given_twice() -> None:
    model = one_node("Flatten", {"x": X}, axis=1)
    model.graph.node[0].attribute.append(helper.make_attribute("axis", 0))
    refused(model, ModelError, "axis", "twice")


def test_an_attribute_of_another_kind() -> None:
    refused(one_node("Flatten", {"x": X}, axis="one"), UnsupportedError, "axis", "integer")
    refused(one_node("Transpose", {"x": X}, perm=[0.0, 1.0]), UnsupportedError, "perm")


def test_a_graph_attribute_is_named() -> None:
    model = relu()
    model.graph.node[0].attribute.append(AttributeProto(name="body", type=AttributeProto.GRAPH))
    refused(model, UnsupportedError, "body")


def test_an_attribute_that_is_no_text() -> None:
    model = one_node("MaxPool", {"x": numbers(1, 1, 4, 4)}, kernel_shape=[2, 2], auto_pad="VALID")
    next(a for a in model.graph.node[0].attribute if a.name == "auto_pad").s = b"\xff\xfe"
    refused(model, ModelError, "auto_pad")


def test_a_function_attribute_outside_of_a_function() -> None:
    model = one_node("Flatten", {"x": X}, axis=1)
    model.graph.node[0].attribute[0].ref_attr_name = "axis"
    refused(model, ModelError, "axis")


@pytest.mark.parametrize("dtype", ["float8e4m3fn", "string", "complex64"])
def test_dtypes_that_opml_does_not_have(dtype: str) -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.elem_type = getattr(TensorProto, dtype.upper())
    refused(model, UnsupportedError, "'x'", dtype)


@pytest.mark.parametrize("dtype", ["int16", "uint16", "uint32", "uint64", "float16", "bfloat16", "float64"])
def test_elements_in_fields_and_in_raw_data(dtype: str) -> None:
    x = np.array([0, 1, 250, 65500 if "16" not in dtype or dtype[0] == "u" else 3]).astype(DType(dtype).numpy)
    number = helper.np_dtype_to_tensor_dtype(x.dtype)
    for tensor in (numpy_helper.from_array(x, "x"), helper.make_tensor("x", number, [4], x.tolist())):
        read = read_tensor(tensor, "x")
        assert (read.dtype, read.tobytes()) == (x.dtype, x.tobytes())


@pytest.mark.parametrize("value", [-1, 65536])
def test_a_field_holds_no_more_than_the_dtype(value: int) -> None:
    tensor = TensorProto(data_type=TensorProto.FLOAT16, dims=[1], int32_data=[value], name="x")
    with pytest.raises(ModelError, match="float16"):
        read_tensor(tensor, "x")


def test_an_unknown_dtype_number() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.elem_type = 200
    refused(model, UnsupportedError, "200")


def test_an_initialiser_of_another_dtype_is_named() -> None:
    refused(one_node("Add", {"x": X}, {"wave": np.ones(3, np.complex64)}), UnsupportedError, "wave", "complex64")


def test_inputs_that_are_no_tensors() -> None:
    model = relu()
    model.graph.input[0].type.CopyFrom(helper.make_sequence_type_proto(helper.make_tensor_type_proto(1, [1])))
    refused(model, UnsupportedError, "sequence")


# Shapes.


def dynamic() -> onnx.ModelProto:
    model = relu()
    shape = model.graph.input[0].type.tensor_type.shape
    shape.dim[0].dim_param = "batch"
    shape.dim[1].Clear()
    return model


def test_dynamic_dimensions_are_listed() -> None:
    refused(dynamic(), UnsupportedError, "batch", "x:1")


def test_dynamic_dimensions_can_be_pinned() -> None:
    data = dynamic().SerializeToString()
    assert compile_graph(data, {"batch": 5, "x:1": 7}).types["y"].shape == (5, 7)
    with pytest.raises(UnsupportedError, match="x:1"):
        compile_graph(data, {"batch": 5})
    with pytest.raises(ModelError, match="width"):
        compile_graph(data, {"batch": 5, "x:1": 7, "width": 3})
    with pytest.raises(ModelError, match="impossible"):
        compile_graph(data, {"batch": -5, "x:1": 7})


def test_no_shape_at_all() -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.ClearField("shape")
    refused(model, UnsupportedError, "'x'", "no shape")


@pytest.mark.parametrize("size", [-1, 1 << 62])
def test_impossible_shapes(size: int) -> None:
    model = relu()
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = size
    refused(model, ModelError, "'x'", "impossible")


def test_an_output_without_elements_is_an_element_and_a_count_of_none() -> None:
    program = compile_program(one_node("Identity", {"x": numbers(2, 0)}).SerializeToString())
    assert [port.name for port in program.outputs] == ["y", "y.count"]
    assert [port.type.shape for port in program.outputs] == [(2, 1), (1,)]


def test_a_tensor_larger_than_memory_is_refused_before_it_is_made() -> None:
    wide = np.zeros((1 << 20, 1), np.float32)
    model = make_model(
        [helper.make_node("Transpose", ["x"], ["t"]), helper.make_node("Add", ["x", "t"], ["y"])], {"x": wide}, ["y"]
    )
    with pytest.raises(UnsupportedError, match="memory"):
        compile_program(model.SerializeToString())


def test_constants_cannot_grow_without_bound() -> None:
    nodes = [helper.make_node("ConstantOfShape", ["shape"], ["big"]), helper.make_node("Add", ["x", "big"], ["y"])]
    model = make_model(nodes, {"x": X}, ["y"], {"shape": np.array([1 << 20, 1 << 18, 3])})
    refused(model, UnsupportedError, "ConstantOfShape", "grow")


# Names and order.


def test_a_name_defined_twice() -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["y"])]
    refused(make_model(nodes, {"x": X}, ["y"]), ModelError, "'y'", "twice")
    refused(make_model([helper.make_node("Relu", ["x"], ["x"])], {"x": X}, ["x"]), ModelError, "'x'", "twice")
    model = relu()
    model.graph.initializer.extend([numpy_helper.from_array(X, "w")] * 2)
    refused(model, ModelError, "'w'", "twice")


def test_a_cycle() -> None:
    nodes = [helper.make_node("Add", ["x", "b"], ["a"]), helper.make_node("Relu", ["a"], ["b"])]
    refused(make_model(nodes, {"x": X}, ["b"]), ModelError, "'b'", "no earlier node")


def test_nothing_computes_an_input_or_an_output() -> None:
    refused(make_model([helper.make_node("Relu", ["z"], ["y"])], {"x": X}, ["y"]), ModelError, "'z'")
    refused(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": X}, ["z"]), ModelError, "'z'")
    refused(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": X}, []), ModelError, "no outputs")
    refused(make_model([helper.make_node("Relu", ["x"], ["y"])], {"x": X}, ["y", "y"]), ModelError, "twice")
    refused(make_model([helper.make_node("Relu", ["x"], [""])], {"x": X}, ["x"]), ModelError, "no output")


def test_names_without_end() -> None:
    for field in ("node", "tensor", "graph"):
        model = relu()
        if field == "tensor":
            model.graph.node[0].output[0] = model.graph.output[0].name = "n" * 5000
        else:
            (model.graph if field == "graph" else model.graph.node[0]).name = "n" * 5000
        refused(model, UnsupportedError, "5000 characters")


def test_an_output_that_is_an_input() -> None:
    refused(make_model([], {"x": X}, ["x"]), UnsupportedError, "'x'", "input and an output")


def test_a_model_without_inputs() -> None:
    model = make_model([helper.make_node("Relu", ["w"], ["y"])], {}, ["y"], {"w": X})
    with pytest.raises(UnsupportedError, match="without inputs"):
        compile_onnx(model.SerializeToString())


# Initialisers and constants.


def test_initialisers_listed_as_inputs_are_constants() -> None:
    model = one_node("Add", {"x": X}, {"w": X})
    model.ir_version = 3
    model.graph.input.append(helper.make_tensor_value_info("w", TensorProto.FLOAT, X.shape))
    graph = read_onnx(model.SerializeToString())
    assert graph.inputs == ["x"]
    assert list(graph.constants) == ["w"]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.int32, np.int8, np.uint8, np.bool_])
@pytest.mark.parametrize("raw", [True, False])
def test_both_forms_of_every_dtype(dtype: type, raw: bool) -> None:
    value = numbers(2, 3, dtype=dtype)
    kind = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    tensor = helper.make_tensor("t", kind, value.shape, value.tobytes() if raw else value.ravel().tolist(), raw=raw)
    read = read_tensor(tensor, "t")
    assert read.dtype == value.dtype
    np.testing.assert_array_equal(read, value)


def test_a_tensor_of_the_wrong_length() -> None:
    tensor = numpy_helper.from_array(X, "w")
    tensor.dims[0] = 1 << 30
    with pytest.raises(ModelError, match=r"w holds 24 bytes"):
        read_tensor(tensor, "w")
    listed = helper.make_tensor("w", TensorProto.FLOAT, [2], [1.0, 2.0])
    listed.dims[0] = 1 << 38
    with pytest.raises(ModelError, match="w holds 2 elements"):
        read_tensor(listed, "w")
    listed.dims[0] = -2
    with pytest.raises(ModelError, match="impossible"):
        read_tensor(listed, "w")


def test_a_tensor_of_values_that_do_not_fit() -> None:
    with pytest.raises(ModelError, match="no int8"):
        read_tensor(TensorProto(dims=[1], data_type=TensorProto.INT8, int32_data=[300]), "w")


def test_bools_are_made_of_any_byte() -> None:
    tensor = TensorProto(dims=[3], data_type=TensorProto.BOOL, raw_data=b"\x00\x02\xff")
    assert read_tensor(tensor, "b").tolist() == [False, True, True]


def test_external_data_is_refused_unread() -> None:
    for form in ({"data_location": TensorProto.EXTERNAL}, {}):
        tensor = TensorProto(name="w", dims=[1], data_type=TensorProto.FLOAT, raw_data=b"1234", **form)
        if not form:
            tensor.external_data.add(key="location", value="/etc/passwd")
        with pytest.raises(UnsupportedError, match="external data"):
            read_tensor(tensor, "w")


def test_sparse_and_segmented_tensors() -> None:
    model = relu()
    model.graph.sparse_initializer.add()
    refused(model, UnsupportedError, "sparse")
    tensor = numpy_helper.from_array(X, "w")
    tensor.segment.begin = 0
    with pytest.raises(UnsupportedError, match="segments"):
        read_tensor(tensor, "w")


def test_functions_with_overloads_or_names_given_twice() -> None:
    model = relu()
    model.functions.add(name="Swish", domain="mine", overload="other")
    refused(model, UnsupportedError, "Swish", "overload")
    model = relu()
    for _ in range(2):
        model.functions.add(name="Swish", domain="mine")
    refused(model, ModelError, "mine.Swish", "twice")


@pytest.mark.parametrize(
    ("attribute", "value", "expected"),
    [
        ("value", numpy_helper.from_array(X), X),
        ("value_float", 1.5, np.float32(1.5)),
        ("value_int", 3, np.int64(3)),
        ("value_floats", [1.0, 2.0], np.array([1, 2], np.float32)),
        ("value_ints", [1, 2], np.array([1, 2])),
    ],
)
def test_all_forms_of_constant(attribute: str, value: object, expected: np.ndarray) -> None:
    node = helper.make_node("Constant", [], ["c"], **{attribute: value})
    graph = read_onnx(make_model([node, helper.make_node("Relu", ["x"], ["y"])], {"x": X}, ["y"]).SerializeToString())
    assert graph.constants["c"].dtype == np.asarray(expected).dtype
    np.testing.assert_array_equal(graph.constants["c"], expected)


def test_constants_that_make_no_sense() -> None:
    def model(**attrs: object) -> onnx.ModelProto:
        return make_model([helper.make_node("Constant", [], ["c"], **attrs)], {"x": X}, ["c"])

    refused(model(), ModelError, "exactly one value")
    refused(model(value_int=1, value_float=1.0), ModelError, "exactly one value")
    refused(model(value_string="a"), UnsupportedError, "value_string")


# Optional outputs.


def test_the_mask_of_what_is_not_dropped() -> None:
    model = make_model([helper.make_node("Dropout", ["x"], ["y", "mask"])], {"x": X}, ["y", "mask"])
    y, mask = run_opml(model, {"x": X})
    np.testing.assert_array_equal(y, X)
    assert (mask.dtype, mask.shape, mask.all()) == (np.dtype(bool), X.shape, True)


def test_further_outputs_are_refused_where_they_are_read() -> None:
    x = numbers(1, 1, 4, 4)
    node = helper.make_node("BatchNormalization", ["x", *["one"] * 4], ["y", "further"])
    constants = {"one": np.ones(1, np.float32)}
    refused(make_model([node], {"x": x}, ["y", "further"], constants), UnsupportedError, "'further'")
    reader = helper.make_node("Cast", ["further"], ["z"], to=TensorProto.FLOAT)
    refused(make_model([node, reader], {"x": x}, ["z"], constants), UnsupportedError, "'further'")


def test_training_is_refused() -> None:
    vector = np.ones(3, np.float32)
    constants = {name: vector for name in ("scale", "bias", "mean", "var")}
    model = one_node("BatchNormalization", {"x": numbers(2, 3)}, constants, training_mode=1)
    refused(model, UnsupportedError, "training_mode")
    old = one_node("BatchNormalization", {"x": numbers(2, 3)}, constants, opset=9)
    old.graph.node[0].output.append("saved_mean")
    refused(old, UnsupportedError, "saved_mean", "train")
    drop = one_node("Dropout", {"x": X}, {"ratio": np.float32(0.5), "training": np.bool_(True)})
    refused(drop, UnsupportedError, "training_mode")


def test_a_missing_or_further_input() -> None:
    refused(one_node("Add", {"x": X}), UnsupportedError, "input 1 is missing", "Add")
    refused(one_node("Relu", {"x": X}, {"a": X}), UnsupportedError, "2 inputs", "Relu")


@pytest.mark.parametrize("field", ["op_type", "input", "output", "name", "domain"])
def test_a_name_that_is_no_text_is_refused(field: str) -> None:
    model = relu()
    node = model.graph.node[0]
    node.op_type, node.name, node.domain = "Rrrr", "nnnn", "dddd"
    node.input[0], node.output[0] = "iiii", "oooo"
    word = {"op_type": b"Rrrr", "input": b"iiii", "output": b"oooo", "name": b"nnnn", "domain": b"dddd"}[field]
    data = model.SerializeToString()
    assert data.count(word) == 1
    refused(data.replace(word, word[:3] + b"\x81"), ModelError, field, "UTF-8")


def test_a_file_of_another_framework_is_sent_to_convert(tmp_path: Path) -> None:
    file = tmp_path / "net.gguf"
    file.write_bytes(b"GGUF")
    with pytest.raises(ModelError, match="no ONNX file") as caught:
        compile_graph(file)
    assert str(caught.value.hint).endswith(f"`opml convert {file}`")
