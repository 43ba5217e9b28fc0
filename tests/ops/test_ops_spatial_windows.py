"""Windows over any axes: ConvTranspose, Conv and pools, beside ONNX Runtime and numpy; what is refused."""

from itertools import product
from typing import Any

import numpy as np
import onnx
import pytest
from ops_helpers import Array, assert_same_bits, floats
from ops_onnx import beside_runtime, run_opml

from opml.errors import UnsupportedError


def transposed(seed: int) -> tuple[list[Array], dict[str, Any]]:
    """A random ConvTranspose of one to three axes."""
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))
    group = int(rng.integers(1, 3))
    strides, dilations = rng.integers(1, 4, axes), rng.integers(1, 4, axes)
    kernel = rng.integers(1, 5, axes)
    extra = [int(rng.integers(0, s)) for s in strides]
    sizes = rng.integers(1, 6, axes)
    full = strides * (sizes - 1) + extra + (kernel - 1) * dilations + 1
    pads = [int(rng.integers(0, max(1, (n + 1) // 2))) for n in (*full, *full)]
    x = floats(seed, (int(rng.integers(1, 3)), group * 2, *sizes))
    w = floats(seed + 1, (group * 2, int(rng.integers(1, 4)), *kernel))
    attrs: dict[str, Any] = {
        "group": group,
        "strides": strides.tolist(),
        "dilations": dilations.tolist(),
        "pads": pads,
        "output_padding": extra,
    }
    inputs = [x, w, floats(seed + 2, (group * w.shape[1],))]
    return inputs[: int(rng.integers(2, 4))], attrs


@pytest.mark.parametrize("seed", range(0, 120, 3))
def test_conv_transpose(seed: int) -> None:
    inputs, attrs = transposed(seed)
    beside_runtime("ConvTranspose", inputs, **attrs)


@pytest.mark.parametrize(("auto", "kernel"), list(product(("SAME_UPPER", "SAME_LOWER"), (2, 3, 4, 5))))
def test_conv_transpose_to_a_given_size(auto: str, kernel: int) -> None:
    x, w = floats(0, (1, 3, 4, 5)), floats(1, (3, 2, kernel, kernel))
    beside_runtime("ConvTranspose", [x, w], auto_pad=auto, strides=[2, 2])
    beside_runtime("ConvTranspose", [x, w], auto_pad=auto, strides=[3, 2], output_shape=[11, 9])
    beside_runtime("ConvTranspose", [x, w], strides=[3, 2], output_shape=[10, 9])


def test_where_the_stride_is_the_kernel_it_is_one_product() -> None:
    """The case of segmentation and OCR: no more nodes than a convolution and moving its results."""
    from opml.compiler import compile_graph

    node = onnx.helper.make_node("ConvTranspose", ["x", "w", "b"], ["y"], strides=[2, 2], kernel_shape=[2, 2])
    constants = [
        onnx.numpy_helper.from_array(floats(1, (8, 4, 2, 2)), "w"),
        onnx.numpy_helper.from_array(floats(2, (4,)), "b"),
    ]
    graph = onnx.helper.make_graph(
        [node],
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, (1, 8, 16, 16))],
        [onnx.ValueInfoProto(name="y")],
        constants,
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 19)], ir_version=9)
    nodes = [node.op for node in compile_graph(model.SerializeToString()).nodes if node.op != "view"]
    assert nodes == ["conv", "transpose"]


@pytest.mark.parametrize(
    ("attrs", "word"),
    [
        ({"strides": [0, 1]}, "strides"),
        ({"pads": [9, 9, 9, 9]}, "output of spatial shape"),
        ({"kernel_shape": [2, 3]}, "kernel_shape"),
        ({"auto_pad": "SAME"}, "auto_pad"),
        ({"group": 2}, "groups"),
        ({"output_shape": [1 << 21, 4]}, "output of spatial shape"),
        ({"strides": [1 << 21, 1]}, "spatial shape"),
        ({"strides": [79, 83], "dilations": [2, 2]}, "convolutions"),
    ],
)
def test_conv_transpose_refuses(attrs: dict[str, Any], word: str) -> None:
    with pytest.raises(UnsupportedError, match=word):
        run_opml("ConvTranspose", [floats(0, (1, 3, 4, 5)), floats(1, (3, 2, 90, 90)) if "dilations" in attrs else
                 floats(1, (3, 2, 3, 3))], **attrs)  # fmt: skip


@pytest.mark.parametrize("seed", range(12))
def test_conv_of_three_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    kernel, sizes = rng.integers(1, 4, 3), rng.integers(3, 8, 3)
    group = int(rng.integers(1, 3))
    x = floats(seed, (2, 3 * group, *sizes))
    w, b = floats(seed + 1, (4 * group, 3, *kernel)), floats(seed + 2, (4 * group,))
    pads = [int(rng.integers(0, 3)) for _ in range(6)]
    strides, dilations = rng.integers(1, 3, 3).tolist(), [int(rng.integers(1, 2 + (k < 3))) for k in kernel]
    beside_runtime("Conv", [x, w, b], pads=pads, strides=strides, dilations=dilations, group=group)


def test_conv_nd_by_definition_and_in_pieces() -> None:
    """More channels than a stripe, blocks of more than 512, ranges that end anywhere; a filter with an infinity."""
    x, w, b = floats(0, (2, 10, 4, 5, 6)), floats(1, (14, 10, 3, 3, 7)), floats(2, (14,))
    attrs: dict[str, Any] = {"pads": [1, 1, 3, 1, 1, 3], "strides": [2, 1, 1]}
    assert_same_bits("conv_nd", [x, w, b], attrs, cuts=(1, 7, 30, 31, 77, 120))
    w[3, 2, 1, 1, 1], w[5, 0, 0, 0, 0] = np.inf, np.nan
    assert_same_bits("conv_nd", [x, w, b], attrs, cuts=(9,))
    grouped = [floats(3, (2, 4, 3, 4, 4)), floats(4, (6, 2, 2, 2, 2)), None]
    assert_same_bits("conv_nd", grouped, {"group": 2}, cuts=(1, 2, 3, 5, 8))


@pytest.mark.parametrize("seed", range(16))
def test_pools_of_any_axes(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, axes)
    sizes = rng.integers(5, 9, axes)
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    strides, dilations = rng.integers(1, 4, axes).tolist(), rng.integers(1, 3, axes).tolist()
    x = floats(seed, (2, 3, *sizes))
    attrs: dict[str, Any] = {"kernel_shape": kernel.tolist(), "pads": pads, "strides": strides}
    beside_runtime("MaxPool", [x], dilations=dilations, **attrs)
    beside_runtime("AveragePool", [x], count_include_pad=int(rng.integers(0, 2)), **attrs)
    beside_runtime("LpPool", [x], opset=18, p=int(rng.integers(1, 3)), **attrs)
    for op in ("GlobalAveragePool", "GlobalMaxPool", "GlobalLpPool"):
        beside_runtime(op, [x])


@pytest.mark.parametrize("seed", range(8))
def test_where_the_maxima_lie_and_back(seed: int) -> None:
    rng = np.random.default_rng(seed)
    axes = int(rng.integers(1, 4))
    kernel = rng.integers(1, 4, axes)
    x = rng.permutation(2 * 3 * 6**axes).reshape(2, 3, *[6] * axes).astype(np.float32)
    pads = [int(rng.integers(0, k)) for k in (*kernel, *kernel)]
    attrs: dict[str, Any] = {
        "kernel_shape": kernel.tolist(),
        "pads": pads,
        "strides": rng.integers(1, 3, axes).tolist(),
    }
    mine = run_opml("MaxPool", [x], outputs=2, **attrs)
    beside_runtime("MaxPool", [x], outputs=2, storage_order=int(rng.integers(0, 2)), rtol=0, atol=0, **attrs)
    np.testing.assert_array_equal(x.reshape(-1)[mine[1]], mine[0])
    whole = all((n - 1) * s + k == 6 for n, s, k in zip(mine[0].shape[2:], attrs["strides"], kernel, strict=True))
    if whole and not any(pads):
        beside_runtime("MaxUnpool", mine, opset=11, kernel_shape=attrs["kernel_shape"], strides=attrs["strides"])


def test_the_first_of_equal_maxima_and_nan() -> None:
    x = np.array([1, 7, 7, np.nan, 2, np.nan, -0.0, 0.0], np.float32).reshape(1, 1, 8)
    assert run_opml("MaxPool", [x], outputs=2, kernel_shape=[2], strides=[2])[1].tolist() == [[[1, 3, 5, 6]]]
    assert run_opml("MaxPool", [x], outputs=2, kernel_shape=[8])[1].tolist() == [[[3]]]


def test_indices_that_lie_stay_inside() -> None:
    """Whatever the indices are, MaxUnpool writes into its own output only: they wrap, then are clamped."""
    x = np.arange(1, 5, dtype=np.float32).reshape(1, 1, 2, 2)
    indices = np.array([-1, 1 << 40, -(1 << 40), 5]).reshape(1, 1, 2, 2)
    (y,) = run_opml("MaxUnpool", [x, indices], opset=11, kernel_shape=[2, 2], strides=[2, 2])
    assert y.shape == (1, 1, 4, 4)
    assert y.reshape(-1)[[0, 5, 15]].tolist() == [3, 4, 2]


@pytest.mark.parametrize("dtype", ["int8", "uint8"])
def test_max_pool_of_bytes(dtype: str) -> None:
    x = np.random.default_rng(0).integers(-100 if dtype == "int8" else 0, 100, (1, 2, 7, 7)).astype(dtype)
    beside_runtime("MaxPool", [x], kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[2, 2])
