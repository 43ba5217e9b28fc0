"""The elementary functions against binary64: their greatest errors, as written in docs/numerics.md."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from ops_ulp import REFERENCES, worst

from opml import numerics

DOCUMENT = Path(__file__).parents[2] / "docs" / "numerics.md"
# Over the arguments that docs/numerics.md names, up to all of `test_all_arguments`; where each is reached.
WORST = {
    "exp": (0.909106, 0x40A664C0),
    "log": (0.933825, 0x3F22BA71),
    "tanh": (1.362180, 0x3F214812),
    "sigmoid": (1.479658, 0xC09B1629),
    "erf": (1.018216, 0x3F87A94E),
    "sin": (1.535595, 0x4A710166),
    "cos": (1.533111, 0x6711AC0F),
    "tan": (3.073717, 0x7E4961F0),
    "asin": (2.416291, 0x3F0023C7),
    "acos": (1.180368, 0x3F1FA42D),
    "atan": (2.095763, 0x3ED95395),
    "sinh": (1.619789, 0x3FB712EB),
    "cosh": (1.359408, 0x4090FECA),
    "asinh": (1.993417, 0x3D800784),
    "acosh": (2.434239, 0x3F80FBEF),
    "atanh": (2.440229, 0x3CFD75D0),
    "expm1": (1.545613, 0x3F8A7394),
    "log1p": (1.437500, 0xB3C00000),
    "softplus": (2.021149, 0xBFA32A41),
}


@pytest.mark.parametrize("name", REFERENCES)
def test_a_sample_of_all_arguments(name: str) -> None:
    error, _ = worst(*REFERENCES[name], 0, 1 << 32, 4001, 4096)
    assert error <= WORST[name][0] + 1e-6


@pytest.mark.parametrize("name", REFERENCES)
def test_around_the_worst_argument(name: str) -> None:
    bound, at = WORST[name]
    error, _ = worst(*REFERENCES[name], at - 50_000, at + 50_000, 1, 1000)
    assert error == pytest.approx(bound, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("name", REFERENCES)
def test_all_arguments(name: str) -> None:
    error, at = worst(*REFERENCES[name], 0, 1 << 32, 1, 4096)
    print(f"\n{name}: {error:.6f} ulp at {at:#010x}")
    assert (error, at) == (pytest.approx(WORST[name][0], abs=1e-6), WORST[name][1])


@pytest.mark.parametrize("name", REFERENCES)
def test_the_document_states_the_measured_error(name: str) -> None:
    stated = re.search(rf"^\| `{name}` \|.*\| ([0-9.]+) at ", DOCUMENT.read_text(), re.M)
    assert stated is not None
    assert float(stated[1]) == pytest.approx(WORST[name][0], abs=0.0101)
    assert float(stated[1]) >= WORST[name][0], "rounded up"


def test_the_sweep_finds_a_wrong_function() -> None:
    error, _ = worst(numerics.tanh, REFERENCES["sigmoid"][1], 0, 1 << 32, 1 << 20, 512)
    assert error > 1e6


def test_rounding_to_integers_is_exact() -> None:
    values = [0.5, 1.5, 2.5, -0.5, -1.5, 8388607.5, -8388607.5, 8388608.0, 1e30, 0.49999997, -0.0, 3.0, -2.0000002]
    for value in np.array(values, np.float32):
        assert numerics.floor(value) == math.floor(value)
        assert numerics.ceil(value) == math.ceil(value)
        assert numerics.round_even(value) == np.rint(value)
        assert math.copysign(1, numerics.round_even(value)) == math.copysign(1, value)
    for odd in (np.inf, -np.inf):
        assert numerics.floor(np.float32(odd)) == numerics.ceil(np.float32(odd)) == odd
    assert np.isnan(numerics.floor(np.float32(np.nan)))
