"""Tensor.sol reads what numpy writes."""

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from contracts_evm import Evm, Reverted, address_of
from hypothesis import example, given
from hypothesis import strategies as st

Call = Callable[..., Any]
BITS = st.integers(0, 2**32 - 1)
SPECIAL = [0, 1 << 31, 1, 0x7FFFFF, 0x800000, 0x3F800000, 0x7F7FFFFF, 0xFF7FFFFF, 0x7F800000, 0xFF800000, 0x7FC00000]


@pytest.fixture(scope="module")
def tensor(harness: Any) -> Call:
    evm = Evm()
    evm.fund(address_of("deployer"))
    evm.learn(harness("TensorHarness"))
    address = evm.deploy(address_of("deployer"), harness("TensorHarness"))
    return lambda name, *args: evm.call(address, name, *args)


def floats(*bits: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array(bits, "<u4").view("<f4")


@given(bits=st.lists(BITS | st.sampled_from(SPECIAL), min_size=1, max_size=12))
@example(bits=[1 << 31, 0])
@example(bits=[0xFF800000, 0xFF7FFFFF])
@example(bits=[0x7F800000, 0xFFC00000, 0x7FC00000])
def test_argmax_is_numpys(tensor: Call, bits: list[int]) -> None:
    values = floats(*bits)
    assert tensor("argmaxFloat32", values.tobytes()) == int(values.argmax())


def test_argmax_of_nothing_is_refused(tensor: Call) -> None:
    for data in (b"", b"\0\0\0"):
        with pytest.raises(Reverted, match="OutOfRange"):
            tensor("argmaxFloat32", data)


@given(bits=BITS.filter(lambda bits: bits >> 23 & 0xFF != 0xFF))
@example(bits=0)
@example(bits=1 << 31)
@example(bits=1)
@example(bits=0x7F7FFFFF)
@example(bits=0xFF7FFFFF)
@example(bits=0x3DCCCCCD)
def test_a_float_in_wads_is_cut_off_towards_zero(tensor: Call, bits: int) -> None:
    exact = Fraction(float(floats(bits)[0])) * 10**18
    assert tensor("wadAt", floats(7, bits).tobytes(), 1) == int(exact)


@pytest.mark.parametrize("bits", [0x7F800000, 0xFF800000, 0x7FC00000, 0x7F800001])
def test_what_has_no_value_is_refused(tensor: Call, bits: int) -> None:
    with pytest.raises(Reverted, match="NotFinite"):
        tensor("wadAt", floats(bits).tobytes(), 0)


READERS = {
    "float32At": "<u4",
    "int64At": "<i8",
    "int32At": "<i4",
    "int8At": "i1",
    "uint8At": "u1",
    "boolAt": "?",
}


@pytest.mark.parametrize("name", READERS)
@given(data=st.binary(min_size=24, max_size=48), index=st.integers(0, 2))
def test_elements_are_numpys(tensor: Call, name: str, data: bytes, index: int) -> None:
    kind = np.dtype(READERS[name])
    whole = data[: len(data) - len(data) % kind.itemsize]
    assert tensor(name, data, index) == np.frombuffer(whole, kind)[index].item()


@pytest.mark.parametrize("name", [*READERS, "wadAt"])
def test_no_element_outside_the_data_is_read(tensor: Call, name: str) -> None:
    size = np.dtype(READERS.get(name, "<f4")).itemsize
    data = bytes(size * 3 + size - 1)
    tensor(name, data, 2)
    for index in (3, 2**64, 2**255, 2**256 - 1):
        with pytest.raises(Reverted, match="OutOfRange"):
            tensor(name, data, index)
