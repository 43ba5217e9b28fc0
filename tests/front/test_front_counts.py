"""A count through every operator that keeps it, as ONNX Runtime says; what would mean something else is refused."""

from typing import Any

import numpy as np
import onnx
import pytest
from front_models import helper, make_model, numbers
from test_front_indexing import Feeds, ints, run, same

from opml.compiler import compile_program
from opml.errors import UnsupportedError

N = helper.make_node
X = (numbers(4, 5, seed=3) * (numbers(4, 5, seed=5) > 0)).astype(np.float32)
C = np.array([1, 0, 1, 1, 0, 1], bool)
# Found in every model below: `p` int64 [2, count], where x is not zero, and `k` float32 [count, 3], of 6 rows.
FOUND = [N("NonZero", ["x"], ["p"]), N("Compress", ["r", "c"], ["k"], axis=0)]
GIVEN: Feeds = {"x": X, "r": numbers(6, 3), "c": C, "i": ints(0, 0, 1, 1, 1, 0)[:, None]}


def model(*nodes: onnx.NodeProto, opset: int = 18, **constants: Any) -> onnx.ModelProto:
    """FOUND, and nodes of which the last writes `y`; only what is read is an input."""
    made = [*FOUND, *nodes]
    used = {name for node in made for name in node.input}
    needed = [node for node in made if node in nodes or node.output[0] in used]
    read = {name for node in needed for name in node.input}
    feeds = {name: value for name, value in GIVEN.items() if name in read}
    return make_model(needed, feeds, ["y"], {k: np.asarray(v) for k, v in constants.items()}, opset)


def fed(made: onnx.ModelProto) -> Feeds:
    return {port.name: GIVEN[port.name] for port in made.graph.input}


KEPT: dict[str, onnx.ModelProto] = {
    "add one number": model(N("Add", ["k", "a"], ["y"]), a=np.float32(2)),
    "add a row": model(N("Mul", ["a", "k"], ["y"]), a=numbers(1, 1, 3)),
    "add another of that count": model(N("Exp", ["k"], ["e"]), N("Sub", ["k", "e"], ["y"])),
    "choose": model(N("Greater", ["k", "a"], ["g"]), N("Where", ["g", "k", "a"], ["y"]), a=np.float32(0)),
    "cast": model(N("Cast", ["p"], ["y"], to=onnx.TensorProto.FLOAT)),
    "cast to double": model(N("Cast", ["k"], ["d"], to=11), N("Neg", ["d"], ["y"])),
    "identity": model(N("Identity", ["k"], ["y"])),
    "softmax": model(N("Softmax", ["k"], ["y"])),
    "greatest of each": model(N("ArgMax", ["k"], ["y"], axis=1, keepdims=0)),
    "greatest of each column": model(N("ArgMax", ["p"], ["y"], axis=0, keepdims=0)),
    "split": model(N("Split", ["k", "s"], ["a", "b"], axis=-1), N("Identity", ["b"], ["y"]), s=ints(1, 2)),
    "transpose": model(N("Transpose", ["p"], ["y"])),
    "transpose in order": model(N("Transpose", ["k"], ["y"], perm=[0, 1])),
    "unsqueeze": model(N("Unsqueeze", ["p", "a"], ["y"]), a=ints(0, 2)),
    "squeeze": model(N("Unsqueeze", ["k", "a"], ["u"]), N("Squeeze", ["u", "a"], ["y"]), a=ints(0)),
    "reshape": model(N("Reshape", ["k", "s"], ["y"]), s=ints(-1, 3, 1)),
    "flatten": model(N("Unsqueeze", ["k", "a"], ["u"]), N("Flatten", ["u"], ["y"]), a=ints(2)),
    "concat": model(N("Neg", ["k"], ["n"]), N("Concat", ["k", "n"], ["y"], axis=1)),
    "slice of another axis": model(N("Slice", ["k", "s", "e", "a"], ["y"]), s=ints(-2), e=ints(9), a=ints(1)),
    "the first few": model(N("Slice", ["k", "s", "e"], ["y"]), s=ints(0), e=ints(2)),
    "more than there are": model(N("Slice", ["k", "s", "e", "a"], ["y"]), s=ints(0), e=ints(5), a=ints(-2)),
    "gather by what is counted": model(
        N("Gather", ["p", "z"], ["q"]), N("Gather", ["t", "q"], ["y"], axis=1), z=np.array(1), t=numbers(2, 5, 2)
    ),
    "gather another axis": model(N("Gather", ["p", "z"], ["y"]), z=ints(1, 0, 1)[:, None]),
    "gather a first one": model(N("Gather", ["k", "z"], ["y"]), z=ints(0, 2)),
    "gather elements by what is counted": model(N("GatherElements", ["t", "p"], ["y"], axis=1), t=numbers(2, 5)),
    "gather elements of it": model(
        N("ArgMax", ["k"], ["m"], axis=1), N("GatherElements", ["k", "m"], ["y"], axis=1)
    ),
    "gather nd": model(N("Transpose", ["p"], ["t"]), N("GatherND", ["x", "t"], ["y"])),
    "scatter nd": model(
        N("Transpose", ["p"], ["t"]), N("GatherND", ["x", "t"], ["v"]), N("Neg", ["v"], ["n"]),
        N("ScatterND", ["z", "t", "n"], ["y"]), z=numbers(4, 5),
    ),
    "matmul": model(N("MatMul", ["k", "w"], ["y"]), w=numbers(3, 4)),
    "gemm": model(N("Gemm", ["k", "w", "b"], ["y"], transB=1), w=numbers(4, 3), b=numbers(1, 4)),
    "what is known of its shape": model(N("Shape", ["k"], ["y"], start=1)),
    "sum of each": model(N("ReduceSum", ["k", "a"], ["y"], keepdims=0), a=ints(-1)),
    "greatest": model(N("ReduceMax", ["p", "a"], ["y"]), a=ints(0)),
    "mean, by an attribute": model(N("ReduceMean", ["k"], ["y"], axes=[1], keepdims=0), opset=13),
}  # fmt: skip


@pytest.mark.parametrize("label", KEPT)
def test_a_count_goes_on_as_onnx_runtime_says(label: str) -> None:
    (found,) = same(KEPT[label], fed(KEPT[label]), close=True)
    assert found.size


def test_a_part_without_a_name() -> None:
    """ONNX Runtime does not come back from this one."""
    made = model(N("Split", ["k", "s"], ["", "y"], axis=1), s=ints(1, 2))
    (found,) = run(made, fed(made))
    assert np.array_equal(found, GIVEN["r"][C][:, 1:])


REFUSED: dict[str, onnx.ModelProto] = {
    "as many uncounted": model(N("Add", ["k", "r"], ["y"])),
    "another count": model(
        N("Not", ["c"], ["d"]), N("Compress", ["r", "d"], ["l"], axis=0), N("Add", ["k", "l"], ["y"])
    ),
    "along other axes": model(N("Unsqueeze", ["k", "a"], ["u"]), N("Add", ["k", "u"], ["y"]), a=ints(1)),
    "softmax along it": model(N("Softmax", ["k"], ["y"], axis=0)),
    "softmax of old": model(N("Softmax", ["k"], ["y"], axis=1), opset=12),
    "greatest along it": model(N("ArgMax", ["k"], ["y"])),
    "split along it": model(N("Split", ["k"], ["y", "z"], num_outputs=2)),
    "flat": model(N("Reshape", ["k", "s"], ["y"]), s=ints(-1)),
    "flattened": model(N("Flatten", ["p"], ["y"], axis=0)),
    "concat along it": model(N("Concat", ["k", "k"], ["y"], axis=0)),
    "concat with another": model(N("Concat", ["k", "r"], ["y"], axis=1)),
    "the last ones": model(N("Slice", ["k", "s", "e"], ["y"]), s=ints(-2), e=ints(1 << 40)),
    "but the first": model(N("Slice", ["k", "s", "e"], ["y"]), s=ints(1), e=ints(5)),
    "but the last": model(N("Slice", ["k", "s", "e"], ["y"]), s=ints(0), e=ints(-1)),
    "every second": model(N("Slice", ["k", "s", "e", "a", "t"], ["y"]), s=ints(0), e=ints(6), a=ints(0), t=ints(2)),
    "gather from its end": model(N("Gather", ["k", "z"], ["y"]), z=ints(-1)),
    "gather by what is computed": model(N("Squeeze", ["i"], ["j"]), N("Gather", ["k", "j"], ["y"])),
    "gather elements of it by others": model(N("GatherElements", ["k", "z"], ["y"]), z=ints(0, 0, 0)[None]),
    "gather elements along it": model(
        N("ArgMax", ["k"], ["m"], axis=1), N("GatherElements", ["k", "m"], ["y"], axis=0)
    ),
    "gather nd of it": model(N("GatherND", ["k", "i"], ["y"])),
    "gather nd by tuples of any length": model(
        N("Slice", ["c", "s", "e"], ["d"]), N("NonZero", ["d"], ["q"]), N("GatherND", ["x", "q"], ["y"]),
        s=ints(0), e=ints(2),
    ),
    "scatter into it": model(N("ScatterND", ["k", "i", "r"], ["y"])),
    "scatter of it": model(N("ScatterND", ["r", "i", "k"], ["y"])),
    "scatter elements": model(N("ScatterElements", ["x", "p", "v"], ["y"], axis=1), v=numbers(2, 20)),
    "matmul along it": model(N("MatMul", ["w", "k"], ["y"]), w=numbers(4, 6)),
    "product with itself": model(N("Transpose", ["k"], ["t"]), N("MatMul", ["k", "t"], ["y"])),
    "gemm with a bias for each": model(N("Gemm", ["k", "w", "b"], ["y"]), w=numbers(3, 4), b=numbers(6, 4)),
    "gemm of it transposed": model(N("Gemm", ["k", "w"], ["y"], transA=1), w=numbers(6, 4)),
    "its shape": model(N("Shape", ["k"], ["y"])),
    "its size": model(N("Size", ["k"], ["y"])),
    "the sum of all": model(N("ReduceSum", ["k"], ["y"])),
    "the sum along it": model(N("ReduceSum", ["k", "a"], ["y"]), a=ints(0)),
    "the best of it": model(N("TopK", ["k", "z"], ["", "y"], axis=0), z=ints(2)),
    "sorted out again": model(N("NonZero", ["k"], ["y"])),
    "running sums": model(N("CumSum", ["k", "z"], ["y"]), z=np.array(0)),
    "repeated": model(N("Tile", ["k", "z"], ["y"]), z=ints(2, 1)),
}  # fmt: skip


@pytest.mark.parametrize("label", REFUSED)
def test_what_would_mean_something_else_is_refused_by_name(label: str) -> None:
    """ONNX Runtime computes each of these, or refuses it for the sizes that the data happens to have."""
    with pytest.raises(UnsupportedError, match="data") as error:
        compile_program(REFUSED[label].SerializeToString())
    assert error.value.message.startswith(REFUSED[label].graph.node[-1].op_type)


def body(*nodes: onnx.NodeProto, inputs: tuple[str, ...] = (), outputs: tuple[str, ...] = ("o",)) -> onnx.GraphProto:
    """A subgraph; Loop's inputs are its round's number and its condition."""
    kinds = {"n": onnx.TensorProto.INT64, "g": onnx.TensorProto.BOOL}
    ports = [helper.make_tensor_value_info(name, kinds.get(name, onnx.TensorProto.FLOAT), None) for name in inputs]
    for port in ports:
        port.type.tensor_type.shape.SetInParent()
    return helper.make_graph(list(nodes), "body", ports, [onnx.ValueInfoProto(name=name) for name in outputs])


ROUND = body(N("Identity", ["g"], ["h"]), N("Neg", ["k"], ["o"]), inputs=("n", "g"), outputs=("h", "o"))
SCANNED = body(N("Mul", ["k", "e"], ["o"]), inputs=("e",))


def inside(node: onnx.NodeProto, *more: onnx.NodeProto, **constants: Any) -> onnx.ModelProto:
    """Nodes whose subgraphs read `k` from outside."""
    return model(N("Identity", ["k"], ["also"]), *more, node, **constants)


def test_rounds_do_not_gather_what_is_counted() -> None:
    loop = N("Loop", ["m", "t"], ["y"], body=ROUND)
    scan = N("Scan", ["v"], ["y"], body=SCANNED, num_scan_inputs=1)
    for made in (inside(loop, m=np.array(2), t=np.array(True)), inside(scan, v=numbers(2))):
        with pytest.raises(UnsupportedError, match="a size that is data"):
            compile_program(made.SerializeToString())


def test_a_branch_keeps_its_count_and_two_must_have_the_same() -> None:
    def either(other: str) -> onnx.ModelProto:
        then, els = body(N("Neg", ["k"], ["o"])), body(N("Identity", [other], ["o"]))
        bits = [N("Cast", ["c"], ["b"], to=onnx.TensorProto.INT32), N("ReduceMin", ["b"], ["m"], keepdims=0)]
        flag = N("Cast", ["m"], ["f"], to=onnx.TensorProto.BOOL)
        choice = N("If", ["f"], ["y"], then_branch=then, else_branch=els)
        return model(N("Identity", ["k"], ["also"]), N("Identity", ["r"], ["all"]), *bits, flag, choice)

    same(either("also"), {"r": GIVEN["r"], "c": C})
    with pytest.raises(UnsupportedError, match="sizes are data"):
        compile_program(either("all").SerializeToString())
