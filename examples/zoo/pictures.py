"""Just enough of images to give a model one: PNG files of 8-bit samples read, parts cut out and resized."""

import struct
import zlib

import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
_CHANNELS = {0: 1, 2: 3, 4: 2, 6: 4}


def read_png(data: bytes) -> Picture:
    """Height x width x 3, from a PNG of 8-bit grey or colour without interlacing; transparency is dropped."""
    at, header, packed = 8, b"", b""
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at : at + 8])
        body = data[at + 8 : at + 8 + size]
        header = body if kind == b"IHDR" else header
        packed += body if kind == b"IDAT" else b""
        at += size + 12
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", header)
    assert (depth, interlaced) == (8, 0), "no other PNG is among the pictures"
    channels = _CHANNELS[colour]
    lines = np.frombuffer(zlib.decompress(packed), np.uint8).reshape(height, 1 + width * channels)
    above, rows = np.zeros(width * channels, np.int64), []
    for line in lines:
        above = _unfilter(int(line[0]), line[1:].astype(np.int64), above, channels)
        rows.append(above)
    picture = np.array(rows, np.uint8).reshape(height, width, channels)
    return np.repeat(picture[..., :1], 3, axis=2) if channels < 3 else picture[..., :3]


def _unfilter(kind: int, line: NDArray[np.int64], above: NDArray[np.int64], step: int) -> NDArray[np.int64]:
    """One line of samples from its differences to those on the left and above."""
    if kind == 0:
        return line
    if kind == 2:
        return (line + above) & 255
    left, corner = np.zeros(step, np.int64), np.zeros(step, np.int64)
    for start in range(0, len(line), step):
        here, up = line[start : start + step], above[start : start + step]
        if kind == 1:
            guess = left
        elif kind == 3:
            guess = (left + up) // 2
        else:
            p = left + up - corner
            pa, pb, pc = abs(p - left), abs(p - up), abs(p - corner)
            guess = np.where((pa <= pb) & (pa <= pc), left, np.where(pb <= pc, up, corner))
        left, corner = (here + guess) & 255, up
        line[start : start + step] = left
    return line


def resize(picture: Picture, height: int, width: int) -> Picture:
    """Bilinear, with pixel centres as most libraries have them; means over boxes first where it shrinks a lot."""
    while picture.shape[0] >= 2 * height and picture.shape[1] >= 2 * width:
        even = picture[: picture.shape[0] // 2 * 2, : picture.shape[1] // 2 * 2].astype(np.float64)
        picture = ((even[::2, ::2] + even[1::2, ::2] + even[::2, 1::2] + even[1::2, 1::2]) / 4).round().astype(np.uint8)

    def weights(count: int, size: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
        at = np.clip((np.arange(count) + 0.5) * size / count - 0.5, 0, size - 1)
        low = at.astype(np.int64)
        return low, np.minimum(low + 1, size - 1), at - low

    y0, y1, dy = weights(height, picture.shape[0])
    x0, x1, dx = weights(width, picture.shape[1])
    dy, dx = dy[:, None, None], dx[None, :, None]
    top = picture[y0][:, x0] * (1 - dx) + picture[y0][:, x1] * dx
    bottom = picture[y1][:, x0] * (1 - dx) + picture[y1][:, x1] * dx
    return (top * (1 - dy) + bottom * dy).round().astype(np.uint8)


def normalised(picture: Picture, mean: float, scale: float) -> NDArray[np.float32]:
    """`(picture - mean) * scale`, in float32."""
    return (picture.astype(np.float32) - np.float32(mean)) * np.float32(scale)
