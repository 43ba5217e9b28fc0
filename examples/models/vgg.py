"""A VGG-like convolutional net with seeded random weights, for timings: structure and cost, no accuracy.

python examples/models/vgg.py vgg.onnx --size 128
"""

import argparse
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
STAGES = ((32, 2), (64, 2), (128, 2))
CLASSES = 100


def make_vgg(size: int = 128, seed: int = 0) -> onnx.ModelProto:
    """`image` uint8 [1, 3, size, size] to `probabilities` float32 [1, 100].

    Three stages of two 3x3 convolutions with ReLU and a 2x2 max-pool, then global average, dense layer and softmax.
    `size` must be a multiple of 8. A size of 128 is about 0.6 G multiply-accumulates.
    """
    if size < 8 or size % 8:
        raise ValueError(f"size must be a positive multiple of 8, not {size}")
    random = np.random.default_rng(seed)
    nodes: list[onnx.NodeProto] = []
    weights: list[onnx.TensorProto] = []

    def constant(name: str, array: np.ndarray) -> str:
        weights.append(numpy_helper.from_array(array.astype(np.float32), name))
        return name

    def add(op: str, output: str, *inputs: str, **attributes: object) -> str:
        nodes.append(helper.make_node(op, list(inputs), [output], **attributes))
        return output

    def normal(name: str, shape: tuple[int, ...], fan_in: int) -> str:
        return constant(name, random.standard_normal(shape) * np.sqrt(2.0 / fan_in))

    value = add("Cast", "pixels", "image", to=TensorProto.FLOAT)
    value = add("Div", "scaled", value, constant("full_scale", np.array(255.0)))
    channels = 3
    for stage, (width, depth) in enumerate(STAGES):
        for layer in range(depth):
            name = f"conv{stage}_{layer}"
            kernel = normal(name + ".weight", (width, channels, 3, 3), 9 * channels)
            bias = constant(name + ".bias", np.zeros(width))
            value = add("Conv", name, value, kernel, bias, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
            value = add("Relu", name + ".relu", value)
            channels = width
        value = add("MaxPool", f"pool{stage}", value, kernel_shape=[2, 2], strides=[2, 2])
    value = add("GlobalAveragePool", "average", value)
    value = add("Flatten", "features", value)
    value = add("Gemm", "scores", value, normal("dense.weight", (channels, CLASSES), channels),
                constant("dense.bias", np.zeros(CLASSES)))  # fmt: skip
    add("Softmax", "probabilities", value, axis=1)

    graph = helper.make_graph(
        nodes, "vgg",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, [1, 3, size, size])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, CLASSES])],
        weights,
    )  # fmt: skip
    model = helper.make_model(graph, producer_name="opml-examples", opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("path", type=Path)
    parser.add_argument("--size", type=int, default=128, help="height and width of the image (default 128)")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    onnx.save(make_vgg(arguments.size, arguments.seed), arguments.path)


if __name__ == "__main__":
    main()
