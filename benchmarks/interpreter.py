"""The machine's fast loop beside qemu-riscv64, a just-in-time compiler, on one integer program.

Both run the same static ELF, a product of two 512 x 512 matrices of int32: more than a billion instructions. Times are
processor time, so that other work on the computer does not decide. qemu's includes the start of its process and its
translation, ours the reading of the file and the decoding; both are a small part. The goal: at least 0.13 of qemu's
speed, which is what Spike has; libriscv's interpreter has 0.24.
qemu-riscv64 is in Debian's package qemu-user.
"""

import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matmul_program import matmul_elf
from report import Spread, arguments, show

from vm.constants import HALTED, REG_A0
from vm.elf import read_elf
from vm.run import run

LIMIT = 1 << 40
GOAL = 0.13


def ours(elf: bytes) -> tuple[int, int]:
    """Exit code and steps."""
    state = read_elf(elf).start()
    steps = run(state, LIMIT)
    if state.status != HALTED:
        raise SystemExit(f"the program ended with status {state.status} at pc {state.pc:#x}")
    return state.registers[REG_A0], steps


def processor_seconds(function: Callable[[], Any]) -> float:
    """User and system time of this process and of those that it waited for."""

    def used() -> float:
        kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        return sum(usage.ru_utime + usage.ru_stime for usage in map(resource.getrusage, kinds))

    before = used()
    function()
    return used() - before


def measure(n: int, runs: int, qemu: str) -> dict[str, Any]:
    elf = matmul_elf(n)
    ours(matmul_elf(8))  # compiles the loop
    code, steps = ours(elf)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "matmul.elf")
        file.write_bytes(elf)
        file.chmod(0o755)
        command = [qemu, str(file)]
        theirs = subprocess.run(command).returncode
        if theirs != code:
            raise SystemExit(f"exit code {code} here, {theirs} in qemu")
        loop, jit, ratios = [], [], []
        for _ in range(runs):
            loop.append(processor_seconds(lambda: ours(elf)))
            jit.append(processor_seconds(lambda: subprocess.run(command)))
            ratios.append(jit[-1] / loop[-1])
    version = subprocess.run([qemu, "--version"], capture_output=True, text=True).stdout.splitlines()[0]
    return {
        "program": f"{n}x{n} int32 product",
        "instructions": steps,
        "exit_code": code,
        "qemu": version,
        "ours_s": Spread.of(loop),
        "qemu_s": Spread.of(jit),
        "ratio": Spread.of(ratios),
        "ours_per_s": Spread.of([steps / time for time in loop]),
        "qemu_per_s": Spread.of([steps / time for time in jit]),
    }


def main() -> int:
    parser = arguments(__doc__)
    parser.add_argument("-n", type=int, default=512, help="rows and columns")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--qemu", default="qemu-riscv64", help="the emulator to compare with")
    options = parser.parse_args()
    if shutil.which(options.qemu) is None:
        raise SystemExit(f"{options.qemu} is not installed: it is in Debian's package qemu-user")
    result = measure(options.n, options.runs, options.qemu)
    columns: dict[str, Callable[[dict[str, Any]], str]] = {
        "program": lambda r: r["program"],
        "instructions": lambda r: f"{r['instructions']:,}",
        "ours": lambda r: r["ours_per_s"].text("M/s", 1e-6),
        "qemu": lambda r: r["qemu_per_s"].text("M/s", 1e-6),
        "ours / qemu": lambda r: r["ratio"].text("x"),
    }
    show("interpreter", [result], columns, options.json)
    return int(result["ratio"].median < GOAL)


if __name__ == "__main__":
    sys.exit(main())
