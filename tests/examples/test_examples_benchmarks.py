"""The benchmarks run, on few repetitions; figures that do not depend on the computer meet their goals."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    def run(name: str, *arguments: str) -> list[dict[str, Any]]:
        monkeypatch.syspath_prepend(str(BENCHMARKS))
        monkeypatch.setattr(sys, "argv", [name, "--json", *arguments])
        # What it returns depends on times, which no test looks at.
        __import__(name).main()
        body = json.loads(capsys.readouterr().out)
        assert body["computer"]["processors"] >= 1
        results: list[dict[str, Any]] = body["results"]
        return results

    return run


def test_happy_path(measure: Any) -> None:
    cnn, vgg = measure("happy_path", "--sizes", "16", "--runs", "3", "--threads", "1")
    assert (cnn["model"], cnn["input_bytes"]) == ("cnn", 64)
    assert (vgg["model"], vgg["input_bytes"]) == ("vgg 16x16", 3 * 16 * 16)
    assert all(result["share"]["median"] > 0 for result in (cnn, vgg))


def test_receipt(measure: Any) -> None:
    cnn, vgg = measure("receipt", "--sizes", "16", "--runs", "2", "--threads", "1")
    assert (cnn["nodes"], cnn["output_bytes"], vgg["nodes"]) == (11, 33320, 20)
    for result in (cnn, vgg):
        assert result["receipt_s"]["least"] > result["hash_s"]["least"] > 0
        assert 4000 < result["receipt_bytes"] < 32000


def test_one_phase(measure: Any) -> None:
    mlp, product = measure("one_phase", "mlp", "--runs", "1")
    assert mlp["multiply_accumulates"] == 64 * 128 + 128 * 64 + 64 * 10
    assert product["multiply_accumulates"] == 4 * 512 * 32
    for result in (mlp, product):
        assert result["per_multiply_accumulate"] <= 130
        assert result["largest_tile"] <= result["max_tile_steps"]
        assert result["instructions"] <= result["max_steps"]


def test_generation(measure: Any) -> None:
    (result,) = measure("generation", "--layers", "1", "--tokens", "3")
    assert 0 < result["written"] < result["tiles"]
    assert result["gas"] <= 1_700_000
    assert result["transactions"] <= 26


def test_dispute(measure: Any) -> None:
    results = measure("dispute", "--games", "1", "-k", "16")
    assert [result["liar"] for result in results] == ["prover", "challenger"]
    for result in results:
        assert result["most_gas"] <= 1_500_000
        assert result["transactions"] <= 24
