"""What reads images at places that are data, normalises them, or transforms signals, beside ONNX Runtime and numpy."""

from itertools import product
from math import prod
from typing import Any

import numpy as np
import pytest
from ops_helpers import Array, floats
from ops_onnx import beside_runtime, run_opml, run_runtime

from opml.errors import UnsupportedError
from opml.lowering.angles import cosine, sine


@pytest.mark.parametrize(
    ("mode", "padding", "corners"),
    list(product(("linear", "nearest", "cubic"), ("zeros", "border", "reflection"), (0, 1))),
)
def test_grid_sample(mode: str, padding: str, corners: int) -> None:
    rng = np.random.default_rng(0)
    attrs: dict[str, Any] = {"mode": mode, "padding_mode": padding, "align_corners": corners}
    grid = rng.uniform(-1.6, 1.6, (2, 4, 5, 2)).astype(np.float32)
    beside_runtime("GridSample", [floats(0, (2, 3, 6, 7)), grid], opset=20, atol=1e-4, **attrs)
    if mode != "cubic":
        grid = rng.uniform(-1.6, 1.6, (2, 2, 3, 4, 3)).astype(np.float32)
        beside_runtime("GridSample", [floats(1, (2, 2, 4, 5, 3)), grid], opset=20, atol=1e-4, **attrs)


def test_grid_sample_anywhere() -> None:
    """Places at infinity, far away and at NaN read nothing from outside of the image."""
    x = floats(0, (1, 1, 3, 3))
    grid = np.array([np.inf, -np.inf, 1e30, -1e30, np.nan, 3e9], np.float32).repeat(2).reshape(1, 1, 6, 2)
    for mode, padding in product(("linear", "nearest", "cubic"), ("zeros", "border", "reflection")):
        (y,) = run_opml("GridSample", [x, grid], opset=20, mode=mode, padding_mode=padding)
        known = y[np.isfinite(y)]
        assert (np.abs(known) <= 4 * np.abs(x).max()).all()
    (y,) = run_opml("GridSample", [x, grid], opset=20, mode="nearest", padding_mode="border")
    assert np.isin(y, x).all()


def test_affine_grid() -> None:
    for axes, corners in product((2, 3), (0, 1)):
        theta, size = floats(0, (2, axes, axes + 1)), np.array([2, 1, 4, 5, 3][: axes + 2])
        beside_runtime("AffineGrid", [theta, size], opset=20, align_corners=corners)


@pytest.mark.parametrize(("mode", "samples"), list(product(("avg", "max"), (0, 1, 3))))
@pytest.mark.parametrize("place", ["half_pixel", "output_half_pixel"])
def test_roi_align(mode: str, samples: int, place: str) -> None:
    rng = np.random.default_rng(samples)
    x, images = floats(0, (2, 3, 12, 15)), np.array([0, 1, 1, 0])
    rois = np.sort(rng.uniform(-2, 24, (4, 2, 2)), axis=1).reshape(4, 4).astype(np.float32)
    beside_runtime("RoiAlign", [x, rois, images], opset=16, mode=mode, sampling_ratio=samples, output_height=3,
                   output_width=4, spatial_scale=0.5, coordinate_transformation_mode=place)  # fmt: skip


def test_max_roi_pool() -> None:
    x = floats(0, (2, 3, 12, 15))
    rois = np.array([[0, 1, 1, 20, 18], [1, 4, 3, 9, 22], [1, 7, 7, 7, 7], [0, -5, 2, 40, 50]], np.float32)
    beside_runtime("MaxRoiPool", [x, rois], pooled_shape=[3, 4], spatial_scale=0.5)


def test_regions_anywhere() -> None:
    """Images that do not exist, and regions that no image holds."""
    x, odd = floats(0, (2, 1, 4, 4)), np.array([np.nan, np.inf, -np.inf, 1e30], np.float32)
    rois = np.stack([odd, odd[::-1], np.array([-1e9, -1e9, 1e9, 1e9], np.float32)])
    for mode in ("avg", "max"):
        (y,) = run_opml("RoiAlign", [x, rois, np.array([-7, 1 << 40, 5])], mode=mode, output_height=2, output_width=2)
        assert y.shape == (3, 1, 2, 2)
    images = np.concatenate([np.array([[np.nan], [1e20], [-3.0]], np.float32), rois], axis=1)
    (y,) = run_opml("MaxRoiPool", [x, images], pooled_shape=[2, 2])
    assert np.isin(y, [*x.reshape(-1), 0]).all()


def deformed(x: Array, w: Array, offset: Array, mask: Array, pads: list[int]) -> Array:
    """DeformConv with one group, stride 1, by loops."""
    n, _, height, width = x.shape
    out, channels, kh, kw = w.shape
    oh, ow = offset.shape[2:]
    y = np.zeros((n, out, oh, ow))
    for image, i, j, a, b in np.ndindex(n, oh, ow, kh, kw):
        tap = a * kw + b
        row = i - pads[0] + a + offset[image, 2 * tap, i, j]
        column = j - pads[1] + b + offset[image, 2 * tap + 1, i, j]
        value = np.zeros(channels)
        for r in (int(np.floor(row)), int(np.floor(row)) + 1):
            for c in (int(np.floor(column)), int(np.floor(column)) + 1):
                if 0 <= r < height and 0 <= c < width:
                    value += (1 - abs(row - r)) * (1 - abs(column - c)) * x[image, :, r, c]
        y[image, :, i, j] += mask[image, tap, i, j] * (w[:, :, a, b] @ value)
    return y


def test_deform_conv() -> None:
    x, w = floats(0, (2, 4, 5, 6)), floats(1, (6, 4, 3, 2))
    offset, mask = floats(2, (2, 12, 5, 5)), floats(3, (2, 6, 5, 5))
    (y,) = run_opml("DeformConv", [x, w, offset, None, mask], pads=[1, 0, 1, 0])
    np.testing.assert_allclose(y, deformed(x, w, offset, mask, [1, 0]), rtol=1e-4, atol=1e-5)
    # Groups of channels and of offsets are convolutions of their own.
    b = floats(4, (6,))
    wide = [floats(5, (2, 24, 5, 5)), floats(6, (2, 12, 5, 5))]
    (y,) = run_opml("DeformConv", [x, w[:, :2], wide[0], b, wide[1]], pads=[1, 0, 1, 0], group=2, offset_group=2)
    for g in range(2):
        part, outs = slice(2 * g, 2 * g + 2), slice(3 * g, 3 * g + 3)
        o, m = wide[0][:, 12 * g : 12 * g + 12], wide[1][:, 6 * g : 6 * g + 6]
        expected = deformed(x[:, part], w[outs, :2], o, m, [1, 0]) + b[outs, None, None]
        np.testing.assert_allclose(y[:, outs], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("axes", [1, 2, 3])
def test_col2im(axes: int) -> None:
    image, block = [7, 6, 5][:axes], [3, 2, 2][:axes]
    strides, dilations, before, after = [2, 1, 1], [1, 2, 1], [1, 0, 1], [0, 1, 1]
    spans = [(block[d] - 1) * dilations[d] + 1 for d in range(axes)]
    counts = [(image[d] + before[d] + after[d] - spans[d]) // strides[d] + 1 for d in range(axes)]
    x = floats(0, (2, 2 * prod(block), prod(counts)))
    columns, expected = x.reshape(2, 2, *block, *counts), np.zeros((2, 2, *image))
    for tap, count in product(np.ndindex(*block), np.ndindex(*counts)):
        place = tuple(count[d] * strides[d] + tap[d] * dilations[d] - before[d] for d in range(axes))
        if all(0 <= place[d] < image[d] for d in range(axes)):
            expected[:, :, *place] += columns[:, :, *tap, *count]
    pads = before[:axes] + after[:axes]
    sizes = [np.array(image), np.array(block)]
    (y,) = run_opml("Col2Im", [x, *sizes], strides=strides[:axes], dilations=dilations[:axes], pads=pads)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    assert run_opml("Col2Im", [np.ones((1, 4, 4), np.float32), np.array([3, 3]), np.array([2, 2])])[0].max() == 4


@pytest.mark.parametrize("shape", [(3, 3), (2, 5, 5), (2, 2, 1, 1), (20, 20)])
def test_det(shape: tuple[int, ...]) -> None:
    x = floats(0, shape)
    (y,) = run_opml("Det", [x])
    np.testing.assert_allclose(y, np.linalg.det(x.astype(np.float64)), rtol=1e-4, atol=1e-5)
    assert run_opml("Det", [np.zeros(shape, np.float32)])[0].max() == 0
    swapped = np.array([[0, 1], [1, 0]], np.float32)
    assert run_opml("Det", [swapped])[0] == -1


def test_norms() -> None:
    x = floats(0, (2, 6, 5, 7), scale=3)
    six = [floats(1, (6,)), floats(2, (6,))]
    beside_runtime("InstanceNormalization", [x, *six], epsilon=1e-3)
    beside_runtime("InstanceNormalization", [x[..., 0], *six])
    beside_runtime("GroupNormalization", [x, *six], opset=21, num_groups=3)
    beside_runtime("GroupNormalization", [x, six[0][:3], six[1][:3]], opset=18, num_groups=3)
    for size in (1, 3, 5, 9):
        beside_runtime("LRN", [x], size=size, alpha=0.01, beta=0.75, bias=2.0)
    beside_runtime("MeanVarianceNormalization", [x])
    beside_runtime("MeanVarianceNormalization", [x], axes=[1, -1])
    for axis, p in product((0, 1, -1), (1, 2)):
        beside_runtime("LpNormalization", [x], axis=axis, p=p)
    assert not run_opml("LpNormalization", [np.zeros((2, 3), np.float32)])[0].any()


@pytest.mark.parametrize("op", ["HannWindow", "HammingWindow", "BlackmanWindow"])
def test_windows(op: str) -> None:
    for size, periodic in product((1, 2, 10, 17, 400), (0, 1)):
        if size > 1 or periodic:
            (y,) = run_opml(op, [np.array(size)], periodic=periodic)
            np.testing.assert_allclose(y, run_runtime(op, [np.array(size)], periodic=periodic)[0], atol=1e-6)


@pytest.mark.parametrize("bins", [1, 8, 40])
def test_mel_weights(bins: int) -> None:
    given = [np.array(bins), np.array(512), np.array(16000), np.array(20, np.float32), np.array(7600, np.float32)]
    beside_runtime("MelWeightMatrix", given)


@pytest.mark.parametrize("denominator", [1, 2, 3, 8, 12, 400, 1023, 65537])
def test_angles(denominator: int) -> None:
    n = np.arange(-denominator, 2 * denominator, max(1, denominator // 500))
    turn = 2 * np.pi * (n % denominator) / denominator
    np.testing.assert_allclose(cosine(n, denominator), np.cos(turn), atol=2e-15)
    np.testing.assert_allclose(sine(n, denominator), np.sin(turn), atol=2e-15)


def complexes(y: Array) -> Array:
    return y[..., 0] + 1j * y[..., 1] if y.shape[-1] == 2 else y[..., 0]


@pytest.mark.parametrize("n", [1, 2, 7, 10, 255, 256, 360, 521, 2048])
@pytest.mark.parametrize("parts", [1, 2])
def test_dft(n: int, parts: int) -> None:
    """Any axis and length; from 256 on transforms of transforms."""
    x = floats(n, (2, n, 3, parts))
    full = np.fft.fft(complexes(x).astype(complex), axis=1)
    scale = 1e-6 * np.abs(full).max()
    for axis, source, truth in ((1, x, full), (-2, np.moveaxis(x, 1, 2), np.moveaxis(full, 1, 2))):
        (y,) = run_opml("DFT", [np.ascontiguousarray(source), None, np.array(axis)], opset=20)
        np.testing.assert_allclose(complexes(y), truth, atol=3 * scale)
    (y,) = run_opml("DFT", [x], opset=19, axis=1, inverse=1)
    np.testing.assert_allclose(complexes(y), np.fft.ifft(complexes(x), axis=1), atol=3 * scale / n + 1e-7)
    if parts == 1:
        (y,) = run_opml("DFT", [x], opset=19, axis=1, onesided=1)
        np.testing.assert_allclose(complexes(y), full[:, : n // 2 + 1], atol=3 * scale)
        half = np.stack([full.real, full.imag], axis=-1)[:, : n // 2 + 1].astype(np.float32)
        (back,) = run_opml("DFT", [half, np.array(n)], opset=19, axis=1, onesided=1, inverse=1)
        np.testing.assert_allclose(back, x, atol=1e-5)


def test_dft_of_another_length() -> None:
    x = floats(0, (1, 300, 2))
    for length in (1, 250, 299, 400, 512):
        (y,) = run_opml("DFT", [x, np.array(length)], opset=19, axis=1)
        np.testing.assert_allclose(complexes(y), np.fft.fft(complexes(x), length, axis=1), atol=1e-4)


@pytest.mark.parametrize(("length", "onesided"), list(product((16, 25), (0, 1))))
def test_stft(length: int, onesided: int) -> None:
    x, window = floats(0, (2, 128, 1)), np.hanning(length).astype(np.float32)
    beside_runtime("STFT", [x, np.array(8), window, np.array(length)], onesided=onesided, atol=1e-4)
    beside_runtime("STFT", [x, np.array(5), None, np.array(length)], onesided=onesided, atol=1e-4)
    (y,) = run_opml("STFT", [floats(1, (1, 64, 2)), np.array(16), window], onesided=0)
    z = complexes(floats(1, (1, 64, 2)))
    frames = np.stack([z[:, i : i + length] * window for i in range(0, 64 - length + 1, 16)], axis=1)
    np.testing.assert_allclose(complexes(y), np.fft.fft(frames, axis=-1), atol=1e-4)


@pytest.mark.parametrize(
    ("op", "inputs", "attrs", "word"),
    [
        ("DFT", [floats(0, (1, 8, 3))], {"axis": 1}, "imaginary"),
        ("DFT", [floats(0, (1, 8, 1)), np.array(1 << 30)], {"axis": 1}, "length"),
        ("DFT", [floats(0, (1, 65537, 1))], {"axis": 1}, "too large"),
        ("STFT", [floats(0, (1, 8, 1)), np.array(0), None, np.array(4)], {}, "frames"),
        ("STFT", [floats(0, (1, 8, 1)), np.array(1), None, np.array(9)], {}, "frames"),
        ("HannWindow", [np.array(1 << 40)], {}, "window"),
        ("HannWindow", [np.array(0)], {}, "window"),
        ("MelWeightMatrix", [np.array(4), np.array(16), np.array(10), np.array(9.0), np.array(8.0)], {}, "bins"),
        ("Det", [floats(0, (2, 3))], {}, "square"),
        ("Col2Im", [floats(0, (1, 4, 9)), np.array([4, 4]), np.array([2, 3])], {}, "blocks"),
        ("GridSample", [floats(0, (1, 1, 4, 4)), floats(1, (1, 2, 2, 3))], {}, "grid"),
        ("GridSample", [floats(0, (1, 1, 4, 4)), floats(1, (1, 2, 2, 2))], {"padding_mode": "wrap"}, "wrap"),
        ("AffineGrid", [floats(0, (1, 2, 3)), np.array([1, 1, 1 << 20, 1 << 20])], {}, "large"),
        ("RoiAlign", [floats(0, (1, 1, 4, 4)), floats(1, (1, 4)), np.array([0])], {"sampling_ratio": -1}, "samples"),
        ("RoiAlign", [floats(0, (1, 1, 4, 4)), floats(1, (1, 5)), np.array([0])], {}, "regions"),
        ("MaxRoiPool", [floats(0, (1, 1, 4, 4)), floats(1, (1, 5))], {"pooled_shape": [0, 2]}, "pooled"),
        ("LRN", [floats(0, (1, 1, 4, 4))], {"size": 0}, "size"),
        ("LpNormalization", [floats(0, (1, 4))], {"p": 3}, "'p'"),
        ("GroupNormalization", [floats(0, (1, 4, 2)), floats(0, (4,)), floats(0, (4,))], {"num_groups": 3}, "groups"),
        ("MaxUnpool", [floats(0, (1, 1, 4, 4)), np.zeros((1, 1, 4, 4), np.int64)], {"kernel_shape": [2]}, "kernel"),
    ],
)
def test_refusals(op: str, inputs: list[Array | None], attrs: dict[str, Any], word: str) -> None:
    opset = 11 if op == "MaxUnpool" else 20 if op in ("AffineGrid", "GridSample") else 21 if "Group" in op else 19
    with pytest.raises(UnsupportedError, match=word):
        run_opml(op, inputs, opset, **attrs)
