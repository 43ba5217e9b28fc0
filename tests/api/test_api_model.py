"""The model as a user holds it: how inputs may be given, what is refused, and how it looks."""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx import TensorProto, helper

import opml
from opml.arrays import fit
from opml.errors import InputError, OpmlError
from opml.graph import DType, TensorType

MODELS = Path(__file__).parents[2] / "examples" / "models"


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> opml.Model:
    """y = a - b, of float32 [3]."""
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [3]) for name in ("a", "b", "y")]
    graph = helper.make_graph([helper.make_node("Sub", ["a", "b"], ["y"])], "<two>", values[:2], values[2:])
    file = tmp_path_factory.mktemp("models") / "two.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), file)
    return opml.load(file)


A, B = np.array([5, 6, 7], np.float32), np.array([1, 2, 3], np.float32)


@pytest.mark.parametrize(
    ("given", "named"),
    [
        (({"a": A, "b": B},), {}),
        ((A, B), {}),
        ((A,), {"b": B}),
        ((), {"a": A, "b": B}),
        (({"a": A},), {"b": B}),
        (([5, 6, 7], (1.0, 2.0, 3.0)), {}),
        ((A.astype(np.float64), B.astype(np.int8)), {}),
        ((A.astype(np.float16)[::-1][::-1], B.astype(np.uint64)), {}),
    ],
)
def test_inputs_may_be_given_in_many_ways(two: opml.Model, given: tuple[Any, ...], named: dict[str, Any]) -> None:
    for threads in (None, 1):
        (y,) = two.run(*given, threads=threads, **named).values()
        assert y.dtype == np.float32
        assert y.tolist() == [4, 4, 4]
    assert two.infer(*given, **named).outputs["y"].tolist() == [4, 4, 4]


@pytest.mark.parametrize(
    ("given", "named", "text"),
    [
        ((A,), {}, "input 'b' is missing"),
        ((), {}, "input 'a' is missing"),
        ((A, B, A), {}, "3 inputs; the model takes 2: a, b"),
        ((A, B), {"b": B}, "input 'b' is given twice"),
        ((A, B), {"c": B}, "no input 'c'"),
        (({"a": A, "b": B, "c": B},), {}, "no input 'c'"),
        ((A, B[:2]), {}, r"input 'b' must be float32\[3\], not float32\[2\]"),
        ((A, B[None]), {}, r"input 'b' must be float32\[3\], not float32\[1, 3\]"),
        (({"a": A, "b": B}, 2), {}, "one mapping alone"),
        ((A, [[1], [2, 3]]), {}, "input 'b' is no array of numbers"),
        ((A, ["x", "y", "z"]), {}, "input 'b' is no array of numbers"),
        ((A, None), {}, "input 'b' is no array of numbers"),
        ((A, B * np.float64(0.1)), {}, "values of this float64 array would change"),
        ((A, np.array([1, 2, 2**24 + 1])), {}, "values of this int64 array would change"),
        ((A, np.array([1, 2, 1e300])), {}, "would change"),
    ],
)
def test_what_does_not_fit_is_refused(
    two: opml.Model, given: tuple[Any, ...], named: dict[str, Any], text: str
) -> None:
    with pytest.raises(InputError, match=text):
        two.run(*given, **named)
    with pytest.raises(InputError, match=text):
        two.infer(*given, **named)


def test_a_shape_that_only_needs_a_reshape_says_so(two: opml.Model) -> None:
    with pytest.raises(InputError) as caught:
        two.run(A[None], B)
    assert caught.value.hint == "numpy.reshape(…, [3])"


INTEGERS = [DType.INT8, DType.UINT8, DType.INT16, DType.UINT16, DType.INT32, DType.UINT32, DType.INT64, DType.UINT64]
EDGES = [0, 1, 2**7, 2**8, 2**11 + 1, 2**15, 2**16, 2**24, 2**24 + 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**63 - 1]


@given(
    value=st.sampled_from(EDGES).flatmap(lambda edge: st.sampled_from([edge, edge - 1, -edge])),
    source=st.sampled_from(INTEGERS),
    target=st.sampled_from([*INTEGERS, DType.FLOAT16, DType.FLOAT32, DType.FLOAT64]),
)
def test_an_integer_is_taken_exactly_or_not_at_all(value: int, source: DType, target: DType) -> None:
    info = np.iinfo(source.numpy)
    if not info.min <= value <= info.max:
        return
    array = np.array([value], source.numpy)
    try:
        taken = fit("x", array, TensorType(target, (1,)))
    except InputError:
        if target.numpy.kind == "f":
            # Beyond the gapless range some are exact, but which ones is nothing to rely on.
            assert abs(value) > 2 ** (np.finfo(target.numpy).nmant + 1)
        else:
            assert not np.iinfo(target.numpy).min <= value <= np.iinfo(target.numpy).max
        return
    assert taken.dtype == target.numpy
    assert int(taken[0]) == value


@given(value=st.floats(), target=st.sampled_from([*INTEGERS, DType.FLOAT16, DType.FLOAT32]))
def test_a_float_is_taken_exactly_or_not_at_all(value: float, target: DType) -> None:
    try:
        taken = fit("x", np.array(value), TensorType(target, ()))
    except InputError:
        with np.errstate(all="ignore"):
            assert target.numpy.kind != "f" or float(np.array(value).astype(target.numpy)) != value
        return
    assert float(taken) == value or np.isnan(value)


def test_bools_are_taken_for_bools_only() -> None:
    flags = TensorType(DType.BOOL, (2,))
    assert fit("x", [True, False], flags).tolist() == [True, False]
    for wrong in ([1, 0], np.array([1.0, 0.0])):
        with pytest.raises(InputError):
            fit("x", wrong, flags)
    assert fit("x", [True, False], TensorType(DType.FLOAT32, (2,))).tolist() == [1.0, 0.0]


def test_an_array_of_the_right_type_is_not_copied() -> None:
    assert fit("x", A, TensorType(DType.FLOAT32, (3,))) is A


def test_python_floats_become_the_nearest_number() -> None:
    assert fit("x", [0.1], TensorType(DType.FLOAT32, (1,)))[0] == np.float32(0.1)
    with pytest.raises(InputError):
        fit("x", [0.5], TensorType(DType.INT32, (1,)))


def test_how_a_model_looks(two: opml.Model) -> None:
    assert str(two.inputs["a"]) == "float32[3]"
    name = f"0x{two.model_id.hex()[:12]}…"
    assert repr(two) == f"Model('<two>', {name}, (a: float32[3], b: float32[3]) -> (y: float32[3]))"
    html = two._repr_html_()
    assert "Model &lt;two&gt;" in html
    assert "<two>" not in html
    assert two.model_id.hex() in html
    assert repr(two.infer(A, B)) == "Inference('<two>', (y: float32[3]))"


def test_other_terms_are_another_id_and_the_same_program(two: opml.Model, tmp_path: Path) -> None:
    other = two.compile(window=600, clock=300)
    assert (other.header.window, other.header.clock) == (600, 300)
    assert other.model_id != two.model_id
    assert other.image.program is two.image.program
    assert two.compile().model_id == two.model_id
    other.save(tmp_path / "other.opml")
    assert opml.load(tmp_path / "other.opml").model_id == other.model_id
    assert opml.load(MODELS / "mlp.onnx").compile(one_phase=True).header.stride > 1


def test_a_closed_model_can_be_used_again(two: opml.Model) -> None:
    with two as model:
        model.run(A, B, threads=2)
        engine = model.engine
    assert "engine" not in vars(two)
    assert engine._pool is None
    assert two.run(A, B)["y"].tolist() == [4, 4, 4]
    two.close()
    two.close()


def test_every_error_is_opmls_own(two: opml.Model) -> None:
    with pytest.raises(OpmlError):
        two.run(A)
    with pytest.raises(OpmlError):
        opml.load("nowhere.onnx")


def test_the_root_of_outputs_is_what_a_claim_says(two: opml.Model) -> None:
    inference = two.infer(A, B)
    assert two.output_root(two.run(A, B)) == inference.output_root
    assert two.output_root({"y": A}) != inference.output_root
    with pytest.raises(InputError):
        two.output_root({"y": A[:2]})
