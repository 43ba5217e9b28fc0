"""The model as a user holds it: run it, inspect it, save it, and follow an inference into its memory."""

import os
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

from opml.commitment import ModelMemory, Region
from opml.compiler import CLOCK, WINDOW, compile_onnx
from opml.dispute.trace import ModelTrace
from opml.engine import Engine
from opml.errors import ModelError
from opml.graph import Array, TensorType
from opml.header import ModelHeader
from opml.image import Image, write_image
from opml.model_memory import bare_memory, constant_regions, input_bytes, model_memory, output_root, read_input
from opml.validator import open_image


class Model:
    """A compiled model. `load` makes one from an ONNX file or an image."""

    def __init__(self, image: Image) -> None:
        self.image = image

    def __repr__(self) -> str:
        ports = {p.name: f"{p.type.dtype.value}{list(p.type.shape)}" for p in self.image.program.inputs}
        return f"Model({self.image.program.name!r}, id=0x{self.model_id.hex()[:16]}…, inputs={ports})"

    @property
    def model_id(self) -> bytes:
        """32 bytes: the model's name on chain."""
        return self.image.model_id

    @property
    def header(self) -> ModelHeader:
        """What the contract knows of the model."""
        return self.image.header

    @cached_property
    def inputs(self) -> dict[str, TensorType]:
        """Dtype and shape of each input by name."""
        return {port.name: port.type for port in self.image.program.inputs}

    @cached_property
    def outputs(self) -> dict[str, TensorType]:
        """Dtype and shape of each output by name."""
        return {port.name: port.type for port in self.image.program.outputs}

    @cached_property
    def engine(self) -> Engine:
        """The native kernels bound to this model's constants."""
        return Engine(self.image.program)

    def run(self, inputs: Mapping[str, Array], threads: int | None = None) -> dict[str, Array]:
        """The outputs by name for numpy arrays by name; dtypes and shapes must be those of `inputs`.

        `threads` is by default the number of processors; it does not change a bit of the result. Raises InputError.
        """
        return self.engine.run(inputs, threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the image. Raises ImageError where that fails; an older file is then kept."""
        write_image(self.image, path)

    def infer(self, inputs: Mapping[str, Array]) -> "Inference":
        """Runs the model and keeps what a claim needs. Raises InputError."""
        self.engine.check(inputs)
        # Read the arrays once: what is claimed must be what was run.
        return self.infer_posted(input_bytes(self.image.program, inputs))

    def infer_posted(self, posted: bytes) -> "Inference":
        """The same for the input region's bytes as a claim posts them. Raises InputError."""
        return Inference(self, posted, self.run(read_input(self.image.program, posted)))

    @cached_property
    def input_path(self) -> bytes:
        """The encoded path from the (empty) input region to the model root."""
        return bare_memory(self.image, self.constant_regions).input_path()

    @cached_property
    def constant_regions(self) -> list[Region]:
        """Guest, table and constants, which all inferences share; hashed when first asked for."""
        return constant_regions(self.image)


class Inference:
    """A finished inference: outputs, and, when somebody disputes it, the memory after every tile.

    `posted` are the bytes of the input region. Only input and output are hashed before a dispute.
    """

    def __init__(self, model: Model, posted: bytes, outputs: dict[str, Array]) -> None:
        self.model = model
        self.posted = posted
        self.outputs = outputs

    @cached_property
    def output_root(self) -> bytes:
        """Root of the output region: what a claim says."""
        return output_root(self.model.image.program, self.outputs)

    @cached_property
    def memory(self) -> ModelMemory:
        """All tensors at their committed addresses: the model is run again, and hashed in one pass."""
        full = self.model.engine.run_full(read_input(self.model.image.program, self.posted))
        return model_memory(self.model.image, full, self.posted, self.model.constant_regions)

    @cached_property
    def trace(self) -> ModelTrace:
        """What a player of a dispute asks."""
        return ModelTrace(self.model.header, self.memory)


def load(
    path: str | os.PathLike[str],
    *,
    window: int = WINDOW,
    clock: int = CLOCK,
    one_phase: bool = False,
    dims: Mapping[str, int] | None = None,
    rehash: bool = True,
) -> Model:
    """A model from an ONNX file, which is compiled, or from an image (`.opml`), which is validated.

    `window` and `clock` (seconds) and `one_phase` are part of a model's id; an image brings its own. `dims`
    pins an ONNX file's dynamic dimensions by name. `rehash=False`
    believes an image's root: enough to run it, never to bond on it. Raises ModelError, UnsupportedError, ImageError.
    """
    file = Path(path)
    if not file.is_file():
        raise ModelError(f"{file}: no such file", "name an ONNX file or an image made by `opml compile`")
    if file.suffix == ".opml":
        return Model(open_image(file, rehash=rehash))
    return Model(compile_onnx(file, window=window, clock=clock, one_phase=one_phase, dims=dims))
