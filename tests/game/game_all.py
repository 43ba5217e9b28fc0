"""Plays all small games, and prints how many there were. Slow: the tests play a part of them.

    python tests/game/game_all.py                       everything: about an hour of processor time
    python tests/game/game_all.py --tiles 4 --steps 4   up to this size
    python tests/game/game_all.py --write               and records the counts in docs/protocol.md

A line for each k: leaves of whole game trees, in which a lying side does everything that the rules allow, and games of
the catalogue's liars. It stops at the first that the honest side has not won with a profit.
"""

import argparse
import os
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

if __name__ == "__main__":
    ROOT = Path(__file__).parents[2]
    for folder in ("", "benchmarks", "tests/contracts", "tests/dispute", "tests/game", "tests/vm"):
        sys.path.insert(0, str(ROOT / folder))

from dispute_toy import ToyTrace
from game_catalogue import CATALOGUE, cases, play_case, sizes
from game_tree import Tree

from opml.dispute.game import Role

TILES = STEPS = 9
KS = (2, 3, 4, 5, 8)
Job = tuple[int, int, int]


def play(job: Job) -> Counter[str]:
    """All games of one size and one k."""
    tiles, steps, k = job
    counts: Counter[str] = Counter()
    for liar in Role:
        tree = Tree(ToyTrace(tiles, steps), k, liar)
        counts[f"leaves, {liar.value} lies"] += tree.play().total()
        counts["moves"] += tree.moves
    for case in cases(list(CATALOGUE), tiles, steps, k):
        moves = play_case(case)
        counts[f"games, {case.liar.value} lies"] += 1
        counts["moves"] += moves["prover moves"] + moves["challenger moves"]
        counts["refused"] += moves.total() - moves["prover moves"] - moves["challenger moves"] - moves["timeouts"]
    return counts


def play_all(jobs: list[Job], processes: int) -> dict[int, Counter[str]]:
    """The counts for each k."""
    counts: dict[int, Counter[str]] = {}
    with ProcessPoolExecutor(processes) as pool:
        # The largest first, so that no processor waits for another in the end.
        order = sorted(jobs, key=lambda job: -job[0] * job[1])
        for job, played in zip(order, pool.map(play, order), strict=True):
            counts.setdefault(job[2], Counter()).update(played)
    return counts


def table(counts: dict[int, Counter[str]], tiles: int, steps: int) -> Iterator[str]:
    """As Markdown."""
    heads = ["leaves, prover lies", "leaves, challenger lies", "games, prover lies", "games, challenger lies"]
    heads += ["moves", "refused"]
    yield f"Up to {tiles} tiles and {steps} instructions each, {len(CATALOGUE)} liars; honest wins with profit: 100 %."
    yield ""
    yield "| k | " + " | ".join(heads) + " |"
    yield "|---" * (len(heads) + 1) + "|"
    for k in sorted(counts):
        yield f"| {k} | " + " | ".join(f"{counts[k][head]:,}" for head in heads) + " |"
    total = sum(counts.values(), Counter())
    yield "| all | " + " | ".join(f"**{total[head]:,}**" for head in heads) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--tiles", type=int, default=TILES)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("-k", type=int, nargs="+", default=KS)
    parser.add_argument("--processes", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--write", action="store_true", help="record the table in docs/protocol.md")
    options = parser.parse_args()
    jobs = [(*size, k) for size in sizes(options.tiles, options.steps) for k in options.k]
    lines = list(table(play_all(jobs, options.processes), options.tiles, options.steps))
    print("\n".join(lines))
    if options.write:
        from pages import write_table

        write_table("games", lines)


if __name__ == "__main__":
    main()
