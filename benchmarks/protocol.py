"""What playing costs, and what attacking does: the tables of docs/protocol.md, from the contracts' gas and the bonds.

    python benchmarks/protocol.py            prints them
    python benchmarks/protocol.py --write    puts them into the page, which a test compares

Prices are in gwei, money in ether, time in seconds. The gas is that of contracts/gas.json, measured on the contracts.
"""

import argparse
import json
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from pages import markdown, write_table

from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_K, DEFAULT_PROVER_BOND
from opml.dispute.rules import rounds
from opml.terms import CLOCK, WINDOW

GAS_FILE = Path(__file__).parent.parent / "contracts" / "gas.json"
GWEI, ETHER = 10**9, 10**18
TILES, STEPS = 1 << 21, 1 << 20
# The gas price that the bonds are chosen for, and others.
STATED_PRICE = 100
PRICES = (1, 10, 50, 100, 200)
PROVER_BONDS = (ETHER // 10, ETHER, 10 * ETHER)
BLOCK_SECONDS = 12
BLOCK_LIMITS = (36_000_000, 60_000_000, 100_000_000)
LIMIT = 60_000_000
# Of what a block holds, so much is there for anybody who pays the going price.
OPEN_SHARE = 0.5
PRIVATE_PRICES = (100, 500, 1000)
# The worked example: seconds on the slowest computer that is to take part, and of its chain.
RERUN, HASH_PASS, MACHINE, POLL, INCLUSION = 60, 30, 2, 12, 24
SELF_CHECK, FETCH, ATTENTION = 6, 600, 12 * 3600
GAMES_AT_ONCE = 100


def gas() -> Counter[str]:
    """The most gas of each call, whatever the case."""
    most: Counter[str] = Counter()
    for case in json.loads(GAS_FILE.read_text()).values():
        most |= Counter(case)
    return most


def calls(tiles: int, steps: int, k: int) -> dict[str, Counter[str]]:
    """What each side sends in one whole game, by its role; the winner executes the step and withdraws."""
    chosen = rounds(tiles, k), rounds(steps, k)
    posts = sum(max(r - 1, 0) for r in chosen)
    last = {"step": 1, "withdraw": 1}
    return {
        "prover": Counter({"open": 1, "post": posts, "enter": 1, **last}),
        "challenger": Counter({"challenge": 1, "choose": sum(chosen), **last}),
    }


def cost(sent: Counter[str], each: Counter[str]) -> int:
    """Gas of these calls."""
    return sum(each[method] * number for method, number in sent.items())


def game_gas(role: str) -> int:
    """The most that an honest side can be made to spend in one game."""
    return cost(calls(TILES, STEPS, DEFAULT_K)[role], gas())


def sybils(bond: int, price: int, timeouts: bool) -> int:
    """How many of a liar's own challenges may share his lost bond before an honest challenger's share is below its gas.

    With `timeouts`, the liar leaves his own games open, and the honest challenger has to end them all. -1: even alone.
    """
    own, each = game_gas("challenger"), gas()["timeout"] if timeouts else 0

    def pays(n: int) -> bool:
        return bond // 2 // (n + 1) >= (own + n * each) * price * GWEI

    if not pays(0):
        return -1
    low, high = 0, 1
    while pays(high):
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if pays(middle) else (low, middle)
    return low


def liars_loss(bond: int, n: int, price: int) -> int:
    """What a liar loses in wei who is caught by one honest challenger and n of his own: bond less shares, and gas."""
    each, share = gas(), bond // 2 // (n + 1)
    return bond - n * share + (each["claim"] + n * (each["challenge"] + each["timeout"])) * price * GWEI


def ether(wei: float) -> str:
    """With three significant figures; large amounts in full."""
    amount = wei / ETHER
    return f"{amount:,.0f}" if amount >= 1000 else f"{amount:.3g}"


def duration(seconds: float) -> str:
    """In the unit that suits it."""
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.3g} {unit}"
    return f"{seconds:.3g} s"


def gas_table() -> list[str]:
    each, sent = gas(), calls(TILES, STEPS, DEFAULT_K)
    rows = []
    for method in ("challenge", "open", "post", "choose", "enter", "step", "withdraw"):
        numbers = [sent[role][method] for role in ("prover", "challenger")]
        rows.append([f"`{method}`", f"{each[method]:,}", *(str(n) if n else "" for n in numbers)])
    rows.append(["in one game", "", *(f"**{game_gas(role):,}**" for role in ("prover", "challenger"))])
    rows += [[f"`{method}`", f"{each[method]:,}", "", ""] for method in ("claim", "timeout", "finalise")]
    return markdown(["call", "most gas", "honest prover", "honest challenger"], rows)


def defence_table() -> list[str]:
    rows = []
    for price in PRICES:
        spent = game_gas("prover") * price * GWEI
        left = DEFAULT_CHALLENGER_BOND - spent
        rows.append([f"{price} gwei", ether(spent), ether(left), f"{DEFAULT_CHALLENGER_BOND / spent:.1f}"])
    limit = DEFAULT_CHALLENGER_BOND // game_gas("prover") // GWEI
    rows.append([f"**{limit} gwei**", ether(DEFAULT_CHALLENGER_BOND), "0", "1.0"])
    return markdown(["gas price", "prover's gas", "gain from a game", "attacker's loss / prover's gas"], rows)


def sybil_table() -> list[str]:
    heads = ["prover's bond", *(f"{price} gwei" for price in PRICES)]
    rows = []
    for bond in PROVER_BONDS:
        cells = []
        for price in PRICES:
            ended, left = sybils(bond, price, False), sybils(bond, price, True)
            cells.append("none" if ended < 0 else f"{ended:,} / {left:,}")
        rows.append([f"{ether(bond)}", *cells])
    at = [sybils(DEFAULT_PROVER_BOND, price, True) for price in PRICES]
    lost = [liars_loss(DEFAULT_PROVER_BOND, n, price) for n, price in zip(at, PRICES, strict=True)]
    locked = [n * DEFAULT_CHALLENGER_BOND for n in at]
    rows.append([f"at {ether(DEFAULT_PROVER_BOND)}, second number: liar loses", *map(ether, lost)])
    rows.append(["and locks, besides", *map(ether, locked)])
    return markdown(heads, rows)


def flood_table() -> list[str]:
    each = gas()
    rows = []
    for limit in BLOCK_LIMITS:
        opened = limit // each["challenge"]
        answered = int(limit * OPEN_SHARE * CLOCK / BLOCK_SECONDS / game_gas("prover"))
        opens = opened * each["open"] / (limit * OPEN_SHARE)
        rows.append(
            [
                f"{limit // 10**6} M",
                f"{opened:,}",
                ether(opened * DEFAULT_CHALLENGER_BOND),
                f"{math.ceil(opens)} blocks",
                f"{answered:,}",
                ether(answered * DEFAULT_CHALLENGER_BOND),
            ]
        )
    heads = [
        "block gas limit",
        "games opened in one block",
        "their bonds",
        f"`open` in all of them, {OPEN_SHARE:.0%} of blocks",
    ]
    heads += [f"games won within a clock of {duration(CLOCK)}", "bonds that the prover takes"]
    return markdown(heads, rows)


def censor_table() -> list[str]:
    """Half a block at the price keeps the base fee where it is."""
    rows = []
    for price in PRIVATE_PRICES:
        block = LIMIT // 2 * price * GWEI
        ramp = math.ceil(math.log(price) / math.log(9 / 8))
        costs = [block * seconds // BLOCK_SECONDS for seconds in (3600, 6 * 3600, CLOCK)]
        rows.append([f"{price} gwei", duration(ramp * BLOCK_SECONDS), ether(block), *map(ether, costs)])
    heads = ["the honest side pays up to", "to get there from 1 gwei", "a block", "an hour", "six hours"]
    return markdown([*heads, f"a clock of {duration(CLOCK)}"], rows)


def delay_table() -> list[str]:
    ours = duration(RERUN + HASH_PASS + own_moves("prover") * (POLL + INCLUSION))
    bond, half = ether(DEFAULT_CHALLENGER_BOND), ether(DEFAULT_PROVER_BOND / 2)
    rows = [
        ["nobody attacks", "window", duration(WINDOW), "nothing"],
        [
            "a true claim: challenge in the last second, then stall",
            "window + clock + the prover's own time",
            f"{duration(WINDOW + CLOCK)} + {ours}",
            f"{bond} a claim, to the prover; more games add no delay",
        ],
        [
            "a false claim: the prover stalls",
            "from the challenge: clock + the challenger's own time",
            f"{duration(CLOCK)} + {ours}",
            f"{half} or more of his bond",
        ],
        [
            "an honest challenger's pay: own games in the last second, both clocks run down",
            "window + 2 clocks",
            duration(WINDOW + 2 * CLOCK),
            f"the same; {bond} locked for each",
        ],
        [
            "a true claim whose prover is away",
            "challenge + clock",
            duration(CLOCK),
            "nothing: it is rejected, and costs its prover the bond",
        ],
    ]
    return markdown(["attack", "until it is decided, at most", "with the default clocks", "price"], rows)


def own_moves(role: str) -> int:
    """Moves of a side in one game for which its own clock runs."""
    sent = calls(TILES, STEPS, DEFAULT_K)[role]
    return sum(sent[method] for method in (("open", "post", "enter", "step") if role == "prover" else ("choose",)))


def example_table() -> list[str]:
    moves = max(own_moves("prover"), own_moves("challenger"))
    latency = moves * (POLL + INCLUSION)
    computed = RERUN + HASH_PASS + GAMES_AT_ONCE * MACHINE
    clock = 2 * (computed + latency) + ATTENTION
    window = 2 * (FETCH + RERUN + HASH_PASS + SELF_CHECK + INCLUSION) + ATTENTION
    challengers = 2 * game_gas("prover") * STATED_PRICE * GWEI
    provers = 2 * 10 * game_gas("challenger") * STATED_PRICE * GWEI
    rows = [
        ["re-run, hash pass", "measured, on the slowest computer that is to take part", f"{RERUN} s, {HASH_PASS} s"],
        ["machine", f"measured, for each of {GAMES_AT_ONCE} games at once", f"{MACHINE} s"],
        ["own moves", "prover's: `open`, posts, `enter`, `step`", str(moves)],
        ["latency", "own moves x (poll + inclusion)", f"{moves} x ({POLL} + {INCLUSION}) s = {latency} s"],
        [
            "attention",
            "until somebody mends what is broken; censorship by proposers",
            duration(ATTENTION),
        ],
        ["**clock**", "2 x (re-run + hash pass + machine + latency) + attention", f"{clock:,} s = {duration(clock)}"],
        [
            "**window**",
            f"2 x (fetching the model, {FETCH} s + re-run + hash pass + self-check + inclusion) + attention",
            f"{window:,} s = {duration(window)}",
        ],
        [
            "**challenger's bond**",
            f"an honest prover's gas at {STATED_PRICE} gwei; twice that pays for its time, too",
            f"{ether(challengers / 2)}; {ether(challengers)}",
        ],
        [
            "**prover's bond**",
            f"2 x 10 x an honest challenger's gas at {STATED_PRICE} gwei: bears 9 sybils at that price, "
            f"{sybils(provers, 10, False)} at 10 gwei",
            ether(provers),
        ],
    ]
    return markdown(["", "how", f"2^21 tiles, 2^20 instructions, k = {DEFAULT_K}"], rows)


TABLES: dict[str, Callable[[], list[str]]] = {
    "gas": gas_table,
    "defence": defence_table,
    "sybils": sybil_table,
    "delay": delay_table,
    "flood": flood_table,
    "censor": censor_table,
    "example": example_table,
}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the tables into docs/protocol.md")
    options = parser.parse_args()
    for name, table in TABLES.items():
        lines = table()
        print("\n".join([name, "", *lines, ""]))
        if options.write:
            write_table(name, lines)


if __name__ == "__main__":
    main()
