"""Whole disputes about programs of 2^10, 2^16 and 2^21 tiles with about 2^20 instructions a tile, for several k.

    python benchmarks/dispute_scale.py                 prints a table for each size
    python benchmarks/dispute_scale.py --tiles 21 -k 40
    python benchmarks/dispute_scale.py --write         and records it in docs/protocol.md

The program is one layer for 1, 64 or 2048 positions: a posted vector is added to every position's 2400 features, which
a matrix of 2400 x 5792 then maps. That makes 1024 tiles a position, of which 724 are 8 products of 2400 multiply-
accumulates each; the lie is in one of these. Both parties are the real players on real computations: the liar's memory
holds one wrong bit, with all the hashes that follow from it, and a bluff about the machine.

Goals at 2^21 tiles, both sides together, from the claim to the winner's money: at most 1.3 M gas and 22 transactions.
"""

import random
import resource
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from pages import markdown, write_table
from report import arguments, computer, show

from opml.chain.base import Receipt
from opml.chain.deploy import DEFAULT_K
from opml.commitment import ModelMemory, Region
from opml.compiler import compile_onnx
from opml.demo import Arena
from opml.dispute.driver import withdraw
from opml.dispute.faults import Bluff
from opml.dispute.game import ClaimStatus, Role
from opml.dispute.player import player
from opml.dispute.trace import ModelTrace, Trace
from opml.model import Inference, Model

FEATURES, OUTPUTS, VECTOR = 2400, 5792, 32
TILES_OF_A_POSITION = (FEATURES + OUTPUTS) // 8
TILES_LOG2 = (10, 16, 21)
KS = (2, 4, 8, 16, 32, 40, 64)
LIMIT_GAS, LIMIT_TRANSACTIONS = 1_300_000, 22


def layer(positions: int) -> bytes:
    """The layer for so many positions, as an ONNX file. The weights are the same for any number of them."""
    chance = np.random.default_rng(1)
    weights = chance.standard_normal((FEATURES, OUTPUTS), np.float32) / np.float32(49)
    table = chance.standard_normal((positions, FEATURES // VECTOR, VECTOR), np.float32)
    constants = {"table": table, "weights": weights, "flat": np.array([positions, FEATURES], np.int64)}
    nodes = [
        helper.make_node("Add", ["vector", "table"], ["sum"]),
        helper.make_node("Reshape", ["sum", "flat"], ["features"]),
        helper.make_node("MatMul", ["features", "weights"], ["result"]),
    ]
    graph = helper.make_graph(
        nodes,
        "layer",
        [helper.make_tensor_value_info("vector", TensorProto.FLOAT, [VECTOR])],
        [helper.make_tensor_value_info("result", TensorProto.FLOAT, [positions, OUTPUTS])],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()


@dataclass
class Stopwatch:
    """Seconds by what they were spent on."""

    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def on(self, what: str) -> Any:
        start = time.perf_counter()
        yield
        self.seconds[what] = self.seconds.get(what, 0.0) + time.perf_counter() - start


@dataclass
class Party:
    """What one side of a dispute has computed before the first move."""

    inference: Inference
    trace: ModelTrace


def compute(model: Model, inputs: dict[str, Any], watch: Stopwatch) -> Party:
    """The re-run and the hash pass of an honest party that has the model's own hashes already."""
    with watch.on("re-run"):
        inference = model.infer(inputs)
        memory = inference.memory
    with watch.on("hash pass"):
        memory.root(memory.tiles)
    return Party(inference, inference.trace)


def lie(party: Party, seed: int) -> tuple[Trace, int]:
    """A computation with one bit of the result wrong, and a bluff from a random instruction of that tile on."""
    chance, memory = random.Random(seed), party.trace.memory
    program = party.inference.model.image.program
    place = program.tensors[program.outputs[0].tensor]
    offset = chance.randrange(place.type.nbytes)

    def spoilt(region: Region) -> Region:
        if region.address != place.address:
            return region
        data = region.data.copy()
        data[offset] ^= 1 << chance.randrange(8)
        return Region(region.address, region.level, data, region.first_tile)

    false = ModelMemory([spoilt(region) for region in memory.regions], memory.input, memory.output)
    (region,) = (r for r in memory.regions if r.address == place.address)
    assert region.first_tile is not None
    tile = region.first_tile + offset // 32
    header = party.trace.header
    return Bluff(ModelTrace(header, false), chance.randrange(party.trace.machine(tile).steps)), tile


def dispute(
    arena: Arena, party: Party, liar: Role, seed: int, false: Trace | None = None, tile: int = 0
) -> dict[str, Any]:
    """One claim with one game, to the winner's money: gas and transactions, and the seconds of both sides together.

    The liar's computation is `lie`'s, or `false`, which is wrong from `tile` on.
    """
    client, inference = arena.client, party.inference
    accounts = {role: arena.parties[role].account for role in Role}
    if false is None:
        false, tile = lie(party, seed)
    honest = ModelTrace(party.trace.header, party.trace.memory)  # that has not yet run the machine
    traces: dict[Role, Trace] = {liar: false, liar.other: honest}
    false.tile_root(false.tiles)
    watch, sent = Stopwatch(), list[tuple[str, int]]()

    def send(method: str, receipt: Receipt) -> None:
        sent.append((method, receipt.gas_used))

    with watch.on("chain"):
        root = traces[Role.PROVER].output_root
        posted = (inference.model.model_id, inference.posted, root, random.getrandbits(64))
        claim_id, receipt = client.claim(*posted, accounts[Role.PROVER])
        send("claim", receipt)
        game_id, receipt = client.challenge(claim_id, 0, accounts[Role.CHALLENGER])
        send("challenge", receipt)
    players = {role: player(trace, role) for role, trace in traces.items()}
    while True:
        with watch.on("chain"):
            view, now = client.game_view(game_id), client.now()
        if view.winner:
            break
        for role in (liar, liar.other):
            with watch.on("machine"):
                move = players[role](view, now)
            if move:
                with watch.on("chain"):
                    send(move.method, client.move(game_id, move, accounts[role]))
                break
        else:
            raise SystemExit("nobody moves")
    if view.winner is not liar.other or view.tile != tile:
        raise SystemExit(f"{view.winner} has won, in tile {view.tile}; the lie was in tile {tile}")
    claim = client.claim_view(claim_id)
    if claim.status is ClaimStatus.PENDING:
        arena.chain.advance(max(claim.deadline - client.now(), 0) + 1)
    winner = arena.parties[liar.other]
    told: list[Any] = []
    winner._tell = told.append
    with watch.on("chain"):
        withdraw(winner, winner.account, claim_id)
    sent += [(one.method, one.gas) for one in told]
    return {
        "liar": liar.value,
        "gas": sum(gas for _, gas in sent),
        "transactions": len(sent),
        "instructions": honest.machine(tile).steps,
        "gas_by_method": {name: max(gas for method, gas in sent if method == name) for name, _ in sent},
        **watch.seconds,
    }


def measure(tiles_log2: int, ks: list[int], games: int) -> list[dict[str, Any]]:
    """A row for each k: the dearest of `games` disputes with each liar, and the median of their seconds."""
    watch = Stopwatch()
    positions = (1 << tiles_log2) // TILES_OF_A_POSITION
    source = layer(positions)
    with watch.on("compile"):
        model = Model(compile_onnx(source))
    inputs = {"vector": np.random.default_rng(2).standard_normal(VECTOR, np.float32)}
    model.infer(inputs)  # binds the kernels
    with watch.on("hash model"):
        for region in model.constant_regions:
            region.levels  # noqa: B018
    party = compute(model, inputs, watch)
    rows = []
    for k in ks:
        arena = Arena(k)
        arena.honest_claim(model, inputs)
        played = [dispute(arena, party, liar, seed) for liar in Role for seed in range(games)]
        middle = sorted(played, key=lambda one: one["machine"] + one["chain"])[len(played) // 2]
        rows.append(
            {
                "tiles": model.header.tiles,
                "tiles_log2": tiles_log2,
                "k": k,
                "games": len(played),
                "gas": max(one["gas"] for one in played),
                "transactions": max(one["transactions"] for one in played),
                "instructions": max(one["instructions"] for one in played),
                "gas_by_method": {
                    method: max(one["gas_by_method"].get(method, 0) for one in played)
                    for method in ("claim", "challenge", "open", "choose", "post", "enter", "step", "withdraw")
                },
                **watch.seconds,
                "machine": middle["machine"],
                "chain": middle["chain"],
                "seconds": watch.seconds["re-run"] + watch.seconds["hash pass"] + middle["machine"] + middle["chain"],
                "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9,
            }
        )
    return rows


COLUMNS: dict[str, Callable[[dict[str, Any]], str]] = {
    "tiles": lambda r: f"2^{r['tiles_log2']}",
    "k": lambda r: str(r["k"]) + (" (default)" if r["k"] == DEFAULT_K else ""),
    "transactions": lambda r: str(r["transactions"]),
    "gas": lambda r: f"{r['gas']:,}",
    "seconds": lambda r: f"{r['seconds']:.2f}",
    "re-run": lambda r: f"{r['re-run']:.2f}",
    "hash pass": lambda r: f"{r['hash pass']:.2f}",
    "machine": lambda r: f"{r['machine']:.2f}",
    "chain": lambda r: f"{r['chain']:.2f}",
    "peak GB": lambda r: f"{r['peak_gb']:.2f}",
}


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--tiles", type=int, nargs="+", default=TILES_LOG2, help="logarithms of the numbers of tiles")
    parser.add_argument("-k", type=int, nargs="+", default=KS, help="parts per round")
    parser.add_argument("--games", type=int, default=2, help="games for each k and each liar")
    parser.add_argument("--write", action="store_true", help="record the table in docs/protocol.md")
    options = parser.parse_args()
    rows = [row for tiles_log2 in options.tiles for row in measure(tiles_log2, options.k, options.games)]
    instructions = max(row["instructions"] for row in rows)
    show(f"disputes, up to {instructions:,} instructions a tile", rows, COLUMNS, options.json)
    if options.write:
        where = computer()
        caption = f"{where['processors']} x {where['processor']}; up to {instructions:,} instructions a tile."
        cells = [[column(row) for column in COLUMNS.values()] for row in rows]
        write_table("scale", [*markdown(list(COLUMNS), cells), "", caption])
    goals = [r for r in rows if r["k"] == DEFAULT_K and r["tiles_log2"] == max(TILES_LOG2)]
    return int(any(r["gas"] > LIMIT_GAS or r["transactions"] > LIMIT_TRANSACTIONS for r in goals))


if __name__ == "__main__":
    sys.exit(main())
