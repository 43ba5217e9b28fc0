"""The compiled image: a program, the guest, and the header whose hash is the model's identity; and its file.

File: magic (8 bytes), version and manifest length (4 bytes each, little endian), manifest (JSON), zeros to the next
page; then the sections, whole pages each, in the order of the manifest. A section's bytes are what memory holds from
its address on, so the file is mapped and used as it is. No hash of a page is stored: none would be believed.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from opml.errors import ImageError, UnsupportedError
from opml.files import write_whole
from opml.header import ModelHeader
from opml.manifest import MANIFEST_MAX, Manifest, SectionJson, make_manifest
from opml.program import Program
from opml.roots import guest_root, model_root
from vm.constants import PAGE_BYTES
from vm.guest.record import GUEST_BASE, TABLE_BASE

MAGIC = b"\x89OPML\r\n\x1a"
VERSION = 1
_PREFIX = len(MAGIC) + 8

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Image:
    """A model that may be run and bonded on: made by the compiler, or accepted by the validator."""

    header: ModelHeader
    program: Program
    guest: bytes

    @property
    def model_id(self) -> bytes:
        """keccak256 of the header: the model's name on chain."""
        return self.header.model_id


@dataclass(frozen=True, eq=False)
class RawImage:
    """A file's manifest and mapped sections, not yet believed in anything but that they lie within the file."""

    manifest: Manifest
    sections: tuple[tuple[SectionJson, Bytes], ...]


def make_header(program: Program, guest: bytes, *, window: int, clock: int, one_phase: bool = False) -> ModelHeader:
    """The header of a program under a guest. `window` and `clock` are seconds.

    In one-phase mode the whole program is one unit of the tile phase. Raises ValueError where a field is out of range.
    """
    return header_from_root(program, model_root(program, guest), guest_root(guest), window, clock, one_phase)


def header_from_root(
    program: Program, root: bytes, guest: bytes, window: int, clock: int, one_phase: bool
) -> ModelHeader:
    """The header that goes with a model root and a guest root."""
    return ModelHeader(
        model_root=root,
        guest_root=guest,
        entry=GUEST_BASE,
        tiles=1 if one_phase else program.tiles,
        stride=program.tiles if one_phase else 1,
        max_steps=program.max_steps if one_phase else program.max_tile_steps,
        input_address=program.input_region.address,
        input_bytes=program.input_region.nbytes,
        output_address=program.output_region.address,
        output_bytes=program.output_region.nbytes,
        window=window,
        clock=clock,
        input_level=program.input_region.level,
        output_level=program.output_region.level,
    )


def build_image(program: Program, guest: bytes, *, window: int, clock: int, one_phase: bool = False) -> Image:
    """Hashes guest, table and constants and puts the image together; nothing is written.

    Raises UnsupportedError for a program without inputs: there would be nothing to make a claim about.
    """
    if not program.inputs:
        raise UnsupportedError("a model without inputs: there is nothing to make a claim about")
    return Image(make_header(program, guest, window=window, clock=clock, one_phase=one_phase), program, guest)


def constant_runs(program: Program) -> list[tuple[int, list[str]]]:
    """Runs of constants that follow one another without an empty page: (address of the first page, names)."""
    runs: list[tuple[int, list[str]]] = []
    end = 0
    for name in sorted(program.constants, key=lambda name: program.tensors[name].address):
        tensor = program.tensors[name]
        if runs and tensor.address // PAGE_BYTES * PAGE_BYTES <= end:
            runs[-1][1].append(name)
        else:
            runs.append((tensor.address // PAGE_BYTES * PAGE_BYTES, [name]))
        end = _page_up(tensor.address + tensor.type.nbytes)
    return runs


def section_table(program: Program, guest_bytes: int, manifest_bytes: int) -> list[SectionJson]:
    """The sections that an image of this program has, in order."""
    places = [("guest", GUEST_BASE, guest_bytes), ("table", TABLE_BASE, len(program.table))]
    for address, names in constant_runs(program):
        last = program.tensors[names[-1]]
        places.append(("constants", address, last.address + last.type.nbytes - address))
    offset = _page_up(_PREFIX + manifest_bytes)
    sections = []
    for name, address, size in places:
        sections.append(SectionJson(name=name, address=address, offset=offset, size=_page_up(size)))
        offset += _page_up(size)
    return sections


def write_image(image: Image, path: str | os.PathLike[str]) -> None:
    """Writes the file in one step: a reader sees the old one or the new one, never a part. Raises ImageError."""
    manifest = _fit_manifest(image)
    target = Path(path)
    try:
        write_whole(target, lambda file: _write(file, image, manifest))
    except OSError as error:
        raise ImageError(f"{target} cannot be written: {error.strerror}") from None


def _fit_manifest(image: Image) -> bytes:
    """The manifest names offsets that depend on its own length: white space fills it up to a whole number of pages."""
    room = 0
    while True:
        sections = section_table(image.program, len(image.guest), room)
        text = make_manifest(image.program.graph, image.header, sections).model_dump_json().encode()
        if len(text) <= room:
            return text.ljust(room)
        room = _page_up(_PREFIX + len(text)) - _PREFIX
        if room > MANIFEST_MAX:
            raise ImageError(f"the manifest would be larger than {MANIFEST_MAX} bytes")


def _write(file: Any, image: Image, manifest: bytes) -> None:
    file.write(MAGIC + VERSION.to_bytes(4, "little") + len(manifest).to_bytes(4, "little") + manifest)
    _fill_page(file)
    for data in (image.guest, image.program.table):
        file.write(data)
        _fill_page(file)
    for start, names in constant_runs(image.program):
        base = file.tell()
        for name in names:
            value = image.program.constants[name]
            # Seeking leaves zeros between tensors.
            file.seek(base + image.program.tensors[name].address - start)
            file.write(np.ascontiguousarray(value).reshape(-1).view(np.uint8).data)
        _fill_page(file)


def _fill_page(file: Any) -> None:
    file.write(bytes(-file.tell() % PAGE_BYTES))


def read_image(path: str | os.PathLike[str]) -> RawImage:
    """Maps a file and parses its manifest; `opml.validator` does the rest. Raises ImageError where it is no image."""
    try:
        data: Bytes = np.memmap(path, np.uint8, "r")
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is empty"
        raise ImageError(f"{os.fspath(path)} cannot be read: {reason}") from None
    if data.size < _PREFIX or data[: len(MAGIC)].tobytes() != MAGIC:
        raise ImageError(f"{os.fspath(path)} is no opml image")
    version, length = (int(word) for word in data[len(MAGIC) : _PREFIX].view("<u4"))
    if version != VERSION:
        raise ImageError(f"the image has format version {version}; this opml reads {VERSION}")
    if length > min(MANIFEST_MAX, data.size - _PREFIX):
        raise ImageError("the image is truncated within its manifest")
    manifest = Manifest.parse(data[_PREFIX : _PREFIX + length].tobytes())

    end = _page_up(_PREFIX + length)
    if data[_PREFIX + length : end].any():
        raise ImageError("there are bytes between the manifest and the first section")
    sections = []
    for section in manifest.sections:
        if section.offset != end or section.size % PAGE_BYTES or section.size == 0:
            raise ImageError(f"section {section.name!r} at offset {section.offset} does not follow the one before it")
        end += section.size
        if end > data.size:
            raise ImageError(f"the image is truncated within section {section.name!r}")
        sections.append((section, data[section.offset : end]))
    if end != data.size:
        raise ImageError(f"the image has {data.size - end} bytes after its last section")
    return RawImage(manifest, tuple(sections))


def _page_up(size: int) -> int:
    return -(-size // PAGE_BYTES) * PAGE_BYTES
