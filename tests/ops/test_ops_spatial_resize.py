"""Resize, Upsample and Pad beside ONNX Runtime and numpy."""

from itertools import product
from typing import Any

import numpy as np
import pytest
from ops_helpers import Array, assert_same_bits, floats
from ops_onnx import beside_runtime, run_opml

from opml.errors import UnsupportedError

TRANSFORMS = ("half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric")


def scales(*values: float) -> Array:
    return np.array(values, np.float32)


def sizes(*values: int) -> Array:
    return np.array(values, np.int64)


@pytest.mark.parametrize(
    ("transform", "rounding"),
    list(product(TRANSFORMS, ("round_prefer_floor", "round_prefer_ceil", "floor", "ceil"))),
)
@pytest.mark.parametrize("size", [(4, 11), (13, 5), (12, 14), (1, 1), (3, 21)])
def test_nearest(transform: str, rounding: str, size: tuple[int, int]) -> None:
    x = floats(0, (1, 2, 6, 7))
    attrs: dict[str, Any] = {"coordinate_transformation_mode": transform, "nearest_mode": rounding}
    target = sizes(1, 2, *size)
    (mine,) = run_opml("Resize", [x, None, None, target], **attrs)
    beside_runtime("Resize", [x, None, None, target], rtol=0, atol=0, **attrs)
    assert np.isin(mine, x).all()


@pytest.mark.parametrize(("transform", "mode"), list(product(TRANSFORMS, ("linear", "cubic"))))
@pytest.mark.parametrize("size", [(4, 11), (13, 5), (12, 14), (6, 7), (3, 21)])
def test_linear_and_cubic(transform: str, mode: str, size: tuple[int, int]) -> None:
    x = floats(0, (2, 3, 6, 7))
    attrs: dict[str, Any] = {"coordinate_transformation_mode": transform, "mode": mode}
    if mode == "cubic":
        attrs |= {"cubic_coeff_a": -0.5, "exclude_outside": int(size[0] > 5)}
    beside_runtime("Resize", [x, None, None, sizes(2, 3, *size)], **attrs)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_whole_factors(mode: str) -> None:
    x = floats(0, (1, 3, 5, 6))
    beside_runtime("Resize", [x, None, scales(1, 1, 2, 2)], mode=mode)
    beside_runtime("Resize", [x, None, scales(1, 1, 2, 3)], mode=mode, coordinate_transformation_mode="asymmetric")
    beside_runtime("Resize", [x, None, scales(1, 1, 0.5, 0.5)], mode=mode)


@pytest.mark.parametrize(("mode", "transform"), list(product(("linear", "cubic"), ("half_pixel", "align_corners"))))
def test_antialias(mode: str, transform: str) -> None:
    """ONNX Runtime leaves out what lies outside."""
    x = floats(0, (1, 2, 12, 17))
    for size in ((5, 6), (4, 30), (1, 2)):
        target = sizes(1, 2, *size)
        if transform == "half_pixel":
            beside_runtime("Resize", [x, None, None, target], mode=mode, antialias=1, exclude_outside=1, rtol=1e-3,
                           atol=1e-4, coordinate_transformation_mode=transform)  # fmt: skip
        flat = np.full_like(x, 3.0)
        (y,) = run_opml("Resize", [flat, None, None, target], mode=mode, antialias=1)
        np.testing.assert_allclose(y, 3.0, rtol=1e-6)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
def test_crops(mode: str) -> None:
    x = floats(0, (1, 1, 8, 8))
    attrs: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": "tf_crop_and_resize"}
    for box in ((0.1, 0.2, 0.6, 0.9), (-0.37, 0.1, 0.8, 1.3), (0.9, 0.9, 0.2, 0.1)):
        roi = np.array([0, 0, *box[:2], 1, 1, *box[2:]], np.float32)
        beside_runtime("Resize", [x, roi, None, sizes(1, 1, 5, 6)], extrapolation_value=9.0, **attrs)
    outside = np.array([0, 0, 2, 2, 1, 1, 3, 3], np.float32)
    (y,) = run_opml("Resize", [x, outside, None, sizes(1, 1, 3, 3)], extrapolation_value=7.5, **attrs)
    assert (y == 7.5).all()


def test_axes_and_policies() -> None:
    x = floats(0, (2, 8, 6, 3))
    for policy in ("stretch", "not_larger", "not_smaller"):
        beside_runtime("Resize", [x, None, None, sizes(5, 9)], axes=[2, 1], mode="linear",
                       keep_aspect_ratio_policy=policy)  # fmt: skip
    beside_runtime("Resize", [x, None, scales(1.5, 0.75)], axes=[-2, -3], mode="linear")


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_upsample(mode: str) -> None:
    x = floats(0, (1, 2, 4, 5))
    beside_runtime("Upsample", [x], opset=8, mode=mode, scales=[1.0, 1.0, 2.0, 3.0])
    beside_runtime("Upsample", [x, scales(1, 1, 2, 2)], opset=9, mode=mode)
    beside_runtime("Resize", [x, scales(1, 1, 2, 0.5)], opset=10, mode=mode)


@pytest.mark.parametrize(
    ("inputs", "attrs", "word"),
    [
        ([None, scales(1, 1, 0, 1)], {}, "scales"),
        ([None, scales(1, 1, np.nan, 1)], {}, "scales"),
        ([None, scales(1, 1, 1e30, 1)], {}, "elements"),
        ([None, scales(1, 1)], {}, "scales"),
        ([None, None, sizes(1, 2, 0, 4)], {}, "elements"),
        ([None, None, sizes(1, 2, 1 << 40, 4)], {}, "elements"),
        ([None, scales(1, 1, 2, 2)], {"mode": "cubic", "coordinate_transformation_mode": "other"}, "coordinates"),
        ([None, scales(1, 1, 2, 2)], {"antialias": 1}, "antialias"),
        ([None, scales(1, 1, 2, 2)], {"coordinate_transformation_mode": "tf_crop_and_resize"}, "roi"),
    ],
)
def test_refusals(inputs: list[Array | None], attrs: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedError, match=word):
        run_opml("Resize", [floats(0, (1, 2, 4, 4)), *inputs], **attrs)


@pytest.mark.parametrize("inner", [1, 3, 8, 40])
@pytest.mark.parametrize("taps", [1, 2, 4, 9, 700])
def test_resample_by_definition_and_in_pieces(inner: int, taps: int) -> None:
    rng = np.random.default_rng(taps)
    x, weight = floats(0, (3, 11, inner), odd=0.05), floats(1, (5, taps), odd=0.02)
    for index in (rng.integers(0, 11, (5, taps)), rng.integers(-3, 14, (5, taps))):
        assert_same_bits("resample", [x, index, weight], {"axis": 1}, cuts=(1, 2, 5, 17))


@pytest.mark.parametrize("mode", ["constant", "edge", "reflect", "wrap"])
def test_pad(mode: str) -> None:
    x = floats(0, (2, 3, 4, 5))
    for pads in ((0, 1, 2, 3, 1, 0, 3, 2), (0, 0, -1, 2, 0, 0, 3, -2), (0, 0, -1, -1, -1, -1, 0, 0)):
        # ONNX Runtime wraps what it then cuts off, and reflects once at most.
        wrong = mode in ("wrap", "reflect") and (min(pads) < 0 or max(pads) > 2)
        (mine,) = run_opml("Pad", [x, np.array(pads)], mode=mode)
        if not wrong:
            np.testing.assert_array_equal(mine, beside_runtime("Pad", [x, np.array(pads)], rtol=0, atol=0, mode=mode))
    if mode != "constant":
        (far,) = run_opml("Pad", [x[0, 0], np.array([0, 13, 0, 17])], mode=mode)
        np.testing.assert_array_equal(far, np.pad(x[0, 0], ((0, 0), (13, 17)), mode))  # type: ignore[call-overload]


@pytest.mark.parametrize("dtype", ["float32", "int64", "int32", "uint8", "int8", "bool"])
def test_pad_with_a_value(dtype: str) -> None:
    """A computed value, too, and NaN; many axes, of which few are padded."""
    x = np.ones((1, 2, 1, 2, 1, 3, 2, 2), dtype)
    pads = np.zeros(16, np.int64)
    pads[[1, 5, 8, 13, 14]] = 2
    for value in (np.array(1, dtype), np.array([0], dtype)):
        (y,) = run_opml("Pad", [x, pads, value])
        np.testing.assert_array_equal(
            y, np.pad(x, list(zip(pads[:8], pads[8:], strict=True)), constant_values=value.reshape(()))
        )
    (odd,) = run_opml("Pad", [np.ones(3, np.float32), np.array([1, 1]), np.array(np.nan, np.float32)])
    assert np.isnan(odd[[0, 4]]).all()


def test_a_computed_value_of_pad() -> None:
    import onnx

    from opml import onnx_backend

    nodes = [
        onnx.helper.make_node("Neg", ["v"], ["n"]),
        onnx.helper.make_node("Pad", ["x", "pads", "n"], ["y"]),
    ]
    infos = [onnx.helper.make_tensor_value_info(n, 1, s) for n, s in (("x", (2, 2)), ("v", ()))]
    pads = onnx.numpy_helper.from_array(np.array([1, 0, 0, 2]), "pads")
    graph = onnx.helper.make_graph(nodes, "g", infos, [onnx.ValueInfoProto(name="y")], [pads])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    (y,) = onnx_backend.run_model(model, [np.ones((2, 2), np.float32), np.array(5, np.float32)])
    assert y.tolist() == [[-5, -5, -5, -5], [1, 1, -5, -5], [1, 1, -5, -5]]


@pytest.mark.parametrize(
    ("pads", "attrs"),
    [((0, 0, 0), {}), ((-2, 0, -2, 0), {}), ((0, 1 << 40, 0, 0), {"mode": "edge"}), ((0, 0, 0, 0), {"mode": "other"})],
)
def test_pad_refuses(pads: tuple[int, ...], attrs: dict[str, Any]) -> None:
    with pytest.raises(UnsupportedError, match=r"pad|mode"):
        run_opml("Pad", [floats(0, (3, 3)), np.array(pads)], **attrs)
