"""The Merkle tree of memory: how fast dense bytes are hashed, and what one changed leaf costs in a sparse memory.

Dense: the root of 1 GB, beside pycryptodome's keccak on one thread, which hashes the same 64-byte nodes of a sample of
it. The goal: at least 10 times as many nodes a second. Its rate over one long message, where it pays its call once and
gets 136 bytes for a permutation in place of 64, is shown too. Sparse: 16 GB in scattered pages; the root after one
leaf was written, then the path of that leaf. The goal: both together under 1 ms.
"""

import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from Crypto.Hash import keccak
from report import Spread, arguments, seconds, show

from vm.constants import LEAF_BYTES, LEAF_LOG2, PAGE_BYTES, PAGE_LOG2
from vm.memory import Memory
from vm.merkle import fold, subtree_root

GOAL_RATIO = 10
GOAL_SECONDS = 1e-3
SAMPLE = 1 << 22


def pycryptodome_root(data: bytes) -> bytes:
    """Of a full tree, a node at a time."""
    nodes = [data[i : i + LEAF_BYTES] for i in range(0, len(data), LEAF_BYTES)]
    while len(nodes) > 1:
        nodes = [keccak.new(digest_bits=256, data=nodes[i] + nodes[i + 1]).digest() for i in range(0, len(nodes), 2)]
    return nodes[0]


def dense(size: int, runs: int) -> dict[str, Any]:
    data = np.random.default_rng(0).integers(0, 256, size, dtype=np.uint8)
    level = (size // LEAF_BYTES - 1).bit_length()
    sample = data[: min(SAMPLE, size)].tobytes()
    sample_level = (len(sample) // LEAF_BYTES - 1).bit_length()
    if pycryptodome_root(sample) != subtree_root(sample, sample_level):
        raise SystemExit("the two roots differ")
    rates: dict[str, list[float]] = {"ours": [], "nodes": [], "stream": []}
    for _ in range(runs):
        rates["ours"].append(size / seconds(lambda: subtree_root(data, level)))
        rates["nodes"].append(len(sample) / seconds(lambda: pycryptodome_root(sample)))
        rates["stream"].append(len(sample) / seconds(lambda: keccak.new(digest_bits=256, data=sample).digest()))
    return {
        "what": f"root of {size >> 20} MiB dense",
        "ours_bytes_per_s": Spread.of(rates["ours"]),
        "pycryptodome_bytes_per_s": Spread.of(rates["nodes"]),
        "pycryptodome_stream_bytes_per_s": Spread.of(rates["stream"]),
        "ratio": Spread.of([a / b for a, b in zip(rates["ours"], rates["nodes"], strict=True)]),
        "ratio_stream": Spread.of([a / b for a, b in zip(rates["ours"], rates["stream"], strict=True)]),
    }


def sparse(span: int, pages: int, runs: int) -> dict[str, Any]:
    """`pages` pages of random bytes, evenly over `span` bytes."""
    random = np.random.default_rng(1)
    memory = Memory()
    step = span // pages
    for start in range(0, span, step):
        memory.write(start, random.bytes(PAGE_BYTES))
    first = seconds(memory.root)
    updates, proofs = [], []
    for address in (random.integers(0, span, runs) >> PAGE_LOG2 << PAGE_LOG2).tolist():
        address += int(random.integers(0, PAGE_BYTES // LEAF_BYTES)) * LEAF_BYTES
        leaf = random.bytes(LEAF_BYTES)

        def update(address: int = address, leaf: bytes = leaf) -> None:
            memory.write(address, leaf)
            memory.root()

        updates.append(seconds(update))
        index = address >> LEAF_LOG2
        proofs.append(seconds(lambda index=index: memory.siblings(0, index)))
        if fold(leaf, 0, index, memory.siblings(0, index)) != memory.root():
            raise SystemExit("the path does not prove the leaf")
    return {
        "what": f"one leaf of {span >> 30} GiB, {pages:,} pages in use",
        "first_root_s": first,
        "update_s": Spread.of(updates),
        "proof_s": Spread.of(proofs),
        "both_s": Spread.of([a + b for a, b in zip(updates, proofs, strict=True)]),
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("--mebibytes", type=int, default=1024, help="dense bytes to hash, in MiB, a power of two")
    parser.add_argument("--pages", type=int, default=1 << 16, help="pages in use of the sparse memory")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    results = [dense(options.mebibytes << 20, options.runs), sparse(16 << 30, options.pages, 200 * options.runs)]
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "what": lambda r: r["what"],
        "ours": lambda r: (
            r["ours_bytes_per_s"].text("MB/s", 1e-6)
            if "ratio" in r
            else f"update {r['update_s'].text('µs', 1e6)}, path {r['proof_s'].text('µs', 1e6)}"
        ),
        "pycryptodome": lambda r: (
            f"{r['pycryptodome_bytes_per_s'].text('MB/s', 1e-6)}, "
            f"one message {r['pycryptodome_stream_bytes_per_s'].text('MB/s', 1e-6)}"
            if "ratio" in r
            else ""
        ),
        "ratio": lambda r: f"{r['ratio'].text('x')}, {r['ratio_stream'].text('x')}" if "ratio" in r else "",
    }
    show("merkle", results, columns, options.json)
    good = results[0]["ratio"].median >= GOAL_RATIO and results[1]["both_s"].median < GOAL_SECONDS
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
