"""`opml inspect`: what is in a model."""

from pathlib import Path
from typing import Any

import click
from rich.table import Table

from opml.cli.options import emit, json_option, model_options, output, progress
from opml.inspection import describe
from opml.model import load
from opml.pins import Pins


@click.command("inspect")
@click.argument("model", type=click.Path(path_type=Path))
@model_options
@json_option
def command(model: Path, dims: Pins, window: int, clock: int, one_phase: bool, as_json: bool) -> None:
    """Show a model's operators, memory map, roots and tiles. MODEL is an ONNX file or an image.

    \b
    Examples:
      opml inspect model.opml
      opml inspect model.onnx --json | jq .model_id
    """
    with progress() as bar:
        bar.add_task(f"reading {model.name}", total=None)
        described = describe(load(model, window=window, clock=clock, one_phase=one_phase, dims=dims).image)
    if as_json:
        emit(described)
        return
    _print_nodes(described)
    _print_memory(described)
    _print_header(described)


def _shape(tensor: dict[str, Any]) -> str:
    return f"{tensor['dtype']}[{', '.join(map(str, tensor['shape']))}]"


def _print_nodes(described: dict[str, Any]) -> None:
    table = Table(title=f"{described['name']}: operators", title_justify="left")
    for name, justify in (("#", "right"), ("operator", "left"), ("inputs", "left"), ("output", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for name in ("tiles", "address", "instructions a tile ≤"):
        table.add_column(name, justify="right")
    for index, node in enumerate(described["nodes"]):
        first, last = node["first_tile"], node["first_tile"] + node["tiles"] - 1
        table.add_row(
            str(index),
            node["op"],
            " ".join(_shape(tensor) for tensor in node["inputs"]),
            _shape(node["output"]),
            f"{first}–{last}",
            f"{node['address']:#x}",
            f"{node['max_steps']:,}",
        )
    output.print(table)


def _print_memory(described: dict[str, Any]) -> None:
    table = Table(title="memory", title_justify="left")
    for name, justify in (("address", "right"), ("bytes", "right"), ("subtree", "right"), ("what", "left")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    places = [(s["address"], s["bytes"], "", s["name"]) for s in described["sections"] if s["name"] != "constants"]
    for tensor in described["tensors"]:
        size = f"2^{tensor['level'] + 5}"
        places.append((tensor["address"], tensor["bytes"], size, f"{tensor['kind']} {tensor['name']} {_shape(tensor)}"))
    for address, size, subtree, what in sorted(places):
        table.add_row(f"{address:#x}", f"{size:,}", subtree, what)
    output.print(table)


def _print_header(described: dict[str, Any]) -> None:
    # No table: it would cut the ids, which are to be copied, to the width of the terminal.
    rows = {"model_id": described["model_id"], **described["header"]}
    if repeat := described["repeat"]:
        rows["repeated"] = f"up to {repeat['count']} times {repeat['tiles']} tiles, as {repeat['length']} says"
    width = max(map(len, rows))
    for name, value in rows.items():
        text = f"{value:#x}" if name in ("input_address", "output_address") else value
        click.echo(f"{name.replace('_', ' '):{width}}  {text}")
