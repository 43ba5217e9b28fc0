"""`opml demo`: the protocol on an embedded chain, with every move shown."""

import time
from pathlib import Path
from typing import Any

import click
import numpy as np
from rich.table import Table
from rich.text import Text

import opml
from opml.chain.deploy import DEFAULT_K
from opml.chain.units import ETHER
from opml.cli.moves import describe, operator_of
from opml.cli.options import emit, json_option, load_inputs, output
from opml.demo import Arena, Scene, Sent, scenes
from opml.dispute.game import Role
from opml.errors import InputError
from opml.graph import Array
from opml.model import Model, load

EXAMPLES = Path(opml.__file__).parent.parent / "examples" / "models"
SHADES = " ░▒▓█"
ACTS = {
    "registerModel": "makes the model known to the contract",
    "claim": "posts the input, the output's root and a bond",
    "challenge": "has another result, and puts down a bond",
    "withdraw": "takes its own: bond and winnings",
}


@click.command("demo")
@click.option(
    "--model", "two_phase", type=click.Path(path_type=Path), default=EXAMPLES / "cnn.onnx", help="Two-phase model."
)
@click.option("--baseline", type=click.Path(path_type=Path), default=EXAMPLES / "mlp.onnx", help="One-phase model.")
@click.option("--input", "-i", "input_file", help="Input for both, as `opml run` takes it; by default a scanned digit.")
@click.option("-k", type=click.IntRange(2, 64), default=DEFAULT_K, show_default=True, help="Parts per round.")
@click.option("--seed", type=int, default=0, show_default=True, help="Where the lies are.")
@json_option
def command(two_phase: Path, baseline: Path, input_file: str | None, k: int, seed: int, as_json: bool) -> None:
    """Watch honest and lying parties meet: one honest claim becomes final, one lying prover is caught by an honest
    challenger, one honest prover beats a lying challenger; then both verdicts again in one-phase opML.

    Everything is real but the stakes: ONNX models trained on scanned digits, the RISC-V machine, the contracts, an EVM.

    \b
    Examples:
      opml demo
      opml demo --seed 7 -k 32
      opml demo --json | jq '.scenes[].gas'
    """
    for file in (two_phase, baseline):
        if not file.is_file():
            raise InputError(f"{file}: no such model", "give --model, --baseline and --input, or run from a checkout")
    began = time.perf_counter()
    model, one_phase = load(two_phase), load(baseline, one_phase=True)
    if model.header.one_phase or not one_phase.header.one_phase:
        raise InputError(
            f"{two_phase if model.header.one_phase else baseline} is compiled for the other scheme",
            "--model takes an ONNX file or a two-phase image, --baseline an ONNX file or a one-phase image",
        )
    models = [(two_phase.stem, model), (baseline.stem, one_phase)]
    inputs = load_inputs((input_file or f"{EXAMPLES / 'digits.npz'}:images:{seed % 10}",), list(model.inputs))
    playing = [model]
    arena = Arena(k, lambda sent: None if as_json else _show_move(playing[0], sent))
    if not as_json:
        _show_start(models, inputs, arena, time.perf_counter() - began)
    done: list[tuple[str, Scene]] = []
    for number, (current, title, play) in enumerate(scenes(arena, model, one_phase, inputs, seed), 1):
        playing[0] = current
        name = next(name for name, known in models if known is current)
        if not as_json:
            output.rule(f"[bold]{number}. {title} · {name}, {_kind(current)}", align="left")
        done.append((name, play()))
        if not as_json:
            _show_end(done[-1][1])
    if as_json:
        rows = [_json(name, scene) for name, scene in done]
        emit({"k": k, "seed": seed, "deployment_gas": arena.deployment.gas_used, "scenes": rows})
    else:
        _show_summary(done)


def _kind(model: Model) -> str:
    return "one-phase" if model.header.one_phase else "two-phase"


def _show_start(models: list[tuple[str, Model]], inputs: dict[str, Array], arena: Arena, seconds: float) -> None:
    for value in inputs.values():
        if value.ndim == 4 and value.shape[:2] == (1, 1) and max(value.shape) <= 32:
            top = max(int(value.max()), 1)
            for row in value[0, 0]:
                output.print(Text("   " + "".join(SHADES[int(v) * 4 // top] * 2 for v in row)))
    for name, model in models:
        program = model.image.program
        output.print(
            f"{name} ({_kind(model)}): {len(program.nodes)} operators, {program.tiles} tiles, "
            f"id 0x{model.model_id.hex()[:16]}…"
        )
    output.print(f"contracts deployed for {arena.deployment.gas_used:,} gas; ready in {seconds:.1f} s")


def _show_move(model: Model, sent: Sent) -> None:
    if sent.view is not None and sent.move is not None:
        words = describe(model.image, sent.view, sent.move)
    else:
        words = ACTS[sent.method]
    color = "cyan" if sent.who is Role.PROVER else "yellow"
    grid = Table.grid(padding=(0, 1), expand=True)
    grid.add_column(width=11)
    grid.add_column(ratio=1)
    grid.add_column(width=20, justify="right")
    grid.add_row(f"[{color}]{sent.who.value}[/]", words, f"[dim]{sent.gas:,} gas {sent.seconds * 1000:4.0f} ms[/]")
    output.print(grid)


def _show_end(scene: Scene) -> None:
    if scene.winner is not None:
        output.print(
            f"[bold]{scene.winner.value} wins[/]: tile {scene.tile} ({operator_of(scene.model.image, scene.tile)}), "
            f"instruction {scene.step:,} of {scene.steps:,}, [bold]{scene.instruction}[/], was executed by the EVM",
            highlight=False,
        )
    best = ", ".join(f"{name} say {int(np.argmax(value))}" for name, value in scene.outputs.items())
    money = ", ".join(f"{role.value} {profit / ETHER:+.2f} ETH" for role, profit in scene.profit.items())
    output.print(f"claim [bold]{scene.status.name.lower()}[/] (the true {best}); {money}, gas apart\n", highlight=False)


def _show_summary(done: list[tuple[str, Scene]]) -> None:
    # Narrow enough for 80 columns: scenes by their numbers above.
    table = Table(title="in all", title_justify="left")
    table.add_column("#", justify="right")
    for name in ("model", "winner", "claim"):
        table.add_column(name)
    for name in ("rounds", "txs", "gas", "seconds"):
        table.add_column(name, justify="right", no_wrap=True)
    for number, (name, scene) in enumerate(done, 1):
        table.add_row(
            str(number),
            f"{name}, {_kind(scene.model)}",
            scene.winner.value if scene.winner else "–",
            scene.status.name.lower(),
            str(sum(sent.method == "choose" for sent in scene.sent)),
            str(len(scene.claimed)),
            f"{scene.gas:,}",
            f"{scene.seconds:.2f}",
        )
    output.print(table)


def _json(name: str, scene: Scene) -> dict[str, Any]:
    return {
        "name": scene.name,
        "model": name,
        "phases": 1 if scene.model.header.one_phase else 2,
        "liar": scene.liar.value if scene.liar else None,
        "winner": scene.winner.value if scene.winner else None,
        "claim": scene.status.name.lower(),
        "operator": operator_of(scene.model.image, scene.tile) if scene.winner else None,
        "tile": scene.tile,
        "instruction": scene.instruction,
        "step": scene.step,
        "steps": scene.steps,
        "transactions": len(scene.claimed),
        "gas": scene.gas,
        "seconds": round(scene.seconds, 3),
        "profit_wei": {role.value: profit for role, profit in scene.profit.items()},
        "moves": [{"who": s.who.value, "method": s.method, "gas": s.gas, "seconds": s.seconds} for s in scene.sent],
    }
