"""Small files that ask for terabytes, endless loops and endless depth; files that lie; a name for each."""

# ruff: noqa: E501  (tables)

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import AttributeProto, GraphProto, NodeProto, SparseTensorProto, TensorProto, helper, numpy_helper

BOMBS: dict[str, Callable[[], bytes]] = {}
HUGE = 1 << 40
X = np.ones((1, 2, 4, 4), np.float32)
FLOAT = TensorProto.FLOAT


def bomb(make: Callable[[], onnx.ModelProto | bytes]) -> Callable[[], onnx.ModelProto | bytes]:
    def build() -> bytes:
        made = make()
        return made if isinstance(made, bytes) else made.SerializeToString()

    BOMBS[make.__name__] = build
    return make


def model(
    nodes: list[NodeProto], constants: dict[str, Any] | None = None, shape: tuple[int, ...] = X.shape, opset: int = 18
) -> onnx.ModelProto:
    """From `x` to `y`; constants that nothing computes are beside."""
    tensors = [numpy_helper.from_array(np.asarray(value), name) for name, value in (constants or {}).items()]
    inputs = [helper.make_tensor_value_info("x", FLOAT, shape)]
    graph = helper.make_graph(nodes, "bomb", inputs, [onnx.ValueInfoProto(name="y")], tensors)
    return helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", opset)])


def unfolding(op: str, constants: dict[str, Any], after: str = "Add", **attrs: Any) -> onnx.ModelProto:
    """An operator on constants alone, whose result meets `x`."""
    return model(
        [helper.make_node(op, list(constants), ["big"], **attrs), helper.make_node(after, ["x", "big"], ["y"])],
        constants,
    )


UNFOLDING: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "constant_of_shape": ("ConstantOfShape", {"s": [HUGE]}, {}),
    "constant_of_many": ("ConstantOfShape", {"s": [1 << 20] * 20}, {}),
    "constant_of_negative": ("ConstantOfShape", {"s": [-5, -5]}, {}),
    "expand": ("Expand", {"a": np.float32([[1]]), "s": [1 << 20, 1 << 20]}, {}),
    "tile": ("Tile", {"a": np.float32([1, 2]), "r": [HUGE]}, {}),
    "tile_many": ("Tile", {"a": np.ones((2,) * 8, np.float32), "r": [1 << 20] * 8}, {}),
    "range": ("Range", {"a": np.int64(0), "b": np.int64(1 << 62), "c": np.int64(1)}, {}),
    "range_float": ("Range", {"a": np.float32(0), "b": np.float32(1e30), "c": np.float32(1e-30)}, {}),
    "range_nan": ("Range", {"a": np.float32(0), "b": np.float32(np.nan), "c": np.float32(0)}, {}),
    "one_hot": ("OneHot", {"i": np.arange(99), "d": np.int64(1 << 38), "v": np.float32([0, 1])}, {}),
    "eye_like": ("EyeLike", {"a": np.ones((2000, 2000), np.float32)}, {"k": 1 << 62}),
    "pad": ("Pad", {"a": np.float32([1]), "p": [1 << 30, 1 << 30]}, {}),
    "pad_huge": ("Pad", {"a": np.float32([1]), "p": [1 << 62, 1 << 62]}, {}),
    "gather": ("Gather", {"a": np.ones((1, 1 << 16), np.float32), "i": np.zeros(1 << 16, np.int64)}, {}),
    "resize": ("Resize", {"a": X, "r": np.float32([]), "s": np.float32([1, 1, 1e9, 1e9])}, {}),
    "resize_sizes": ("Resize", {"a": X, "r": np.float32([]), "q": np.float32([]), "s": [1, 2, 1 << 30, 1 << 30]}, {}),
    "upsample": ("Upsample", {"a": X, "s": np.float32([1, 1, 1e20, 1e20])}, {}),
    "center_crop_pad": ("CenterCropPad", {"a": X, "s": [1 << 20, 1 << 20, 1 << 20, 1 << 20]}, {}),
    "concat": ("Concat", {f"c{i}": np.ones((1, 1, 1, 1 << 12), np.float32) for i in range(300)}, {"axis": 3}),
    "hann_window": ("HannWindow", {"n": np.int64(HUGE)}, {}),
    "mel_weights": ("MelWeightMatrix", {"a": np.int64(1 << 30), "b": np.int64(1 << 30), "c": np.int64(9), "d": np.float32(0), "e": np.float32(9)}, {}),
    "non_zero": ("NonZero", {"a": np.ones((1 << 10, 1 << 10), np.float32)}, {}),
    "top_k": ("TopK", {"a": np.ones(1 << 16, np.float32), "k": [HUGE]}, {}),
    "trilu": ("Trilu", {"a": np.ones((1 << 10, 1 << 10), np.float32), "k": np.int64((1 << 63) - 1)}, {}),
    "einsum": ("Einsum", {f"e{i}": np.ones(1 << 12, np.float32) for i in range(4)}, {"equation": "a,b,c,d->abcd"}),
    "outer_product": ("Mul", {"a": np.ones((1 << 16, 1), np.float32), "b": np.ones((1, 1 << 16), np.float32)}, {}),
    "matmul": ("MatMul", {"a": np.ones((1 << 16, 1), np.float32), "b": np.ones((1, 1 << 16), np.float32)}, {}),
    "cumsum": ("CumSum", {"a": np.ones((1 << 12, 1 << 8), np.float32), "b": np.int64(0)}, {}),
    "depth_to_space": ("DepthToSpace", {"a": X}, {"blocksize": 1 << 31}),
    "space_to_depth": ("SpaceToDepth", {"a": X}, {"blocksize": 1 << 62}),
    "col2im": ("Col2Im", {"a": np.ones((1, 4, 4), np.float32), "i": [1 << 30, 1 << 30], "b": [1, 1]}, {}),
    "max_unpool": ("MaxUnpool", {"a": X, "i": np.zeros(X.shape, np.int64), "s": [1, 2, HUGE, HUGE]}, {"kernel_shape": [2, 2]}),
    "affine_grid": ("AffineGrid", {"t": np.ones((1, 2, 3), np.float32), "s": [1, 1, 1 << 30, 1 << 30]}, {}),
    "dft": ("DFT", {"a": np.ones((1, 8, 1), np.float32), "n": np.int64(HUGE)}, {}),
    "split": ("Split", {"a": np.ones(1 << 16, np.float32)}, {"num_outputs": 1 << 16}),
    "random": ("RandomNormal", {}, {"shape": [HUGE]}),
    "scatter": ("ScatterND", {"a": np.ones(4, np.float32), "i": np.int64([[1 << 62]]), "u": np.float32([1])}, {}),
    "reshape": ("Reshape", {"a": X, "s": [1] * 100_000}, {}),
    "unsqueeze": ("Unsqueeze", {"a": X, "s": list(range(100_000))}, {}),
    "slice": ("Slice", {"a": X, "b": [-(1 << 63)], "c": [(1 << 63) - 1], "d": [0], "e": [-(1 << 63)]}, {}),
    "dequantize": ("DequantizeLinear", {"a": np.ones((4, 4), np.int8), "s": np.ones((4, 1), np.float32)}, {"block_size": 1 << 62}),
}  # fmt: skip
for _name, (_op, _constants, _attrs) in UNFOLDING.items():
    BOMBS[f"unfolding_{_name}"] = lambda op=_op, c=_constants, a=_attrs: unfolding(op, c, **a).SerializeToString()

# Operators on `x` itself, whose sizes are wild.
SIZED: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "conv_kernel": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"kernel_shape": [HUGE, HUGE]}),
    "conv_pads": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"pads": [HUGE] * 4}),
    "conv_pads_overflow": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"pads": [(1 << 63) - 1] * 4}),
    "conv_dilations": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"dilations": [HUGE, HUGE]}),
    "conv_group": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"group": HUGE}),
    "conv_group_0": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"group": 0}),
    "conv_long": ("Conv", {"w": np.ones((1, 2, 3, 3), np.float32)}, {"pads": [1] * 1_000_000}),
    "conv_transpose": ("ConvTranspose", {"w": np.ones((2, 1, 3, 3), np.float32)}, {"strides": [HUGE, HUGE]}),
    "conv_transpose_shape": ("ConvTranspose", {"w": np.ones((2, 1, 3, 3), np.float32)}, {"output_shape": [HUGE, HUGE]}),
    "conv_transpose_wide": ("ConvTranspose", {"w": np.ones((2, 1, 3, 3), np.float32)}, {"strides": [1 << 18, 1 << 18]}),
    "max_pool": ("MaxPool", {}, {"kernel_shape": [HUGE, HUGE], "pads": [HUGE - 1] * 4}),
    "average_pool": ("AveragePool", {}, {"kernel_shape": [1 << 20, 1 << 20], "pads": [(1 << 20) - 1] * 4, "count_include_pad": 1}),
    "lp_pool": ("LpPool", {}, {"kernel_shape": [1, 1], "strides": [0, 0]}),
    "transpose": ("Transpose", {}, {"perm": [0] * 1_000_000}),
    "flatten": ("Flatten", {}, {"axis": -(1 << 63)}),
    "softmax": ("Softmax", {}, {"axis": (1 << 63) - 1}),
    "tile": ("Tile", {"r": [1 << 20] * 4}, {}),
    "expand": ("Expand", {"s": [1 << 20, 1, 1, 1, 1, 1]}, {}),
    "lrn": ("LRN", {}, {"size": HUGE}),
    "grid_sample": ("GridSample", {"g": np.zeros((1, 1 << 10, 1 << 10, 2), np.float32)}, {}),
    "roi_align": ("RoiAlign", {"r": np.zeros((1, 4), np.float32), "b": np.zeros(1, np.int64)}, {"output_height": 1 << 31, "output_width": 1 << 31, "sampling_ratio": 1 << 31}),
    "stft": ("STFT", {"s": np.int64(0)}, {}),
    "nms": ("NonMaxSuppression", {"s": np.ones((1, 1, 4), np.float32), "m": [HUGE]}, {}),
    "resize": ("Resize", {"r": np.float32([]), "s": np.float32([1, 1, 1e9, 1e9])}, {"mode": "cubic"}),
    "reduce": ("ReduceSum", {"a": [0] * 1_000_000}, {}),
    "split": ("Split", {"s": [1] * 100_000}, {"axis": 3}),
    "lstm": ("LSTM", {"w": np.ones((1, 16, 4), np.float32), "r": np.ones((1, 16, 4), np.float32)}, {"hidden_size": HUGE}),
}  # fmt: skip
for _name, (_op, _constants, _attrs) in SIZED.items():
    BOMBS[f"sized_{_name}"] = lambda op=_op, c=_constants, a=_attrs: model(
        [helper.make_node(op, ["x", *c], ["y"], **a)], c
    ).SerializeToString()

# Operators on inputs that are said to be large: what a rule makes as large must be counted.
WIDE: dict[str, tuple[str, dict[str, tuple[int, ...]], int, dict[str, Any]]] = {
    "split": ("Split", {"x": (4, 4)}, 2, {"num_outputs": HUGE}),
    "lp_pool": ("LpPool", {"x": (1, 1, 4, 4)}, 1, {"kernel_shape": [1, HUGE]}),
    "dropout": ("Dropout", {"x": (1, HUGE >> 2)}, 2, {}),
    "hardmax": ("Hardmax", {"x": (1, HUGE >> 2)}, 1, {}),
    "cumulate": ("CumSum", {"x": (2, HUGE >> 3)}, 1, {"exclusive": 1}),
    "reduction": ("ReduceSum", {"x": (0, HUGE >> 2)}, 1, {}),
    "attention": ("Attention", {"x": (1, 1, 4, 4), "k": (1, 1, HUGE >> 6, 4), "v": (1, 1, HUGE >> 6, 4)}, 1, {"is_causal": 1}),
    "attention_of_many": ("Attention", {"x": (1, 1, HUGE >> 6, 4), "k": (1, 1, 4, 4), "v": (1, 1, 4, 4)}, 1, {"is_causal": 1}),
    "attention_mask": ("Attention", {"x": (1, 1, 1, 4), "k": (1, 1, HUGE >> 6, 4), "v": (1, 1, HUGE >> 6, 4), "m": (1, 2)}, 1, {}),
    "linear_attention": ("LinearAttention", {"x": (1, HUGE >> 6, 4), "k": (1, HUGE >> 6, 4), "v": (1, HUGE >> 6, 4)}, 2, {"q_num_heads": 1, "kv_num_heads": 1, "update_rule": "linear"}),
    "rotary": ("RotaryEmbedding", {"x": (1, 1, HUGE >> 6, 4), "k": (1, HUGE >> 6, 2), "v": (1, HUGE >> 6, 2)}, 1, {}),
}  # fmt: skip


def wide(op: str, inputs: dict[str, tuple[int, ...]], outputs: int, attrs: dict[str, Any]) -> bytes:
    opset, axis = (28 if op == "LinearAttention" else 25), {"a": np.int64(0)} if op in ("CumSum", "ReduceSum") else {}
    names = ["y", "z"][:outputs]
    constants = {name: np.asarray(value).reshape(-1 if op == "ReduceSum" else ()) for name, value in axis.items()}
    made = model([helper.make_node(op, [*inputs, *axis], names, **attrs)], constants, opset=opset)
    del made.graph.input[:]
    made.graph.input.extend(helper.make_tensor_value_info(name, FLOAT, shape) for name, shape in inputs.items())
    made.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names[1:])
    return made.SerializeToString()


for _name, _wide in WIDE.items():
    BOMBS[f"wide_{_name}"] = lambda given=_wide: wide(*given)


def doubling(op: str, first: str, count: int, **attrs: Any) -> list[NodeProto]:
    nodes, last = [], first
    for index in range(count):
        name = f"d{index}" if index < count - 1 else "y"
        nodes.append(helper.make_node(op, [last, last], [name], **attrs))
        last = name
    return nodes


@bomb
def doubling_an_input() -> onnx.ModelProto:
    return model(doubling("Concat", "x", 60, axis=3))


@bomb
def doubling_a_constant() -> onnx.ModelProto:
    return model([*doubling("Concat", "c", 60, axis=3), helper.make_node("Add", ["x", "y"], ["z"])], {"c": X})


@bomb
def squaring_a_constant() -> onnx.ModelProto:
    return model(
        [*doubling("MatMul", "c", 4000), helper.make_node("Add", ["x", "y"], ["z"])],
        {"c": np.eye(64, dtype=np.float32)},
    )


@bomb
def many_large_constants() -> onnx.ModelProto:
    """Each within what one may take, all together far beyond."""
    nodes = [helper.make_node("ConstantOfShape", ["s"], [f"c{i}"]) for i in range(2000)]
    nodes += [helper.make_node("Sum", ["x", *(f"c{i}" for i in range(2000))], ["y"])]
    return model(nodes, {"s": [1 << 20]})


@bomb
def many_zero_strides() -> onnx.ModelProto:
    """A small tensor made wide by a broadcast, again and again."""
    nodes = []
    for index in range(200):
        nodes.append(helper.make_node("Expand", ["c", "s"], [f"e{index}"]))
        nodes.append(helper.make_node("Neg", [f"e{index}"], [f"n{index}"]))
    nodes.append(helper.make_node("Sum", ["x", *(f"n{i}" for i in range(200))], ["y"]))
    return model(nodes, {"c": np.float32([1]), "s": [1 << 22]})


@bomb
def expensive_folding() -> onnx.ModelProto:
    nodes = [helper.make_node("MatMul", ["a", "a"], [f"m{i}"]) for i in range(500)]
    nodes += [helper.make_node("Sum", ["x", *(f"m{i}" for i in range(500))], ["y"])]
    return model(nodes, {"a": np.ones((1000, 1000), np.float32)}, (1000, 1000))


# Loops, branches, functions.


def body(nodes: list[NodeProto], outputs: list[str], inputs: tuple[str, ...] = ("i", "go", "s")) -> GraphProto:
    kinds = [TensorProto.INT64, TensorProto.BOOL, FLOAT]
    infos = [helper.make_tensor_value_info(n, k, []) for n, k in zip(inputs, kinds, strict=False)]
    return helper.make_graph(nodes, "body", infos, [onnx.ValueInfoProto(name=name) for name in outputs])


def loop(nodes: list[NodeProto], outputs: list[str], trips: int, shape: tuple[int, ...] = X.shape) -> onnx.ModelProto:
    node = helper.make_node("Loop", ["m", "", "x"], ["y"], body=body(nodes, outputs))
    return model([node], {"m": np.int64(trips)}, shape)


@bomb
def endless_loop() -> onnx.ModelProto:
    return loop([helper.make_node("Neg", ["s"], ["t"])], ["go", "t"], 1 << 62)


@bomb
def endless_loop_of_nothing() -> onnx.ModelProto:
    return loop([], ["go", "s"], (1 << 63) - 1)


@bomb
def loop_without_a_trip_count() -> onnx.ModelProto:
    made = loop([], ["go", "s"], 1)
    made.graph.node[0].input[0] = ""
    return made


@bomb
def doubling_loop() -> onnx.ModelProto:
    return loop([helper.make_node("Concat", ["s", "s"], ["t"], axis=0)], ["go", "t"], 1000)


@bomb
def gathering_loop() -> onnx.ModelProto:
    nodes = [helper.make_node("Identity", ["s"], ["t"]), helper.make_node("Neg", ["s"], ["each"])]
    node = helper.make_node("Loop", ["m", "", "x"], ["z", "y"], body=body(nodes, ["go", "t", "each"]))
    return model([node], {"m": np.int64(1 << 20)})


@bomb
def loops_within_loops() -> onnx.ModelProto:
    """1,000 rounds of 1,000 of 1,000 …"""
    inner = body([helper.make_node("Neg", ["s0"], ["t0"])], ["g0", "t0"], ("i0", "g0", "s0"))
    for depth in range(1, 8):
        node = helper.make_node("Loop", ["m", "", f"s{depth}"], [f"t{depth}"], body=inner)
        inner = body([node], [f"g{depth}", f"t{depth}"], (f"i{depth}", f"g{depth}", f"s{depth}"))
    return model([helper.make_node("Loop", ["m", "", "x"], ["y"], body=inner)], {"m": np.int64(1000)})


@bomb
def branching_twice_at_each_depth() -> onnx.ModelProto:
    """2^12 branches."""
    graph = body([helper.make_node("Neg", ["x"], ["z"])], ["z"], ())
    for _ in range(12):
        graph = body([helper.make_node("If", ["c"], ["z"], then_branch=graph, else_branch=graph)], ["z"], ())
    made = model([helper.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=graph)])
    made.graph.input.append(helper.make_tensor_value_info("c", TensorProto.BOOL, []))
    return made


@bomb
def deep_graphs() -> bytes:
    """More than the protobuf library reads, by hand."""
    graph = body([helper.make_node("Neg", ["x"], ["z"])], ["z"], ())
    for _ in range(30):
        graph = body([helper.make_node("If", ["c"], ["z"], then_branch=graph)], ["z"], ())
    data = model([helper.make_node("If", ["c"], ["y"], then_branch=graph)]).SerializeToString()
    inner = graph.SerializeToString()
    for _ in range(400):
        attribute = b"\x0a\x01a\x32" + varint(len(inner)) + inner + b"\xa0\x01\x05"
        node = b"\x2a" + varint(len(attribute)) + attribute
        inner = b"\x0a" + varint(len(node)) + node
    return data + b"\x3a" + varint(len(inner)) + inner


def varint(number: int) -> bytes:
    out = bytearray()
    while number > 127:
        out.append(number & 127 | 128)
        number >>= 7
    out.append(number)
    return bytes(out)


def functions(calls: dict[str, list[str]]) -> onnx.ModelProto:
    """Functions that call each other, each one several others in turn."""
    made = model([helper.make_node("f0", ["x"], ["y"], domain="mine")])
    made.opset_import.append(helper.make_opsetid("mine", 1))
    for name, called in calls.items():
        nodes, last = [], "a"
        for index, other in enumerate(called):
            output = "b" if index == len(called) - 1 else f"t{index}"
            domain = "mine" if other in calls else ""
            nodes.append(helper.make_node(other, [last], [output], domain=domain))
            last = output
        imports = [helper.make_opsetid("", 18), helper.make_opsetid("mine", 1)]
        made.functions.append(helper.make_function("mine", name, ["a"], ["b"], nodes, imports))
    return made


@bomb
def function_that_calls_itself() -> onnx.ModelProto:
    return functions({"f0": ["f0"]})


@bomb
def functions_that_call_each_other() -> onnx.ModelProto:
    return functions({"f0": ["f1", "f1"], "f1": ["f0", "f0"]})


@bomb
def functions_that_multiply() -> onnx.ModelProto:
    return functions({**{f"f{i}": [f"f{i + 1}"] * 10 for i in range(14)}, "f14": ["Neg"]})


@bomb
def function_within_a_branch_that_calls_itself() -> onnx.ModelProto:
    made = functions({"f0": ["Neg"]})
    inner = body([helper.make_node("f0", ["a"], ["z"], domain="mine")], ["z"], ())
    del made.functions[0].node[:]
    made.functions[0].node.append(
        helper.make_node("Constant", [], ["c"], value=numpy_helper.from_array(np.array(True)))
    )
    made.functions[0].node.append(helper.make_node("If", ["c"], ["b"], then_branch=inner, else_branch=inner))
    return made


# Files that lie, or are too much.


@bomb
def a_cycle() -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "z"], ["y"]), helper.make_node("Neg", ["y"], ["z"])])


@bomb
def a_node_that_reads_itself() -> onnx.ModelProto:
    return model([helper.make_node("Add", ["x", "y"], ["y"])])


def lying(**fields: Any) -> onnx.ModelProto:
    made = model([helper.make_node("Add", ["x", "w"], ["y"])])
    made.graph.initializer.append(TensorProto(name="w", **fields))
    return made


LIES: dict[str, dict[str, Any]] = {
    "overflow": {"dims": [1 << 32, 1 << 32], "data_type": 1, "raw_data": b""},
    "overflow_to_size": {"dims": [1 << 32, 1 << 32, 1 << 32], "data_type": 1, "raw_data": b"1234"},
    "negative": {"dims": [-1], "data_type": 1, "raw_data": b"1234"},
    "two_negatives": {"dims": [-2, -2], "data_type": 1, "float_data": [1, 2, 3, 4]},
    "short": {"dims": [HUGE], "data_type": 1, "raw_data": b"1234"},
    "long": {"dims": [1], "data_type": 1, "raw_data": b"1" * 4000},
    "field": {"dims": [1], "data_type": 1, "int64_data": [1]},
    "empty": {"dims": [0, HUGE], "data_type": 1},
    "rank": {"dims": [1] * 100_000, "data_type": 1, "float_data": [1]},
    "kind_0": {"dims": [1], "data_type": 0, "raw_data": b"1234"},
    "kind_99": {"dims": [1], "data_type": 99, "raw_data": b"1234"},
    "kind_negative": {"dims": [1], "data_type": -1, "raw_data": b"1234"},
    "strings": {"dims": [1], "data_type": 8, "string_data": [b"a"]},
    "int4": {"dims": [HUGE], "data_type": 22, "raw_data": b"1234"},
    "both": {"dims": [1], "data_type": 1, "raw_data": b"1234", "float_data": [1.0]},
    "external": {"dims": [1], "data_type": 1, "data_location": 1},
}
for _name, _fields in LIES.items():
    BOMBS[f"lying_{_name}"] = lambda fields=_fields: lying(**fields).SerializeToString()


@bomb
def a_million_nodes() -> onnx.ModelProto:
    made = model([])
    made.graph.node.extend([NodeProto(op_type="Neg", input=["x"], output=["y0"])] * 1_000_000)
    return made


@bomb
def a_million_nodes_in_a_branch() -> onnx.ModelProto:
    graph = GraphProto(name="g")
    graph.node.extend([NodeProto(op_type="Neg", input=["x"], output=["y0"])] * 1_000_000)
    made = model([NodeProto(op_type="If", input=["x"], output=["y"])])
    made.graph.node[0].attribute.add(name="then_branch", type=AttributeProto.GRAPH).g.CopyFrom(graph)
    return made


@bomb
def a_million_initialisers() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    made.graph.initializer.extend([TensorProto(name="w", data_type=1, float_data=[1], dims=[1])] * 1_000_000)
    return made


@bomb
def a_million_outputs() -> onnx.ModelProto:
    made = model([NodeProto(op_type="Split", input=["x"], output=[f"o{i}" for i in range(1_000_000)])])
    made.graph.output[0].name = "o1"
    return made


@bomb
def a_million_inputs_of_a_node() -> onnx.ModelProto:
    return model([NodeProto(op_type="Sum", input=["x"] * 1_000_000, output=["y"])])


@bomb
def sixty_thousand_graph_outputs() -> onnx.ModelProto:
    made = model([])
    for index in range(60_000):
        made.graph.node.add(op_type="Neg", input=["x"], output=[f"y{index}"])
        made.graph.output.add(name=f"y{index}")
    del made.graph.output[0]
    return made


@bomb
def sixty_thousand_inputs() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    for index in range(60_000):
        made.graph.input.append(helper.make_tensor_value_info(f"i{index}", FLOAT, ["n"] if index % 2 else [1]))
    return made


@bomb
def enormous_names() -> onnx.ModelProto:
    name = "n" * (1 << 22)
    return model([helper.make_node("Neg", ["x"], [name]), helper.make_node("Neg", [name], ["y"])])


@bomb
def an_enormous_operator() -> onnx.ModelProto:
    return model([helper.make_node("N" * (1 << 22), ["x"], ["y"])])


@bomb
def an_enormous_text() -> onnx.ModelProto:
    return model([helper.make_node("Gelu", ["x"], ["y"], approximate="n" * (1 << 22))], opset=20)


@bomb
def names_defined_twice() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])] * 2)
    made.graph.input.extend(list(made.graph.input))
    return made


@bomb
def no_text() -> bytes:
    return model([helper.make_node("Neeg", ["x"], ["y"])]).SerializeToString().replace(b"Neeg", b"N\xff\xfe\x80")


@bomb
def sparse_initialisers() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    made.graph.sparse_initializer.append(SparseTensorProto(dims=[HUGE, HUGE]))
    return made


@bomb
def a_sparse_constant() -> onnx.ModelProto:
    made = model([NodeProto(op_type="Constant", output=["c"]), helper.make_node("Add", ["x", "c"], ["y"])])
    made.graph.node[0].attribute.add(name="sparse_value", type=AttributeProto.SPARSE_TENSOR).sparse_tensor.dims.append(
        HUGE
    )
    return made


@bomb
def operator_sets_without_end() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    for version in range(100_000):
        made.opset_import.add(domain=f"d{version}", version=version)
    made.opset_import.add(domain="", version=1 << 62)
    return made


@bomb
def inputs_that_are_no_tensors() -> onnx.ModelProto:
    made = model([helper.make_node("Neg", ["x"], ["y"])])
    made.graph.input[0].type.sequence_type.elem_type.tensor_type.elem_type = 1
    return made


@bomb
def an_input_as_large_as_memory() -> onnx.ModelProto:
    return model([helper.make_node("Neg", ["x"], ["y"])], shape=(1 << 37,))


@bomb
def an_input_beyond_memory() -> onnx.ModelProto:
    return model([helper.make_node("Transpose", ["x"], ["y"])], shape=(1 << 38, 1 << 38))


@bomb
def an_input_of_many_dimensions() -> onnx.ModelProto:
    return model([helper.make_node("Neg", ["x"], ["y"])], shape=(1,) * 100_000)


@bomb
def a_wide_sum() -> onnx.ModelProto:
    """A lowering that makes a node for each of its inputs, of an operator that costs much to check."""
    return model([NodeProto(op_type="Concat", input=["x"] * 30_000, output=["y"])])


@bomb
def nothing() -> bytes:
    return b""


@bomb
def no_model() -> bytes:
    return b"\x7fELF" + bytes(10_000)


@bomb
def noise() -> bytes:
    return np.random.default_rng(0).integers(0, 256, 1 << 20, np.uint8).tobytes()
