"""A whole dispute about the CNN on the embedded chain: seconds, gas, transactions, for several k.

The goals: under 5 s after start-up, under 1.5 M gas and at most 24 transactions, from the claim to the withdrawal
(the original opML: 2 minutes, 8.2 M gas, 67 transactions). One party has one wrong bit in an intermediate tensor and
lies about the machine; a seed says where. Both parties play in this process. Deployment and the registration of the
model, which is once for all claims, are apart.
"""

import sys
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
from report import MODELS, Spread, arguments, show

from opml.chain.deploy import DEFAULT_K
from opml.demo import Arena, Scene
from opml.dispute.game import Role
from opml.model import Model, load

LIMIT_SECONDS = 5.0
LIMIT_GAS = 1_500_000
LIMIT_TRANSACTIONS = 24


def summary(k: int, liar: Role, scenes: list[Scene]) -> dict[str, Any]:
    """Figures over games with different lies."""
    if any(scene.winner is not liar.other for scene in scenes):
        raise SystemExit("an honest party has lost")
    sent = [transaction for scene in scenes for transaction in scene.claimed]
    gas, count = Counter[str](), Counter[str]()
    for transaction in sent:
        gas[transaction.method] += transaction.gas
        count[transaction.method] += 1
    return {
        "k": k,
        "liar": liar.value,
        "games": len(scenes),
        "gas": Spread.of([scene.gas for scene in scenes]),
        "most_gas": max(scene.gas for scene in scenes),
        "most_gas_of_a_step": max(transaction.gas for transaction in sent if transaction.method == "step"),
        "transactions": max(len(scene.claimed) for scene in scenes),
        "seconds": Spread.of([scene.seconds for scene in scenes]),
        "most_seconds": max(scene.seconds for scene in scenes),
        "instructions": max(scene.steps for scene in scenes),
        "gas_by_method": {method: round(gas[method] / len(scenes)) for method in gas},
        "transactions_by_method": {method: round(count[method] / len(scenes), 2) for method in count},
    }


def measure(model: Model, inputs: dict[str, Any], k: int, games: int) -> list[dict[str, Any]]:
    arena = Arena(k)
    # What is done once is not part of a dispute: the model's registration, the first use of everything.
    arena.honest_claim(model, inputs)
    return [
        summary(k, liar, [arena.dispute(model, inputs, liar, seed) for seed in range(games)])
        for liar in (Role.PROVER, Role.CHALLENGER)
    ]


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--model", default="cnn", help="name of an example model")
    parser.add_argument("--one-phase", action="store_true")
    parser.add_argument("-k", type=int, nargs="+", default=[4, 8, 16, 32, 40, 64], help="parts per round")
    parser.add_argument("--games", type=int, default=5, help="games for each k and each liar")
    options = parser.parse_args()
    model = load(MODELS / f"{options.model}.onnx", one_phase=options.one_phase)
    with np.load(MODELS / "digits.npz") as file:
        inputs = {"image": file["images"][3]}
    results = [row for k in options.k for row in measure(model, inputs, k, options.games)]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "k": lambda r: str(r["k"]),
        "liar": lambda r: r["liar"],
        "gas": lambda r: f"{r['gas'].median:,.0f}",
        "most": lambda r: f"{r['most_gas']:,}",
        "transactions": lambda r: str(r["transactions"]),
        "time": lambda r: r["seconds"].text("s"),
        "claim": lambda r: f"{r['gas_by_method']['claim']:,}",
        "rounds": lambda r: f"{r['gas_by_method']['choose'] + r['gas_by_method'].get('post', 0):,}",
        "enter": lambda r: f"{r['gas_by_method']['enter']:,}",
        "step": lambda r: f"{r['gas_by_method'].get('step', 0):,}",
    }
    show(f"dispute about {options.model}, {model.header.tiles} units", results, columns, options.json)
    goals = [r for r in results if r["k"] == DEFAULT_K]
    return int(
        any(
            r["most_gas"] > LIMIT_GAS or r["transactions"] > LIMIT_TRANSACTIONS or r["seconds"].median > LIMIT_SECONDS
            for r in goals
        )
    )


if __name__ == "__main__":
    sys.exit(main())
