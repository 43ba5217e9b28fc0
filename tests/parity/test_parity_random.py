"""Random models: definition, native kernels and machine give the same bits, ONNX Runtime nearly the same numbers."""

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from parity_builder import Array
from parity_operators import MORE_OPERATORS, OPERATORS, models
from parity_spatial import SPATIAL
from parity_ways import check_bits, check_close, compile_model, run_onnxruntime

from opml.dispute.selfcheck import self_check
from opml.engine import Engine
from opml.errors import SelfCheckError
from opml.model_memory import constant_regions, input_bytes, model_memory

Case = tuple[onnx.ModelProto, dict[str, Array], set[str]]
SLOW_CHECKS = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def check(case: Case, seed: int) -> None:
    model, feeds, exact = case
    outputs = check_bits(compile_model(model), feeds, seed)
    check_close(outputs, run_onnxruntime(model, feeds), exact)


@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=SLOW_CHECKS)
@given(case=models(), seed=st.integers(0, 2**16))
def test_random_models(case: Case, seed: int) -> None:
    check(case, seed)


@settings(max_examples=40, deadline=None, derandomize=True, suppress_health_check=SLOW_CHECKS)
@given(case=models(wild=True), seed=st.integers(0, 2**16))
def test_random_models_on_any_floats(case: Case, seed: int) -> None:
    """NaNs, infinities, subnormals, random bits: here only the bits are compared."""
    model, feeds, _ = case
    check_bits(compile_model(model), feeds, seed)


@pytest.mark.parametrize("operator", OPERATORS + MORE_OPERATORS + SPATIAL, ids=lambda operator: operator.__name__)
def test_each_operator(operator: Any) -> None:
    """No operator is left out by chance."""

    @settings(max_examples=3, deadline=None, derandomize=True, suppress_health_check=SLOW_CHECKS, database=None)
    @given(case=models((operator,), max_nodes=2), seed=st.integers(0, 2**16))
    def run(case: Case, seed: int) -> None:
        check(case, seed)

    run()


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=SLOW_CHECKS)
@given(case=models(max_nodes=12), seed=st.integers(0, 2**16))
def test_many_random_models(case: Case, seed: int) -> None:
    check(case, seed)


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=SLOW_CHECKS)
@given(case=models(OPERATORS + SPATIAL, max_nodes=8), seed=st.integers(0, 2**16))
def test_many_random_models_of_images(case: Case, seed: int) -> None:
    check(case, seed)


@pytest.mark.slow
@settings(max_examples=2000, deadline=None, suppress_health_check=SLOW_CHECKS)
@given(case=models(max_nodes=12, wild=True), seed=st.integers(0, 2**16))
def test_many_random_models_on_any_floats(case: Case, seed: int) -> None:
    model, feeds, _ = case
    check_bits(compile_model(model), feeds, seed)


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=SLOW_CHECKS)
@given(case=models(max_nodes=3), data=st.data())
def test_a_flipped_bit_is_noticed(case: Case, data: st.DataObject) -> None:
    """Wherever one bit of what a node has written is wrong, the machine disagrees."""
    model, feeds, _ = case
    image = compile_model(model)
    tensors = Engine(image.program).run_full(feeds)
    node = data.draw(st.sampled_from(image.program.nodes), label="node")
    false = tensors[node.output].copy()
    false[data.draw(st.integers(0, false.size - 1), label="byte")] ^= 1 << data.draw(st.integers(0, 7), label="bit")
    tensors[node.output] = false
    memory = model_memory(image, tensors, input_bytes(image.program, feeds), constant_regions(image))
    with pytest.raises(SelfCheckError):
        self_check(image.header, memory, count=image.program.tiles)


def test_a_false_value_is_noticed() -> None:
    """The comparison itself: a difference beyond the tolerance, a wrong integer, and a wrong bit of an exact value."""
    good = {"x": np.linspace(1, 2, 5, dtype=np.float32)}
    check_close({"x": good["x"] * np.float32(1 + 1e-5)}, good, set())
    for bad, exact in ((np.float32(1 + 1e-3), set()), (np.float32(1 + 1e-5), {"x"})):
        with pytest.raises(AssertionError):
            check_close({"x": good["x"] * bad}, good, exact)
    with pytest.raises(AssertionError):
        check_close({"n": np.array([1, 2])}, {"n": np.array([1, 3])}, set())
