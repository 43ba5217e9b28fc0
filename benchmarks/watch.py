"""One watcher against one liar with many wrong claims: games held at once, memory, seconds per move.

Chain and liar are other processes, so that memory and processor time are the watcher's own. Every claim is about
another input, so that every game has its own trace. First all games are begun, then the liar begins to play.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from report import MODELS, Spread, arguments, show

from opml.chain import OpmlClient, connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import dev_contract, ensure_dev_contract
from opml.chain.devnet import background
from opml.chain.units import ETHER
from opml.demo import lie
from opml.dispute.game import ClaimStatus, Role
from opml.dispute.keeper import Keeper
from opml.dispute.player import player
from opml.model import load
from opml.prover import register
from opml.watch.library import Library
from opml.watch.watcher import Limits, Watcher

# At least as many games at once, and a move's thinking at most so long.
GAMES, LIMIT_SECONDS = 100, 1.0


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="mlp", help="name of an example model")
    parser.add_argument("--games", type=int, nargs="+", default=[GAMES])
    parser.add_argument("--play", choices=["chain", "liar"], help=argparse.SUPPRESS)
    parser.add_argument("--url", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.play == "chain":
        return serve()
    if options.play == "liar":
        return lying(options.model, options.url, options.games[0])
    # The smallest first: memory is the most there ever was.
    results = [measure(options.model, games) for games in sorted(options.games)]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "games at once": lambda r: f"{r['at_once']:,}",
        "won": lambda r: f"{r['won']:,}",
        "moves": lambda r: f"{r['moves']:,}",
        "check": lambda r: r["check"].text("ms", 1000),
        "think": lambda r: r["think"].text("ms", 1000),
        "most": lambda r: f"{r['think_most'] * 1000:,.0f} ms",
        "look": lambda r: r["look"].text("ms", 1000),
        "cpu per move": lambda r: f"{r['cpu'] / r['moves'] * 1000:,.1f} ms",
        "wall per move": lambda r: f"{r['seconds'] / r['moves'] * 1000:,.0f} ms",
        "memory": lambda r: f"{r['peak_bytes'] / 2**20:,.0f} MiB",
        "before": lambda r: f"{r['start_bytes'] / 2**20:,.0f} MiB",
    }
    show(f"one watcher, {options.model}", results, columns, options.json)
    return int(any(r["won"] < r["games"] or r["think"].median > LIMIT_SECONDS for r in results))


def measure(model: str, games: int) -> dict[str, Any]:
    """Figures of one watcher that plays so many games."""
    chain_process = _start("chain", "", model, games)
    url = _line(chain_process)
    liar = _start("liar", url, model, games)
    try:
        _line(liar)
        return watch(model, url, games, liar)
    finally:
        for process in (liar, chain_process):
            process.kill()
            process.communicate()


def watch(model: str, url: str, games: int, liar: "subprocess.Popen[str]") -> dict[str, Any]:
    """The watcher, in this process."""
    chain = connect(url)
    client = OpmlClient(chain, dev_contract(chain) or "")
    think: list[float] = []
    check: list[float] = []
    moves: Counter[str] = Counter()

    def tell(event: str, /, level: str = "info", **fields: Any) -> None:
        if event == "sent":
            moves[fields["kind"]] += "thought" in fields
            think.extend([fields["thought"]] if "thought" in fields else [])
        elif event == "rerun":
            check.append(fields["seconds"])
        elif level == "error":
            print(event, fields, file=sys.stderr)

    library = Library([MODELS / f"{model}.onnx"])
    # The kernels are loaded at the first run.
    opened = library.get(library.ids[0])
    assert opened is not None
    opened.infer(inputs(opened, 0)).trace.machine(0).hash(1)
    start_bytes = _peak()
    limits = Limits(games=games, stake=games * ETHER)
    with Watcher(client, dev_accounts()[3], library, limits=limits, emit=tell, poll=0.2) as watcher:
        begun = time.perf_counter()
        watcher.run(lambda: len(watcher.board.ours) >= games and watcher.idle, patience=5)
        opening = time.perf_counter() - begun
        at_once = len(watcher.board.ours)
        look = []
        for _ in range(20):
            start = time.perf_counter()
            watcher.tick()
            look.append(time.perf_counter() - start)
        assert liar.stdin
        liar.stdin.write("go\n")
        liar.stdin.flush()
        begun, cpu = time.perf_counter(), time.process_time()
        watcher.run(lambda: bool(watcher.opinions) and not watcher.board.ours and watcher.purse.settled, patience=5)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        claims = [watcher.ledger.claims[claim_id] for claim_id in watcher.wrong]
        return {
            "games": games,
            "at_once": at_once,
            "won": sum(claim.status is ClaimStatus.REJECTED for claim in claims),
            "moves": sum(moves.values()),
            "moves_by_kind": dict(moves),
            "opening_seconds": opening,
            "seconds": seconds,
            "cpu": cpu,
            "check": Spread.of(check),
            "think": Spread.of(think),
            "think_most": max(think),
            "look": Spread.of(look),
            "start_bytes": start_bytes,
            "peak_bytes": _peak(),
            "trace_bytes": watcher.traces.nbytes,
        }


def inputs(model: Any, seed: int) -> dict[str, Any]:
    """Random inputs: the same for the same seed."""
    random = np.random.default_rng(seed)
    return {name: random.integers(0, 17, kind.shape).astype(kind.dtype.numpy) for name, kind in model.inputs.items()}


def lying(name: str, url: str, games: int) -> int:
    """The liar's process: says when all is claimed, and plays when told to."""
    chain, model, account = connect(url), load(MODELS / f"{name}.onnx"), dev_accounts()[1]
    client = OpmlClient(chain, dev_contract(chain) or "")
    register(client, account, model)
    bluffs = {}
    for seed in range(games):
        inference = model.infer(inputs(model, seed))
        bluff = lie(inference, seed)
        client.claim(model.model_id, inference.posted, bluff.output_root, seed, account)
        bluffs[inference.posted] = player(bluff, Role.PROVER)

    class Liars:
        def ready(self, claim: Any, role: Role) -> Any:
            return bluffs[claim.input]

        prepare = ready

    print("ready", flush=True)
    sys.stdin.readline()
    with Keeper(client, account, Liars(), poll=0.2) as keeper:
        keeper.run(patience=None)
    return 0


def serve() -> int:
    """The chain's process."""
    with tempfile.TemporaryDirectory() as folder, background(Path(folder)) as devnet:
        ensure_dev_contract(connect(devnet.url))
        print(devnet.url, flush=True)
        sys.stdin.readline()
    return 0


def _start(role: str, url: str, model: str, games: int) -> "subprocess.Popen[str]":
    command = [sys.executable, __file__, "--play", role, "--url", url, "--model", model, "--games", str(games)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def _line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    line = process.stdout.readline().strip()
    if not line:
        raise SystemExit("a process of the benchmark has died")
    return line


def _peak() -> int:
    """The most memory that this process has had, in bytes."""
    kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return kib if sys.platform == "darwin" else kib * 1024


if __name__ == "__main__":
    sys.exit(main())
