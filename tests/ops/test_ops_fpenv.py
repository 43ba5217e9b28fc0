"""The floating-point environment: whatever another library has set in our threads, results do not change."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from ops_helpers import leaves

from opml import fpenv
from opml.ops import evaluate

TINY = np.full(64, 1e-40, np.float32)


def control() -> int:
    """This thread's control bits; the low six of MXCSR say what has happened, not what shall."""
    current = fpenv.exchange(fpenv.STANDARD)
    fpenv.exchange(current)
    return int(current & ~0x3F)


@pytest.fixture
def flushing() -> Iterator[None]:
    """Flush-to-zero in this thread."""
    before = fpenv.exchange(fpenv.FLUSH_TO_ZERO)
    try:
        yield
    finally:
        fpenv.exchange(before)


def test_flush_to_zero_would_change_results(flushing: None) -> None:
    assert not leaves("add", [TINY, TINY], {}, []).any(), "so the next tests test something"


def test_evaluation_keeps_subnormals_and_restores_the_callers_setting(flushing: None) -> None:
    for fast in (False, True):
        assert (evaluate("add", [TINY, TINY], {}, fast=fast).view(np.uint32) == 2 * TINY.view(np.uint32)).all()
    assert control() == fpenv.FLUSH_TO_ZERO


def test_the_setting_is_restored_after_an_error(flushing: None) -> None:
    with pytest.raises(ZeroDivisionError), fpenv.standard():
        raise ZeroDivisionError
    assert control() == fpenv.FLUSH_TO_ZERO


def test_a_new_thread_may_inherit_the_setting_and_is_not_trusted(flushing: None) -> None:
    with ThreadPoolExecutor(1) as pool:
        added = pool.submit(evaluate, "add", [TINY, TINY], {}, fast=True).result()
    assert (added.view(np.uint32) == 2 * TINY.view(np.uint32)).all()
    assert control() == fpenv.FLUSH_TO_ZERO
