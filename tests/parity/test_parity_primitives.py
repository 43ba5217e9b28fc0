"""Every primitive, on random shapes, attributes and special values: definition = native = machine."""

import importlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from primitive_base import CASES, Sample, check, samples

from opml.errors import UnsupportedError
from opml.ops import OPS, type_of

for _file in sorted(Path(__file__).parent.glob("primitive_*.py")):
    importlib.import_module(_file.stem)

QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


def run(name: str, examples: int, derandomize: bool) -> None:
    @settings(max_examples=examples, deadline=None, derandomize=derandomize, database=None, suppress_health_check=QUIET)
    @given(sample=samples(name), seed=st.integers(0, 2**16))
    def property_(sample: Sample, seed: int) -> None:
        check(name, sample, seed)

    property_()


def test_every_primitive_has_a_case() -> None:
    assert set(CASES) == set(OPS)


@pytest.mark.parametrize("name", sorted(CASES))
def test_definition_native_and_machine_agree(name: str) -> None:
    run(name, 8, True)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(CASES))
def test_they_agree_on_many(name: str) -> None:
    run(name, 400, False)


@pytest.mark.parametrize("name", sorted(CASES))
def test_what_it_does_not_know_is_refused_by_name(name: str) -> None:
    """Whatever it has: not another attribute, not without inputs, not with too many."""

    @settings(max_examples=3, deadline=None, derandomize=True, database=None, suppress_health_check=QUIET)
    @given(sample=samples(name))
    def property_(sample: Sample) -> None:
        types = [None if x is None else type_of(x) for x in sample.inputs]
        for wrong, attrs in ((types, {**sample.attrs, "colour": 1}), ([], sample.attrs), (types * 9, sample.attrs)):
            with pytest.raises(UnsupportedError) as refused:
                OPS[name].infer(wrong, attrs)
            assert refused.value.message.startswith(name)

    property_()


def test_a_difference_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """A native kernel that is not its definition; a machine that runs another operator; a bound that is too low."""
    sample = Sample([np.arange(20, dtype=np.float32)], {})
    check("abs", sample, 0)
    good = OPS["abs"]
    monkeypatch.setitem(OPS, "abs", type(good)(**(vars(good) | {"fast": OPS["neg"].fast})))
    with pytest.raises(AssertionError, match="not the definition"):
        check("abs", sample, 0)
    monkeypatch.setitem(OPS, "abs", type(good)(**(vars(good) | {"code": OPS["neg"].code})))
    with pytest.raises(AssertionError, match="tiles 0"):
        check("abs", sample, 0)
    monkeypatch.setitem(OPS, "abs", type(good)(**(vars(good) | {"cost": lambda *_: 100})))
    with pytest.raises(AssertionError, match="more than 100"):
        check("abs", sample, 0)
