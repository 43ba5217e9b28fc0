"""The manifest of an image: the graph of primitives, the header and the table of sections, as one JSON object.

Floats are written as the bits of a binary32, so that the text is exact and the same everywhere. Only what cannot be
inferred is written: types of inputs and constants, shapes of views.
"""

from typing import Annotated, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from opml.errors import ImageError
from opml.graph import Attribute, Count, DType, DTypeName, Graph, Node, Repeat, TensorType
from opml.header import ModelHeader

MANIFEST_MAX = 1 << 25
_WORD = 1 << 64

Name = Annotated[str, StringConstraints(max_length=1 << 12)]
Size = Annotated[int, Field(ge=0, lt=1 << 40)]
# Bounds of a uint64 may be attributes, too.
Integer = Annotated[int, Field(ge=-(1 << 63), lt=1 << 64)]
Hash = Annotated[str, StringConstraints(pattern=r"^0x[0-9a-f]{64}$")]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class Float(_Strict):
    """A binary32 attribute, as its bits."""

    f32: Annotated[int, Field(ge=0, lt=1 << 32)]


AttributeJson = Integer | Name | Annotated[list[Integer], Field(max_length=64)] | Float


class TensorJson(_Strict):
    """Name and type of an input or a constant."""

    name: Name
    dtype: DTypeName
    shape: Annotated[list[Size], Field(max_length=32)]


class NodeJson(_Strict):
    """A primitive or a view; an absent input is ""."""

    op: Name
    name: Name
    inputs: Annotated[list[Name], Field(max_length=8)]
    output: Name
    attrs: Annotated[dict[Name, AttributeJson], Field(max_length=32)]


class HistoryJson(TensorJson):
    """A history: its type, and the tensor `of` which it is."""

    of: Name


class RepeatJson(_Strict):
    """How a graph is repeated (`opml.graph.Repeat`)."""

    count: Annotated[int, Field(ge=1, lt=1 << 31)]
    length: Name
    histories: Annotated[list[HistoryJson], Field(max_length=1 << 16)]


class CountJson(_Strict):
    """An output that is filled along an axis as far as another output, an int64 [1], says."""

    output: Name
    tensor: Name
    axis: Annotated[int, Field(ge=0, lt=32)]


class SectionJson(_Strict):
    """A run of bytes in the file and its address in memory."""

    name: Name
    address: Size
    offset: Size
    size: Size


class HeaderJson(_Strict):
    """The fields of `ModelHeader`."""

    model_root: Hash
    guest_root: Hash
    entry: Annotated[int, Field(ge=0, lt=_WORD)]
    tiles: Annotated[int, Field(ge=0, lt=_WORD)]
    stride: Annotated[int, Field(ge=0, lt=_WORD)]
    max_steps: Annotated[int, Field(ge=0, lt=_WORD)]
    input_address: Annotated[int, Field(ge=0, lt=_WORD)]
    input_bytes: Annotated[int, Field(ge=0, lt=_WORD)]
    output_address: Annotated[int, Field(ge=0, lt=_WORD)]
    output_bytes: Annotated[int, Field(ge=0, lt=_WORD)]
    window: Annotated[int, Field(ge=0, lt=1 << 32)]
    clock: Annotated[int, Field(ge=0, lt=1 << 32)]
    input_level: Annotated[int, Field(ge=0, lt=1 << 8)]
    output_level: Annotated[int, Field(ge=0, lt=1 << 8)]


class Manifest(_Strict):
    """What an image says of itself; believed only as far as `opml.validator` confirms it."""

    name: Name
    inputs: Annotated[list[TensorJson], Field(max_length=1 << 16)]
    outputs: Annotated[list[Name], Field(max_length=1 << 16)]
    counts: Annotated[list[CountJson], Field(max_length=1 << 16)] = []
    constants: Annotated[list[TensorJson], Field(max_length=1 << 18)]
    nodes: Annotated[list[NodeJson], Field(max_length=1 << 17)]
    repeat: RepeatJson | None = None
    header: HeaderJson
    model_id: Hash
    sections: Annotated[list[SectionJson], Field(max_length=1 << 18)]

    @classmethod
    def parse(cls, data: bytes) -> Self:
        """From JSON. Raises ImageError where it is no manifest."""
        if len(data) > MANIFEST_MAX:
            raise ImageError(f"the manifest is larger than {MANIFEST_MAX} bytes")
        try:
            return cls.model_validate_json(data)
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            where = ".".join(map(str, first["loc"])) or "its start"
            raise ImageError(f"the manifest is wrong at {where}: {first['msg']}") from None

    def model_header(self) -> ModelHeader:
        """The header. Raises ImageError where its fields make no sense."""
        fields = self.header.model_dump()
        for root in ("model_root", "guest_root"):
            fields[root] = bytes.fromhex(fields[root][2:])
        try:
            return ModelHeader(**fields)
        except ValueError as error:
            raise ImageError(f"the header is wrong: {error}") from None

    def constant_types(self) -> dict[str, TensorType]:
        """Types of the constants, in order. Raises ImageError for a name given twice."""
        types = {item.name: _type(item) for item in self.constants}
        if len(types) != len(self.constants):
            raise ImageError("the manifest names a constant twice")
        return types


def graph_repeat(manifest: Manifest) -> tuple[Repeat | None, dict[str, TensorType]]:
    """How the graph is repeated, and the types of the histories. Raises ImageError for a name given twice."""
    repeat = manifest.repeat
    if repeat is None:
        return None, {}
    types = {item.name: _type(item) for item in repeat.histories}
    if len(types) != len(repeat.histories):
        raise ImageError("the manifest names a history twice")
    return Repeat(repeat.count, repeat.length, {item.name: item.of for item in repeat.histories}), types


def graph_nodes(manifest: Manifest) -> list[Node]:
    """The nodes with their attributes as Python values."""
    return [
        Node(item.op, tuple(item.inputs), (item.output,), {k: _attribute(v) for k, v in item.attrs.items()}, item.name)
        for item in manifest.nodes
    ]


def input_types(manifest: Manifest) -> dict[str, TensorType]:
    """Types of the inputs, in order. Raises ImageError for a name given twice."""
    types = {item.name: _type(item) for item in manifest.inputs}
    if len(types) != len(manifest.inputs):
        raise ImageError("the manifest names an input twice")
    return types


def output_counts(manifest: Manifest) -> dict[str, Count]:
    """The counts of the outputs. Raises ImageError for an output that is counted twice."""
    counts = {item.output: Count(item.tensor, item.axis) for item in manifest.counts}
    if len(counts) != len(manifest.counts):
        raise ImageError("the manifest counts an output twice")
    return counts


def make_manifest(graph: Graph, header: ModelHeader, sections: list[SectionJson]) -> Manifest:
    """The manifest of a graph of primitives. Raises ImageError where a limit of the format is passed."""
    try:
        return _manifest(graph, header, sections)
    except ValidationError as error:
        where = ".".join(map(str, error.errors(include_url=False, include_input=False)[0]["loc"]))
        raise ImageError(f"the graph does not fit into an image: {error.title}.{where}") from None


def _manifest(graph: Graph, header: ModelHeader, sections: list[SectionJson]) -> Manifest:
    def tensor(name: str) -> TensorJson:
        kind = graph.types[name]
        return TensorJson(name=name, dtype=kind.dtype.value, shape=list(kind.shape))

    repeat = None
    if graph.repeat:
        histories = [HistoryJson(**tensor(name).model_dump(), of=source) for name, source in graph.histories.items()]
        repeat = RepeatJson(count=graph.repeat.count, length=graph.repeat.length, histories=histories)
    return Manifest(
        name=graph.name,
        inputs=[tensor(name) for name in graph.inputs],
        outputs=list(graph.outputs),
        counts=[CountJson(output=name, tensor=item.tensor, axis=item.axis) for name, item in graph.counts.items()],
        constants=[tensor(name) for name in graph.constants],
        nodes=[
            NodeJson(
                op=node.op,
                name=node.name,
                inputs=list(node.inputs),
                output=node.outputs[0],
                attrs={key: _attribute_json(value) for key, value in sorted(node.attrs.items())},
            )
            for node in graph.nodes
        ],
        repeat=repeat,
        header=HeaderJson(**header.to_json()),
        model_id="0x" + header.model_id.hex(),
        sections=sections,
    )


def _type(item: TensorJson) -> TensorType:
    return TensorType(DType(item.dtype), tuple(item.shape))


def _attribute(value: AttributeJson) -> Attribute:
    if isinstance(value, Float):
        return float(np.uint32(value.f32).view(np.float32))
    return value


def _attribute_json(value: Attribute) -> AttributeJson:
    if isinstance(value, float):
        return Float(f32=int(np.float32(value).view(np.uint32)))
    if isinstance(value, list):
        return [int(item) for item in value]
    return value
