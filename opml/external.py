"""External data: tensors that lie in files beside the model, mapped, never read whole.

A file is named by the model, which is believed in nothing: only regular files within the model's own folder are opened,
on a way without any link, and a tensor must lie within its file before a byte of it is touched.
"""

import hashlib
import mmap
import os
import stat
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from opml.errors import ModelError, UnsupportedError

Bytes = NDArray[np.uint8]
_KEYS = {"location", "offset", "length", "checksum", "basepath"}


class ExternalFiles:
    """The files of one model's folder, each opened and mapped once. Without a folder there are none."""

    def __init__(self, folder: Path | None = None) -> None:
        self.folder = folder
        self._maps: dict[str, Bytes] = {}
        self._digests: dict[str, str] = {}

    def read(self, tensor: TensorProto, nbytes: int, what: str) -> Bytes:
        """The `nbytes` bytes of a tensor, mapped. Raises ModelError where the file does not hold them."""
        fields = _fields(tensor, what)
        location = fields.get("location", "")
        if self.folder is None:
            raise UnsupportedError(
                f"{what} is external data ({location!r}), and a model given as bytes has no folder",
                "give the model as a file",
            )
        data = self._open(location, what)
        offset = _number(fields, "offset", what, 0)
        length = _number(fields, "length", what, data.size - offset)
        if offset + length > data.size or length < 0:
            raise ModelError(f"{what} leaves its file: {length} bytes from {offset} on of {data.size} in {location!r}")
        if length != nbytes:
            raise ModelError(f"{what} holds {length} bytes, not the {nbytes} of its shape")
        self._check(fields.get("checksum", ""), location, data, what)
        return data[offset : offset + length]

    def _open(self, location: str, what: str) -> Bytes:
        if location not in self._maps:
            path = PurePosixPath(location)
            if not location or "\0" in location or "\\" in location or path.is_absolute() or ".." in path.parts:
                raise ModelError(f"{what} lies outside of the model's folder: {location!r}")
            try:
                self._maps[location] = _map(self.folder or Path(), path.parts)
            except _NotRegularError as error:
                raise ModelError(f"{what}: {location!r}: {error}", "put the file itself beside the model") from None
            except FileNotFoundError:
                hint = f"the model's weights are in a file of their own: put {location!r} where it was beside the model"
                raise ModelError(f"{what}: {location!r}: No such file or directory", hint) from None
            except OSError as error:
                raise ModelError(f"{what}: {location!r}: {error.strerror}") from None
        return self._maps[location]

    def _check(self, checksum: str, location: str, data: Bytes, what: str) -> None:
        """The SHA-1 of the whole file, where the model gives it."""
        if not checksum:
            return
        if location not in self._digests:
            self._digests[location] = hashlib.sha1(data.data, usedforsecurity=False).hexdigest()
        if checksum.lower() != self._digests[location]:
            raise ModelError(f"{what}: {location!r} does not have the checksum {checksum[:40]!r}")


class _NotRegularError(Exception):
    """Something on the way to a file that is not what it should be."""


def _map(folder: Path, parts: tuple[str, ...]) -> Bytes:
    """A file of a folder, mapped. No link is followed: what was looked at is what is opened."""
    if not parts:
        raise _NotRegularError("it is a folder")
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in parts[:-1]:
            _expect(part, place, stat.S_ISDIR, "a link or no folder is on the way")
            inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=place)
            os.close(place)
            place = inner
        # Opening a pipe or a device would have effects of its own, so it is looked at first.
        _expect(parts[-1], place, stat.S_ISREG, "it is a link or no ordinary file")
        file = os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=place)
    finally:
        os.close(place)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise _NotRegularError("it is no ordinary file")
        if status.st_size == 0:
            return np.zeros(0, np.uint8)
        return np.frombuffer(mmap.mmap(file, status.st_size, access=mmap.ACCESS_READ), np.uint8)
    finally:
        os.close(file)


def _expect(part: str, place: int, kind: Any, otherwise: str) -> None:
    if not kind(os.stat(part, dir_fd=place, follow_symlinks=False).st_mode):
        raise _NotRegularError(otherwise)


def _fields(tensor: TensorProto, what: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    for entry in tensor.external_data:
        if entry.key in fields or entry.key not in _KEYS:
            raise ModelError(f"{what} has external data with {entry.key[:40]!r}, or with it twice")
        fields[entry.key] = entry.value
    return fields


def _number(fields: dict[str, str], key: str, what: str, default: int) -> int:
    text = fields.get(key)
    if text is None:
        return default
    if not (text.isascii() and text.isdigit() and len(text) < 20):
        raise ModelError(f"{what} has external data with the {key} {text[:40]!r}")
    return int(text)
