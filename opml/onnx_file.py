"""The file of a model → the protobuf message in it."""

from pathlib import Path

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import DecodeError, Message
from onnx import ModelProto

from opml.errors import ModelError, UnsupportedError

MAX_FILE_BYTES = 1 << 31
# Files of other frameworks, which `opml convert` reads.
OTHERS = {".pt2", ".pt", ".pth", ".keras", ".tflite", ".gguf"}
MAX_NODES = 1 << 16
MAX_CONSTANTS = 1 << 17
# Nodes, attributes, tensors and so on.
MAX_PARTS = 1 << 19


def read_file(path: Path) -> bytes:
    """The bytes of a model file. Raises ModelError."""
    try:
        if not path.is_dir() and not path.is_file() and path.exists():
            raise ModelError(f"{path} is no ordinary file")
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ModelError(f"{path} is larger than {MAX_FILE_BYTES} bytes")
        if path.suffix.lower() in OTHERS:
            raise ModelError(f"{path} is no ONNX file", f"make one of it first: `opml convert {path}`")
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from None


def parse_model(data: bytes) -> ModelProto:
    """The message that the bytes of a model are, with all its texts. Raises ModelError."""
    if len(data) > MAX_FILE_BYTES:
        raise ModelError(f"the model is larger than {MAX_FILE_BYTES} bytes")
    try:
        model: ModelProto = ModelProto.FromString(data)
    except DecodeError:
        raise ModelError("the file is not an ONNX model, or it is corrupt") from None
    if not model.HasField("graph") or not model.opset_import:
        raise ModelError("the file is not an ONNX model: it has no graph or no operator set")
    if len(model.graph.node) > MAX_NODES:
        raise UnsupportedError(f"{len(model.graph.node)} nodes; opml has room for {MAX_NODES}")
    if len(model.graph.initializer) > MAX_CONSTANTS:
        raise UnsupportedError(f"{len(model.graph.initializer)} initialisers; opml has room for {MAX_CONSTANTS}")
    # Types are inferred again; of a large model these are most of the parts.
    del model.graph.value_info[:]
    _check_text(model, 0)
    return model


def _check_text(message: Message, parts: int) -> int:
    """Every text of the file is one: protobuf gives what is not UTF-8 as bytes. The number of messages so far."""
    parts += 1
    if parts > MAX_PARTS:
        raise UnsupportedError(f"the model has more than {MAX_PARTS} parts")
    for field, value in message.ListFields():
        if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE):
            continue
        for item in [value] if isinstance(value, (Message, str, bytes)) else value:
            if isinstance(item, Message):
                parts = _check_text(item, parts)
            elif not isinstance(item, str):
                raise ModelError(f"the file is corrupt: its {field.name} is no UTF-8 text: {item[:40]!r}")
    return parts
