"""`opml compile`: an ONNX model to an image."""

import time
from pathlib import Path

import click

from opml.cli.options import console, emit, json_option, model_options, progress
from opml.decoding import CONTEXT, Decoding
from opml.errors import InputError
from opml.model import Model, load
from opml.pins import Pins
from opml.terms import MAX_TRANSACTION_GAS, POSTABLE_BYTES


@click.command("compile")
@click.argument("model", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path), help="Image to write; by default MODEL.opml."
)
@click.option("--generate", is_flag=True, help="The model is a decoder: compile it to go on with a prompt by itself.")
@click.option("--context", type=click.IntRange(2, 1 << 19), help=f"Most tokens of prompt and answer; {CONTEXT}.")
@click.option("--eos", "ends", type=click.IntRange(0), multiple=True, help="A token that ends an answer; repeatable.")
@model_options
@json_option
def command(
    model: Path,
    target: Path | None,
    generate: bool,
    context: int | None,
    ends: tuple[int, ...],
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    as_json: bool,
) -> None:
    """Compile an ONNX model to an image (.opml): operators, weights, node table, guest, and the model's id.

    The id commits to every weight, the guest, the window and the clocks: whoever compiles the same file with the same
    options gets the same id, and needs to believe nobody.

    \b
    Examples:
      opml compile model.onnx -o model.opml
      opml compile model.onnx --window 3600 --clock 1800
      opml compile model.onnx --one-phase -o baseline.opml     # everything in the machine
      opml compile decoder.onnx --generate --context 512 --eos 2
    """
    if not generate and (context or ends):
        raise InputError("--context and --eos are for a model that generates", "add --generate")
    decoding = Decoding(context or CONTEXT, ends or None) if generate else None
    target = target or model.with_suffix(".opml")
    if target.exists() and model.exists() and target.samefile(model):
        raise InputError(f"the image would take the place of {model}", "name another file with --output")
    began = time.perf_counter()
    with progress() as bar:
        bar.add_task(f"compiling {model.name}", total=None)
        compiled: Model = load(model, window=window, clock=clock, one_phase=one_phase, dims=dims, decoding=decoding)
        compiled.save(target)
    seconds = time.perf_counter() - began
    program, size = compiled.image.program, target.stat().st_size
    too_large = program.input_region.nbytes > POSTABLE_BYTES
    if as_json:
        emit(
            {
                "model_id": compiled.model_id,
                "image": target,
                "bytes": size,
                "operators": len(program.nodes),
                "tiles": program.tiles,
                "claimable": not too_large,
                "header": compiled.header.to_json(),
                "seconds": round(seconds, 3),
            }
        )
        return
    click.echo(f"0x{compiled.model_id.hex()}")
    if too_large:
        console.print(
            f"warning: an input has {program.input_region.nbytes:,} bytes, more than a transaction of "
            f"{MAX_TRANSACTION_GAS:,} gas may bear on public chains; use uint8 inputs, converted inside the model"
        )
    console.print(f"{target}: {len(program.nodes)} operators, {program.tiles} tiles, {size:,} bytes, {seconds:.2f} s")
