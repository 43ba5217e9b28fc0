"""The model as a user holds it: run it, inspect it, save it, and follow an inference into its memory."""

import os
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from opml.arrays import take_inputs
from opml.commitment import Bytes, ModelMemory, Region
from opml.compiler import compile_onnx
from opml.counts import cut_outputs
from opml.decoding import Decoding
from opml.dispute.trace import ModelTrace
from opml.engine import Engine, shown
from opml.errors import ModelError
from opml.graph import Array, TensorType
from opml.header import ModelHeader
from opml.image import Image, build_image, write_image
from opml.lean import LeanRun
from opml.model_memory import constant_regions, input_bytes, model_memory, output_bytes, output_root, read_input
from opml.pins import Pins
from opml.show import ports_text, short, table
from opml.terms import CLOCK, WINDOW
from opml.validator import open_image
from vm.merkle import subtree_root

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from opml.chain import Chain
    from opml.claim import Claim
    from opml.evidence.receipt import ClaimJson, Receipt
    from opml.generation import Generation


class Model:
    """A compiled model. `load` makes one from an ONNX file or an image."""

    def __init__(self, image: Image) -> None:
        self.image = image

    def __repr__(self) -> str:
        ports = f"({ports_text(self.inputs)}) -> ({ports_text(self.outputs)})"
        return f"Model({self.image.program.name!r}, {short(self.model_id)}, {ports})"

    def _repr_html_(self) -> str:
        program = self.image.program
        rows = [("id", "0x" + self.model_id.hex())]
        rows += [(f"input {name}", str(kind)) for name, kind in self.inputs.items()]
        rows += [(f"output {name}", str(kind)) for name, kind in self.outputs.items()]
        rows += [("operators", f"{len(program.nodes):,}"), ("tiles", f"{program.tiles:,}")]
        return table(f"Model {program.name}", [*rows, ("window", f"{self.header.window:,} s")])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Gives back the threads and the memory of the engine; the next run makes them anew."""
        engine = self.__dict__.pop("engine", None)
        if engine is not None:
            engine.close()

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

    def run(self, *inputs: Any, threads: int | None = None, raw: bool = False, **named: Any) -> dict[str, Array]:
        """The outputs by name. Inputs are numpy arrays, or what numpy makes arrays of: `run({"x": x})`, `run(x=x)`, or
        `run(x)` in the order of `inputs`. They are converted to the model's types where that is exact.

        `threads` is by default the number of processors; it does not change a bit of the result. An output whose size
        is data (of a NonZero, say) is cut to its count; with `raw` it is as it lies in memory, at its capacity, and
        the count is an output `NAME.count`. Raises InputError.
        """
        outputs = self.engine.run(take_inputs(self.inputs, inputs, named), threads)
        return outputs if raw else cut_outputs(self.image.program.graph.counts, outputs)

    def generate(
        self,
        prompt: Sequence[int],
        max_new: int | None = None,
        each: Callable[[int], object] | None = None,
        threads: int | None = None,
    ) -> "Generation":
        """Goes on with a prompt of token ids: at most `max_new` tokens, as far as there is room, up to an end token.

        `each` is told every new token as soon as it is known, and ends the generation by returning true. The result
        has the tokens and the inference that can be claimed. Raises InputError where the model does not generate
        (`opml.generation`) or the prompt is not of its vocabulary.
        """
        from opml.generation import generate  # here: few models do

        return generate(self, prompt, max_new, each, threads)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the image. Raises ImageError where that fails; an older file is then kept."""
        write_image(self.image, path)

    def compile(self, *, window: int = WINDOW, clock: int = CLOCK, one_phase: bool = False) -> "Model":
        """The same program with other terms for its claims, and so another id. Nothing is computed but the id."""
        image = self.image
        return Model(build_image(image.program, image.guest, window=window, clock=clock, one_phase=one_phase))

    def prove(
        self,
        chain: "Chain | str",
        *inputs: Any,
        account: "LocalAccount | None" = None,
        contract: str | None = None,
        uri: str = "",
        input_uri: str | None = None,
        **named: Any,
    ) -> "Claim":
        """Runs the model, posts the claim that the outputs are right, with a bond, and returns it: `claim.settle()`
        then defends it until it is final. Inputs are given as to `run`; all else is as in `opml.claim.make_claim`.

        Raises InputError, ChainError, SelfCheckError.
        """
        from opml.claim import make_claim  # here: who only runs models needs no chain

        inference = self.infer(*inputs, **named)
        return make_claim(chain, inference, account=account, contract=contract, uri=uri, input_uri=input_uri)

    def output_root(self, outputs: Mapping[str, Array]) -> bytes:
        """What a claim about these outputs says: the root of the output region. They are whole, not cut to a count.

        Raises InputError where they are not this model's.
        """
        return output_root(self.image.program, outputs)

    def infer(self, *inputs: Any, keep_tensors: bool = False, threads: int | None = None, **named: Any) -> "Inference":
        """Runs the model and keeps what a claim needs. Inputs are given as to `run`. Raises InputError.

        With `keep_tensors` every operator's output is kept, too: a receipt then takes no second run.
        """
        # Read the arrays once: what is claimed must be what was run.
        return self.infer_posted(self.input_region(*inputs, **named), keep_tensors=keep_tensors, threads=threads)

    def input_region(self, *inputs: Any, **named: Any) -> bytes:
        """The bytes of the input region, as a claim posts them. Inputs are given as to `run`. Raises InputError."""
        return input_bytes(self.image.program, take_inputs(self.inputs, inputs, named))

    def infer_posted(self, posted: bytes, *, keep_tensors: bool = False, threads: int | None = None) -> "Inference":
        """The same for the input region's bytes as a claim posts them. Raises InputError."""
        program = self.image.program
        inputs = read_input(program, posted)
        if not keep_tensors:
            return Inference(self, posted, self.engine.run(inputs, threads))
        tensors = self.engine.run_full(inputs, threads)
        outputs = {port.name: shown(program, port, tensors[port.tensor]) for port in program.outputs}
        return Inference(self, posted, outputs, tensors)

    @cached_property
    def constant_regions(self) -> list[Region]:
        """Guest, table and constants, which all inferences share; hashed when first asked for."""
        return constant_regions(self.image)


class Inference:
    """A finished inference: outputs, and, when somebody disputes it, the memory after every tile.

    `posted` are the bytes of the input region. Only input and output are hashed before a dispute. `outputs` are those
    that a claim shows: one whose size is data at its capacity, with its count beside it; `results` are cut to size.
    """

    def __init__(
        self, model: Model, posted: bytes, outputs: dict[str, Array], tensors: dict[str, Bytes] | None = None
    ) -> None:
        self.model = model
        self.posted = posted
        self.outputs = outputs
        self._tensors = tensors

    def __repr__(self) -> str:
        return f"Inference({self.model.image.program.name!r}, ({ports_text(self.model.outputs)}))"

    @property
    def results(self) -> dict[str, Array]:
        """The outputs as `Model.run` returns them."""
        return cut_outputs(self.model.image.program.graph.counts, self.outputs)

    @cached_property
    def input_root(self) -> bytes:
        """Root of the input region."""
        return subtree_root(self.posted, self.model.header.input_level)

    @cached_property
    def output(self) -> bytes:
        """The output region's bytes: what a consumer on chain is given."""
        return output_bytes(self.model.image.program, self.outputs)

    @cached_property
    def output_root(self) -> bytes:
        """Root of the output region: what a claim says."""
        return output_root(self.model.image.program, self.outputs)

    @cached_property
    def memory(self) -> ModelMemory:
        """All tensors at their committed addresses, hashed in one pass."""
        return model_memory(self.model.image, self._committed, self.posted, self.model.constant_regions)

    @property
    def _committed(self) -> dict[str, Bytes]:
        """What a memory is made of: all tensors, or of a long run those that its other ones can be computed from."""
        program = self.model.image.program
        if program.repeat is None or self._tensors is not None or "tensors" in self.__dict__:
            return self.tensors
        return LeanRun(self.model.engine, read_input(program, self.posted)).tensors

    @cached_property
    def tensors(self) -> dict[str, Bytes]:
        """The bytes of every tensor by its name in the program; the model is run again unless they were kept."""
        if self._tensors is not None:
            return self._tensors
        return self.model.engine.run_full(read_input(self.model.image.program, self.posted))

    def receipt(
        self,
        *,
        log: str | os.PathLike[str] | None = None,
        tensors: str | os.PathLike[str] | None = None,
        claim: "ClaimJson | None" = None,
    ) -> "Receipt":
        """Evidence of this inference: every operator's output by its Merkle root, in an append-only log.

        `log` is the log file of earlier runs, to which this run is appended; without it the run is a log of its own.
        `tensors` is a folder into which the outputs' bytes are written, for audits that run nothing else. `claim` is
        the claim on chain, made by `opml.evidence.receipt.claim_json`. Costs one hash pass over the outputs, and a
        second run unless `infer` kept them. `Receipt.save` writes it. Raises ReceiptError.
        """
        from opml.evidence.record import make_receipt  # here: who wants no receipt needs none of this

        return make_receipt(self, log=log, tensors=tensors, claim=claim)

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
    dims: Pins | None = None,
    shapes: Mapping[str, Sequence[int]] | None = None,
    values: Mapping[str, Any] | None = None,
    decoding: Decoding | None = None,
    rehash: bool = True,
) -> Model:
    """A model from an ONNX file, which is compiled, or from an image (`.opml`), which is validated.

    `window` and `clock` (seconds) and `one_phase` are part of a model's id; an image brings its own. `dims` pins an
    ONNX file's dynamic dimensions by name, `shapes` the whole shapes of its inputs; `values` makes inputs constants of
    the model; `decoding` makes a decoder generate. `rehash=False` believes an image's root: enough to run it, never to
    bond on it. Raises ModelError, UnsupportedError, ImageError.
    """
    file = Path(path)
    if not file.is_file():
        why = "is a folder" if file.is_dir() else "no such file"
        raise ModelError(f"{file}: {why}", "name an ONNX file or an image made by `opml compile`")
    if file.suffix == ".opml":
        return Model(open_image(file, rehash=rehash))
    constants = {name: np.asarray(value) for name, value in (values or {}).items()}
    # An array among the pins would be a value.
    whole = {name: list(shape) if isinstance(shape, np.ndarray) else shape for name, shape in (shapes or {}).items()}
    pins = {**(dims or {}), **whole, **constants}
    return Model(compile_onnx(file, window=window, clock=clock, one_phase=one_phase, dims=pins, decoding=decoding))
