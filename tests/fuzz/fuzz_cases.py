"""Where hostile models come from: written by hand, ONNX's own cases with wild numbers in them, and damaged files."""

import random
from collections.abc import Callable, Iterable, Iterator
from functools import cache
from pathlib import Path

import numpy as np
import onnx
from fuzz_bombs import BOMBS
from onnx import AttributeProto, TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

Case = tuple[str, bytes | Callable[[], bytes]]
ROOT = Path(__file__).parents[2]
WILD = (-(1 << 63), -(1 << 31), -7, -2, -1, 0, 1, 2, 3, 7, 1 << 16, 1 << 20, 1 << 31, 1 << 40, 1 << 62, (1 << 63) - 1)
FLOATS = (0.0, -1.0, 1e-30, 1e30, float("inf"), float("nan"))


def bombs(first: int, count: int) -> Iterator[Case]:
    """Models written by hand."""
    return iter(list(BOMBS.items())[first : first + count])


@cache
def seeds() -> list[tuple[str, onnx.ModelProto]]:
    """ONNX's node cases of plain tensors, their integer inputs constants, so that lowering has something to read."""
    found = []
    for case in load_model_tests(kind="node"):
        model = case.model
        if len(model.graph.node) > 40 or any(f.domain for f in model.functions):
            continue
        arrays = case.data_sets[0][0]
        fixed = set()
        for index, (value, array) in enumerate(zip(model.graph.input, arrays, strict=False)):
            tensor = array if isinstance(array, TensorProto) else None
            if tensor is None and isinstance(array, np.ndarray) and array.dtype.kind in "iub":
                tensor = numpy_helper.from_array(array)
            if tensor is not None and index and tensor.data_type in (1, 3, 6, 7, 9, 2):
                model.graph.initializer.add().CopyFrom(tensor)
                model.graph.initializer[-1].name = value.name
                fixed.add(value.name)
        kept = [value for value in model.graph.input if value.name not in fixed]
        del model.graph.input[:]
        model.graph.input.extend(kept)
        if model.ByteSize() < 1 << 16:
            found.append((case.name, model))
    return found


def wild(first: int, count: int) -> Iterator[Case]:
    """Node cases with a few numbers, types or names changed."""
    for seed in range(first, first + count):
        rng = random.Random(seed)
        name, source = rng.choice(seeds())
        model = onnx.ModelProto()
        model.CopyFrom(source)
        done = [mutate(model, rng) for _ in range(rng.choice((1, 1, 1, 2, 4)))]
        yield f"{seed} {name}: {'; '.join(done)}", model.SerializeToString()


def mutate(model: onnx.ModelProto, rng: random.Random) -> str:
    """One change; says which."""
    kinds = [_attribute, _attribute, _attribute, _constant, _constant, _shape, _wire, _kind, _opset]
    return rng.choice(kinds)(model, rng)


def _attribute(model: onnx.ModelProto, rng: random.Random) -> str:
    nodes = [node for node in model.graph.node if node.attribute]
    if not nodes:
        return _constant(model, rng)
    attribute = rng.choice(rng.choice(nodes).attribute)
    match attribute.type:
        case AttributeProto.INT:
            attribute.i = rng.choice(WILD)
        case AttributeProto.FLOAT:
            attribute.f = rng.choice(FLOATS)
        case AttributeProto.INTS if attribute.ints and rng.random() < 0.7:
            attribute.ints[rng.randrange(len(attribute.ints))] = rng.choice(WILD)
        case AttributeProto.INTS:
            attribute.ints[:] = [rng.choice(WILD) for _ in range(rng.choice((0, 1, 2, 5, 40, 100_000)))]
        case AttributeProto.STRING:
            attribute.s = rng.choice([b"", b"\xff", b"SAME_LOWER", b"x" * 5000])
        case _:
            attribute.type = rng.choice([AttributeProto.INT, AttributeProto.FLOATS, AttributeProto.GRAPH, 0])
    return f"{attribute.name} is wild"


def _constant(model: onnx.ModelProto, rng: random.Random) -> str:
    if not model.graph.initializer:
        return _shape(model, rng)
    tensor = rng.choice(model.graph.initializer)
    if rng.random() < 0.2:
        tensor.dims[:] = [rng.choice(WILD) for _ in range(rng.randrange(4))]
        return f"{tensor.name} lies about its shape"
    try:
        array = numpy_helper.to_array(tensor).copy()
    except ValueError:  # it lies already
        return "nothing"
    if not array.size:
        return "nothing"
    at = rng.randrange(array.size)
    if array.dtype.kind in "iu":
        array.reshape(-1)[at] = np.array(rng.choice(WILD)).astype(array.dtype)
    elif array.dtype.kind == "f":
        array.reshape(-1)[at] = rng.choice(FLOATS)
    if rng.random() < 0.3:
        array = rng.choice([array.reshape(-1), array[None], array.reshape(-1)[:1], array.reshape(-1)[:0]])
    tensor.CopyFrom(numpy_helper.from_array(array, tensor.name))
    return f"{tensor.name} is wild"


def _shape(model: onnx.ModelProto, rng: random.Random) -> str:
    if not model.graph.input:
        return "nothing"
    value = rng.choice(model.graph.input)
    dims = value.type.tensor_type.shape.dim
    if not dims or rng.random() < 0.2:
        dims.add().dim_value = rng.choice(WILD)
    elif rng.random() < 0.2:
        del dims[rng.randrange(len(dims))]
    else:
        dims[rng.randrange(len(dims))].dim_value = rng.choice(WILD)
    return f"{value.name} has another shape"


def _wire(model: onnx.ModelProto, rng: random.Random) -> str:
    """Inputs and outputs of nodes are dropped, doubled and exchanged."""
    node = rng.choice(model.graph.node)
    names = [name for other in model.graph.node for name in (*other.input, *other.output)]
    inputs = list(node.input)
    match rng.randrange(4):
        case 0 if inputs:
            inputs.pop(rng.randrange(len(inputs)))
        case 1 if inputs:
            inputs[rng.randrange(len(inputs))] = rng.choice([*names, "", "nowhere"])
        case 2:
            inputs.append(rng.choice(names))
        case _:
            node.op_type = rng.choice(rng.choice(seeds())[1].graph.node).op_type
    node.input[:] = inputs
    return f"{node.op_type} has other inputs"


def _kind(model: onnx.ModelProto, rng: random.Random) -> str:
    if not model.graph.input:
        return "nothing"
    value = rng.choice(model.graph.input)
    value.type.tensor_type.elem_type = rng.choice([0, 1, 2, 3, 6, 7, 9, 10, 11, 12, 13, 16, 22, 99])
    return f"{value.name} has another type"


def _opset(model: onnx.ModelProto, rng: random.Random) -> str:
    model.opset_import[0].version = rng.choice([-1, 0, 6, 7, 8, 9, 10, 11, 12, 13, 17, 18, 23, 99, 1 << 62])
    return f"operator set {model.opset_import[0].version}"


@cache
def files() -> list[bytes]:
    """Real files: the examples' models, and the structure of the nets inside the onnx package."""
    light = Path(onnx.__file__).parent / "backend" / "test" / "data"
    paths = [
        *(ROOT / "examples" / "models").glob("*.onnx"),
        *light.glob("light/*.onnx"),
        *light.glob("simple/*/*.onnx"),
    ]
    return [path.read_bytes() for path in sorted(paths) if path.stat().st_size < 1 << 20]


def damaged(first: int, count: int) -> Iterator[Case]:
    """Real files with bytes changed, cut out, doubled or cut off."""
    for seed in range(first, first + count):
        rng = random.Random(seed)
        data = bytearray(rng.choice(files()))
        for _ in range(rng.choice((1, 1, 3, 10))):
            # Most of a file are weights; its structure lies at the ends.
            at = rng.choice([rng.randrange(len(data)), min(rng.randrange(2000), len(data) - 1)])
            match rng.randrange(5):
                case 0:
                    data[at] ^= 1 << rng.randrange(8)
                case 1:
                    data[at] = rng.choice((0, 1, 0x7F, 0x80, 0xFF))
                case 2:
                    del data[at : at + rng.choice((1, 2, 50))]
                case 3:
                    data[at:at] = data[at : at + rng.randrange(1, 60)]
                case _:
                    del data[-rng.randrange(1, 100) :]
            data = data or bytearray(b"\0")
        yield f"{seed}", bytes(data)


KINDS: dict[str, Callable[[int, int], Iterable[Case]]] = {"bombs": bombs, "wild": wild, "damaged": damaged}
__all__ = ["KINDS", "helper"]
