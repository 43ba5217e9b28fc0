"""The watcher's benchmark runs, on few games."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARK = Path(__file__).parents[2] / "benchmarks" / "watch.py"


@pytest.mark.slow
def test_one_watcher_holds_all_games_at_once_and_wins_them() -> None:
    command = [sys.executable, str(BENCHMARK), "--games", "4", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=True)
    (result,) = json.loads(done.stdout)["results"]
    assert (result["at_once"], result["won"]) == (4, 4)
    assert result["moves"] >= 4 * 3
    assert result["peak_bytes"] >= result["start_bytes"]
