"""Options that several commands share, and the one way in which commands print."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar
from zipfile import BadZipFile

import click
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from opml.chain.fees import DEFAULT_MAX_FEE
from opml.chain.units import GWEI
from opml.cli.numbers import Finite
from opml.errors import InputError, OpmlError
from opml.graph import Array
from opml.terms import CLOCK, WINDOW

if TYPE_CHECKING:
    from opml.model import Model

F = TypeVar("F", bound=Callable[..., Any])

# What a person reads goes to standard error, so that standard output is the result alone.
# Its lines are not cut to the width of a terminal: commands and ids in them are to be copied.
console = Console(stderr=True, soft_wrap=True)
output = Console()
_MAX_FEE, _GIVEN, VALUES = "opml.max_fee", "opml.given", "opml.values"


def json_option(function: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON object, for programs.")(function)


def inputs_option(function: F) -> F:
    return click.option(
        "--input",
        "-i",
        "input_files",
        multiple=True,
        metavar="[NAME=]FILE",
        help="An array for a model input: .npy, or from an .npz as FILE.npz:KEY or FILE.npz:KEY:INDEX.",
    )(function)


class _Pin(click.ParamType):  # type: ignore[type-arg]
    """NAME=NUMBER or NAME=NUMBER,NUMBER,…, as a pair; nothing after the = is the shape of a scalar."""

    name = "NAME=NUMBERS"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[str, int | tuple[int, ...]]:
        name, _, text = str(value).rpartition("=")
        numbers = text.split(",") if text else []
        if not name or not all(number.isascii() and number.isdigit() and len(number) < 20 for number in numbers):
            self.fail(f"{value!r} is not NAME=NUMBER or NAME=NUMBER,NUMBER,…", param, ctx)
        sizes = tuple(map(int, numbers))
        return name, sizes[0] if len(sizes) == 1 else sizes


class _Value(click.ParamType):  # type: ignore[type-arg]
    """NAME=NUMBERS or NAME=FILE, as a pair of a name and an array."""

    name = "NAME=NUMBERS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        name, _, text = str(value).partition("=")
        if not name or not text:
            self.fail(f"{value!r} is not NAME=NUMBERS or NAME=FILE.npy", param, ctx)
        if text.endswith(".npy") or ".npz:" in text:
            array = _read_array(text)
        else:
            try:
                array = np.array(json.loads(f"[{text}]"))
            except ValueError:
                self.fail(f"{text!r} is neither numbers nor a .npy file", param, ctx)
        if ctx is not None:
            # As it was written, for who tells a user how to go on.
            ctx.meta.setdefault(VALUES, []).append(value)
        return name, array


def dims_option(function: F) -> F:
    """What makes a model of an ONNX file that leaves something open: an array among `dims` is an input's value."""

    def merged(ctx: click.Context, param: click.Parameter, value: Any) -> dict[str, Any]:
        return dict(value) | dict(ctx.meta.get(_GIVEN, ()))

    def keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
        ctx.meta[_GIVEN] = value

    pin = click.option(
        "--dim",
        "--shape",
        "dims",
        type=_Pin(),
        multiple=True,
        callback=merged,
        help="Pin a dynamic dimension of an ONNX file (batch=1), or the shape of an input (x=1,3,224,224).",
    )
    give = click.option(
        "--value",
        type=_Value(),
        multiple=True,
        is_eager=True,  # so that it is there when the pins are
        expose_value=False,
        callback=keep,
        help="Make an input of an ONNX file a constant of the model: rate=16000, or a .npy file.",
    )
    return pin(give(function))


def model_options(function: F) -> F:
    """What is part of a model's id besides the model; an image brings its own."""
    for option in reversed(
        [
            dims_option,
            click.option(
                "--window",
                type=click.IntRange(1, 2**32 - 1),
                default=WINDOW,
                show_default=True,
                help="Seconds to challenge.",
            ),
            click.option(
                "--clock",
                type=click.IntRange(1, 2**32 - 1),
                default=CLOCK,
                show_default=True,
                help="Seconds each side has for all its moves in a game.",
            ),
            click.option("--one-phase", is_flag=True, help="Dispute by instructions alone: the baseline."),
        ]
    ):
        function = option(function)
    return function


def rpc_option(function: F) -> F:
    """The chain, for commands that make no sense on an embedded one."""
    return click.option("--rpc", metavar="URL", required=True, help="JSON-RPC node, for example `opml devnet`.")(
        function
    )


def contract_option(function: F) -> F:
    return click.option(
        "--contract",
        metavar="ADDRESS[@BLOCK]",
        help="The Opml contract, and its first block, before which no event is looked for; on a devnet it is found.",
    )(function)


def _keep_max_fee(ctx: click.Context, param: click.Parameter, value: float) -> None:
    ctx.meta[_MAX_FEE] = round(value * GWEI)


def max_fee() -> int:
    """What --max-fee says, in wei; the default where a command does not sign."""
    context = click.get_current_context(silent=True)
    return DEFAULT_MAX_FEE if context is None else int(context.meta.get(_MAX_FEE, DEFAULT_MAX_FEE))


def key_options(function: F) -> F:
    """What signing needs: the two ways to name a key (a key itself is never an argument), and the highest fee."""
    for option in reversed(
        [
            click.option(
                "--max-fee",
                metavar="GWEI",
                envvar="OPML_MAX_FEE",
                show_envvar=True,
                type=Finite(1e-9, 1e9),
                default=DEFAULT_MAX_FEE / GWEI,
                show_default=True,
                expose_value=False,
                callback=_keep_max_fee,
                help="What a transaction may pay for a unit of gas, however long it waits.",
            ),
            click.option(
                "--key-env",
                metavar="NAME",
                default="OPML_KEY",
                show_default=True,
                help="Variable with the private key.",
            ),
            click.option(
                "--keystore",
                type=click.Path(exists=True, dir_okay=False, path_type=Path),
                help="Keystore file (version 3). Its password is asked for, or read from OPML_KEYSTORE_PASSWORD.",
            ),
        ]
    ):
        function = option(function)
    return function


class _Address(click.ParamType):  # type: ignore[type-arg]
    """An account, checksummed."""

    name = "ADDRESS"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        from opml.chain.hexa import checksum

        try:
            return checksum(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an address: 20 bytes in hexadecimal, as 0x…", param, ctx)


ADDRESS = _Address()


def party_option(function: F) -> F:
    """For whom a delegate acts."""
    return click.option(
        "--for",
        "party",
        type=ADDRESS,
        metavar="ADDRESS",
        help="Act for this account, which has made the key's account its delegate (`opml delegate`).",
    )(function)


def poll_option(function: F) -> F:
    return click.option(
        "--poll",
        type=Finite(0.01, 86400),
        default=1.0,
        show_default=True,
        help="Seconds between two looks at the chain.",
    )(function)


def emit(body: dict[str, Any]) -> None:
    """One JSON object on standard output; bytes are 0x-hex, arrays are lists."""
    click.echo(json.dumps(body, default=_plain))


def emit_verdict(body: dict[str, Any], problem: OpmlError | None) -> None:
    """The same for a command whose result may be a failure: still one object, with the error in it."""
    emit(body if problem is None else body | {"error": problem.to_json()})
    if problem is not None:
        raise click.exceptions.Exit(problem.exit_status)


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, Path):
        return str(value)
    raise TypeError(f"no JSON form for {type(value).__name__}")


def progress() -> Progress:
    """A bar on standard error that disappears when the work is done and stays silent where nobody looks."""
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )


def load_inputs(files: tuple[str, ...], names: list[str]) -> dict[str, Array]:
    """The arrays that `--input` names. A model with one input needs no NAME.

    Raises InputError where a file, a key, an index or a name is missing.
    """
    arrays: dict[str, Array] = {}
    for item in files:
        name, _, rest = item.rpartition("=")
        if not name:
            if len(names) != 1:
                raise InputError(f"--input {item}: which input? the model has {', '.join(names)}", "write NAME=FILE")
            name = names[0]
        if name not in names:
            raise InputError(f"the model has no input {name!r}", f"its inputs are {', '.join(names)}")
        arrays[name] = _read_array(rest)
    missing = [name for name in names if name not in arrays]
    if missing:
        raise InputError(f"no --input given for {', '.join(missing)}", "add --input NAME=FILE.npy")
    return arrays


def load_region(files: tuple[str, ...], model: "Model") -> bytes | None:
    """The input region's bytes that `--input` gives: from arrays, or from one file of any other kind as they are.

    None where no file is given. Raises InputError.
    """
    if not files:
        return None
    if len(files) == 1 and Path(files[0]).is_file() and Path(files[0]).suffix not in (".npy", ".npz"):
        return Path(files[0]).read_bytes()
    return model.input_region(load_inputs(files, list(model.inputs)))


def _read_array(text: str) -> Array:
    """The array that FILE.npy, FILE.npz:KEY or FILE.npz:KEY:INDEX names."""
    file, *selectors = text.split(".npz:", 1)
    path = Path(file + ".npz" if selectors else file)
    key, _, index = selectors[0].partition(":") if selectors else ("", "", "")
    try:
        array = _load(path, key)
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except ValueError as error:
        # numpy takes all that it does not know for pickled objects, and says how to load them.
        why = "it holds no array of numbers" if "pickle" in str(error) else error
        raise InputError(f"{path} is not a numpy file: {why}", "save an array of numbers with numpy.save") from None
    except (OSError, EOFError, BadZipFile, zlib.error) as error:
        raise InputError(f"{path} is not a numpy file: {error}", "save it with numpy.save") from None
    if not index:
        return array
    if not index.isdigit() or array.ndim == 0 or int(index) >= array.shape[0]:
        raise InputError(f"{path}: no index {index} in {key} of shape {list(array.shape)}")
    return np.asarray(array[int(index)])


def _load(path: Path, key: str) -> Array:
    with path.open("rb") as file:
        loaded: Any = np.load(file, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded:
            if key not in loaded.files:
                raise InputError(f"{path} holds {', '.join(loaded.files)}", "name one of them: FILE.npz:KEY")
            return np.asarray(loaded[key])
