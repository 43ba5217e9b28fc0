"""A decoder's ONNX file → the graph of a program that generates text with it."""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from opml.errors import ModelError
from opml.graph import Array, Graph
from opml.lowering.generation import lower_decoder, pins
from opml.pins import Pins
from opml.reader import read_onnx, read_ports

CONTEXT = 256
# Where a model's metadata say which token ends an answer; `opml convert` writes it.
END_KEY = "opml.eos"


@dataclass(frozen=True)
class Decoding:
    """That a decoder is to generate: prompt and answer together have at most `context` tokens.

    Any token of `ends` ends an answer; None stands for the one that the file's metadata name, if they do.
    """

    context: int = CONTEXT
    ends: tuple[int, ...] | None = None


def decoder_graph(
    source: str | os.PathLike[str] | bytes,
    decoding: Decoding,
    dims: Pins | None = None,
    values: Mapping[str, Array] | None = None,
) -> Graph:
    """The repeated graph of primitives. `dims` and `values` are as for other models. Raises as `read_onnx`, `lower`."""
    ports = read_ports(source)
    ends = decoding.ends
    if ends is None:
        named = ports.metadata.get(END_KEY, "")
        if named and not (named.isascii() and named.isdigit() and len(named) < 10):
            raise ModelError(f"the metadata's {END_KEY} is {named[:40]!r}, no token")
        ends = (int(named),) if named else ()
    inputs = {name: labels for name, labels in ports.inputs.items() if name not in (values or {})}
    all_dims = {**pins(inputs, ports.outputs, decoding.context), **(dims or {})}
    return lower_decoder(read_onnx(source, all_dims, values), decoding.context, ends)
