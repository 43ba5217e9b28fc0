"""`opml convert`: other frameworks' models to ONNX."""

from dataclasses import asdict
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from opml.cli.numbers import Finite
from opml.cli.options import console, emit, emit_verdict, json_option, progress
from opml.convert.errors import ConversionError
from opml.convert.wanted import DEFAULT_OPSET, DEFAULT_TOLERANCE, Wanted
from opml.errors import OpmlError

if TYPE_CHECKING:
    from opml.convert.compare import Difference


class _Shape(click.ParamType):  # type: ignore[type-arg]
    """NAME=1,3,224,224, as a pair of a name and a shape; NAME= is a scalar."""

    name = "NAME=SHAPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, numbers = str(value).rpartition("=")
        sizes = numbers.split(",") if numbers else []
        if not name or not all(size.isascii() and size.isdigit() for size in sizes):
            self.fail(f"{value!r} is not NAME=SHAPE, as in x=1,3,224,224", param, ctx)
        return name, tuple(map(int, sizes))


class _DType(click.ParamType):  # type: ignore[type-arg]
    """NAME=DTYPE, as a pair."""

    name = "NAME=DTYPE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, dtype = str(value).rpartition("=")
        if not name or not dtype:
            self.fail(f"{value!r} is not NAME=DTYPE, as in ids=int64", param, ctx)
        return name, dtype


@click.command("convert")
@click.argument("source")
@click.option(
    "-o", "--output", "target", type=click.Path(path_type=Path), help="ONNX file to write; by default NAME.onnx."
)
@click.option("--shape", "shapes", type=_Shape(), multiple=True, help="Shape of an input, as x=1,3,224,224.")
@click.option("--dtype", "dtypes", type=_DType(), multiple=True, help="Type of an input that is not float32.")
@click.option("--opset", type=click.IntRange(7), default=DEFAULT_OPSET, show_default=True, help="Operator set.")
@click.option("--samples", type=click.IntRange(1), default=3, show_default=True, help="Random inputs to compare on.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the random inputs.")
@click.option(
    "--tolerance",
    type=Finite(0),
    default=DEFAULT_TOLERANCE,
    show_default=True,
    help="Largest difference that is good, relative to the output's largest element.",
)
@json_option
def command(
    source: str,
    target: Path | None,
    shapes: tuple[tuple[str, tuple[int, ...]], ...],
    dtypes: tuple[tuple[str, str], ...],
    opset: int,
    samples: int,
    seed: int,
    tolerance: float,
    as_json: bool,
) -> None:
    """Convert a model of another framework to ONNX, and compare opml's outputs with the framework's on random inputs.

    SOURCE is a file (.pt2: an exported program; .pt: TorchScript; .keras; .tflite; .gguf), the folder of a TensorFlow
    SavedModel, or Python code that makes the model: MODULE:NAME or FILE.py:NAME, where NAME is the model or a function
    without parameters. PyTorch's files and Python code are run as they are opened: convert only what you trust. A GGUF
    file has no framework to compare with; its tokenizer is written beside the model.

    \b
    Examples:
      opml convert net.pt2 -o net.onnx
      opml convert train.py:make_model --shape image=1,3,224,224
      opml convert my.models:encoder --shape ids=1,16 --dtype ids=int64
      opml convert classifier.keras --tolerance 1e-5
      opml convert smollm2.gguf -o smollm2.onnx

    Exits with 3 where the difference is larger than the tolerance, or where opml does not have an operator.
    """
    from opml.convert.dispatch import convert  # here: the rest of the command line needs none of it

    target = target or _default_target(source)
    if source.endswith(".gguf"):
        from opml.convert.gguffiles import write_gguf

        written = write_gguf(Path(source), target)
        if as_json:
            emit({"onnx": target, "framework": "GGUF", "files": list(map(str, written))})
        else:
            console.print(f"{', '.join(map(str, written))}: from GGUF")
        return
    with progress() as bar:
        bar.add_task(f"converting {source}", total=None)
        done = convert(
            source,
            target,
            Wanted(dict(shapes), dict(dtypes), opset),
            samples=samples,
            seed=seed,
            tolerance=tolerance,
            warn=lambda text: console.print(f"warning: {text}"),
        )
    problem: OpmlError | None = None
    if not done.close:
        worst = max(done.differences, key=lambda name: done.differences[name])
        problem = ConversionError(
            f"output {worst!r} differs by {done.differences[worst].relative:.2g} of its largest element, "
            f"more than {tolerance:g}",
            "see --tolerance; a model with random numbers or in training mode never agrees with itself",
        )
    if as_json:
        emit_verdict(
            {
                "onnx": done.target,
                "framework": done.framework,
                "inputs": {name: [kind.dtype.value, *kind.shape] for name, kind in done.model.inputs.items()},
                "samples": samples,
                "tolerance": tolerance,
                "differences": {name: _plain(difference) for name, difference in done.differences.items()},
            },
            problem,
        )
        return
    for name, difference in done.differences.items():
        click.echo(f"{name}: largest difference {difference.absolute:.3g}, relative {difference.relative:.3g}")
    console.print(f"{done.target}: from {done.framework}, compared on {samples} inputs")
    if problem is not None:
        raise problem


def _plain(difference: "Difference") -> dict[str, float | None]:
    """As JSON has it, which knows no infinity."""
    return {name: value if isfinite(value) else None for name, value in asdict(difference).items()}


def _default_target(source: str) -> Path:
    """NAME.onnx beside the working directory's files, NAME being the file's, the folder's or the object's."""
    place, _, name = source.rpartition(":")
    return Path(f"{name}.onnx" if place else Path(source).with_suffix(".onnx").name)
