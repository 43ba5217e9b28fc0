"""From an ONNX file to an image: reader, lowering, passes, layout, hashes."""

import os
from collections.abc import Mapping

from opml.decoding import Decoding, decoder_graph
from opml.graph import Array, Graph
from opml.image import Image, build_image
from opml.lowering import lower
from opml.passes import run_passes
from opml.pins import Pins
from opml.program import Program, build_program
from opml.reader import read_onnx
from opml.terms import CLOCK, WINDOW


def compile_graph(
    source: str | os.PathLike[str] | bytes,
    dims: Pins | None = None,
    values: Mapping[str, Array] | None = None,
    decoding: Decoding | None = None,
) -> Graph:
    """The graph of primitives of an ONNX file or its bytes.

    `dims` pins dynamic dimensions by name, to a number, or inputs by name, to a whole shape; `values` makes inputs
    constants of the model. With `decoding` the model is a decoder that generates (`opml.lowering.generation`). Raises
    ModelError where the file is not a sound model, UnsupportedError where opml does not have what it uses.
    """
    if decoding is not None:
        return run_passes(decoder_graph(source, decoding, dims, values))
    return run_passes(lower(read_onnx(source, dims, values)))


def compile_program(
    source: str | os.PathLike[str] | bytes,
    dims: Pins | None = None,
    values: Mapping[str, Array] | None = None,
    decoding: Decoding | None = None,
) -> Program:
    """The laid-out program; enough for inference. Raises as `compile_graph`."""
    return build_program(compile_graph(source, dims, values, decoding))


def compile_onnx(
    source: str | os.PathLike[str] | bytes,
    *,
    window: int = WINDOW,
    clock: int = CLOCK,
    one_phase: bool = False,
    dims: Pins | None = None,
    values: Mapping[str, Array] | None = None,
    decoding: Decoding | None = None,
    guest: bytes | None = None,
) -> Image:
    """Compiles a model, hash pass included. `window` and `clock` are seconds; `guest` is by default the published one.

    Raises as `compile_graph`, and ValueError where `window` or `clock` are no positive 32-bit numbers.
    """
    if guest is None:
        from opml.guest import load  # here: a program alone needs no guest

        guest = load()
    program = compile_program(source, dims, values, decoding)
    return build_image(program, guest, window=window, clock=clock, one_phase=one_phase)
