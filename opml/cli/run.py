"""`opml run`: inference only."""

import time
import zipfile
from collections.abc import Mapping
from pathlib import Path

import click
import numpy as np

from opml.cli.generate import Prompt, generate_options
from opml.cli.options import console, dims_option, emit, inputs_option, json_option, load_inputs, progress
from opml.cli.receipts import Wanted, receipt_options
from opml.errors import InputError
from opml.graph import Array
from opml.model import load
from opml.pins import Pins


@click.command("run")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option
@click.option("-o", "--output", "target", type=click.Path(path_type=Path), help="Write the outputs to this .npz.")
@click.option("--threads", type=click.IntRange(1, 1024), help="Threads; by default one per processor.")
@generate_options
@receipt_options
@dims_option
@json_option
def command(
    model: Path,
    input_files: tuple[str, ...],
    target: Path | None,
    threads: int | None,
    wanted: Wanted,
    prompt: Prompt,
    dims: Pins,
    as_json: bool,
) -> None:
    """Run a model natively and print its outputs; nothing is claimed. MODEL is an ONNX file or an image.

    \b
    Examples:
      opml run model.onnx --input image.npy
      opml run model.opml --input image=scan.npy --json
      opml run examples/models/cnn.onnx --input examples/models/digits.npz:images:3
      opml run model.opml --input image.npy --receipt run.json --log runs.log
      opml run decoder.opml --generate --prompt-ids 1,15,7 --max-tokens 20
      opml run smollm2.opml --generate --prompt "Why is the sky blue?" --tokenizer smollm2.tokenizer.json
    """
    with progress() as bar:
        bar.add_task(f"loading {model.name}", total=None)
        # Nobody is asked to believe the result: an image's own root will do. A receipt is shown to others.
        loaded = load(model, dims=dims, rehash=bool(wanted))
        wanted.check_model(loaded)
    if prompt:
        done = prompt.run(loaded, threads, show=not as_json)
        if target is not None:
            write_arrays(target, done.inference.outputs)
        if as_json:
            emit({**prompt.said(done.tokens), "ended": done.ended, "seconds": done.seconds})
        return
    with progress() as bar:
        bar.add_task(f"running {model.name}", total=None)
        arrays = load_inputs(input_files, list(loaded.inputs))
        began = time.perf_counter()
        inference = loaded.infer(arrays, keep_tensors=True, threads=threads) if wanted else None
        outputs = loaded.run(arrays, threads=threads) if inference is None else inference.results
        seconds = time.perf_counter() - began
    digest = wanted.write(inference) if inference else None
    if target is not None:
        write_arrays(target, outputs)
    if as_json:
        emit({"outputs": outputs, "seconds": seconds} | ({"receipt": digest} if wanted else {}))
        return
    for name, value in outputs.items():
        click.echo(f"{name} {value.dtype.name}{list(value.shape)}")
        click.echo(np.array2string(value, threshold=200))
    console.print(f"{seconds * 1000:.2f} ms, compilation of the kernels included where they were not in the cache")


def write_arrays(target: Path, arrays: Mapping[str, Array]) -> None:
    """An .npz with these arrays. Raises InputError."""
    try:
        # As numpy.savez does, which cannot have every name.
        with zipfile.ZipFile(target, "w") as archive:
            for name, value in arrays.items():
                with archive.open(f"{name}.npy", "w") as file:
                    np.lib.format.write_array(file, value, allow_pickle=False)
    except OSError as error:
        raise InputError(f"{target} cannot be written: {error.strerror}") from None
