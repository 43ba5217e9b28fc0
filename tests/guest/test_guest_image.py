"""The committed image is what the sources say."""

import dataclasses
from collections.abc import Iterator

import numpy as np
import pytest
from guest_program import node_program, run_machine

from opml import guest
from opml.errors import ImageError
from opml.guest.build import build_image, describe_image, versions
from opml.ops import evaluate
from vm.guest.record import GUEST_LOG2

STALE = (
    "the committed guest is not what the kernels, softfloat and compilers make: run `python -m opml.guest`, commit it"
)


@pytest.fixture
def forgetful() -> Iterator[None]:
    """Leaves no trace of a changed description in the module's caches."""
    guest.load.cache_clear()
    yield
    guest.load.cache_clear()


def test_description_fits_the_image() -> None:
    made = describe_image(guest.load())
    assert dataclasses.replace(made, built_with=guest.describe().built_with) == guest.describe()
    assert len(guest.load()) <= 1 << GUEST_LOG2
    assert guest.root().hex() == made.root


def test_a_corrupt_image_is_refused(forgetful: None, monkeypatch: pytest.MonkeyPatch) -> None:
    other = dataclasses.replace(guest.describe(), sha256="00" * 32)
    monkeypatch.setattr(guest, "describe", lambda: other)
    with pytest.raises(ImageError, match="corrupt"):
        guest.load()


def test_rebuilt_bit_for_bit() -> None:
    """With the versions that it was built with: the same bytes. With another Python's byte code: the same results."""
    image = build_image()
    if versions() == guest.describe().built_with:
        assert image == guest.load(), STALE
    rng = np.random.default_rng(2)
    inputs = [rng.normal(size=size).astype(np.float32) for size in ((3, 40), (40, 9), (9,))]
    program = node_program("matmul", inputs, {})
    memory, a0, _ = run_machine(program.with_guest(image), 0, program.tiles)
    assert a0 == 0
    assert memory.read(program.out_address, program.out_bytes) == evaluate("matmul", inputs, {}).tobytes()
