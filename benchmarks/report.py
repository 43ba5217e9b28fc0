"""What the benchmarks share: timing, the spread of a sample, and one way to print.

A single time says little on a computer that does other things too. So every figure is a median with its quartiles,
and where two things are compared, both are measured in turn within one run.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

# Of a table that nobody's terminal shows.
WIDTH = 160
MODELS = Path(__file__).parent.parent / "examples" / "models"


@dataclass(frozen=True)
class Spread:
    """A sample of a quantity, in its own unit."""

    median: float
    lower: float
    upper: float
    least: float
    runs: int

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        lower, _, upper = statistics.quantiles(values, n=4) if len(values) > 1 else [values[0]] * 3
        return cls(statistics.median(values), lower, upper, min(values), len(values))

    def text(self, unit: str, scale: float = 1.0) -> str:
        """As `median unit (lower quartile - upper quartile)`."""
        median, lower, upper = (_figures(value * scale) for value in (self.median, self.lower, self.upper))
        return f"{median} {unit} ({lower} - {upper})"


def seconds(function: Callable[[], Any]) -> float:
    start = time.perf_counter()
    function()
    return time.perf_counter() - start


def arguments(description: str | None) -> argparse.ArgumentParser:
    """A parser with `--json`; the first line of `description` is the help text."""
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    return parser


def computer() -> dict[str, Any]:
    """What figures depend on."""
    names = ("numba", "llvmlite", "numpy", "py-evm")
    return {
        "processor": _processor(),
        "processors": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "load": round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else None,
        "python": platform.python_version(),
        **{name: version(name) for name in names},
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def show(
    title: str, results: Sequence[dict[str, Any]], columns: dict[str, Callable[[dict[str, Any]], str]], as_json: bool
) -> None:
    """Prints the results as one table, or with all their fields as JSON. `columns`: heading to text of a cell."""
    where = computer()
    if as_json:
        body = {"benchmark": title, "computer": where, "results": results}
        print(json.dumps(body, default=asdict, indent=2))
        return
    table = Table(title=title, caption=f"{where['processors']} x {where['processor']}, load {where['load']}")
    for heading in columns:
        table.add_column(heading)
    for result in results:
        table.add_row(*(cell(result) for cell in columns.values()))
    Console(width=None if sys.stdout.isatty() else WIDTH).print(table)


def _figures(value: float) -> str:
    """Three figures, or all of a large number's whole part."""
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.3g}"
