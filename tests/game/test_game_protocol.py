"""docs/protocol.md says what is so: its tables are those that programs give, its parameters do what they are for."""

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from game_catalogue import CATALOGUE
from game_money import GAS_PRICE, GWEI

from opml.chain.deploy import DEFAULT_CHALLENGER_BOND, DEFAULT_K, DEFAULT_PROVER_BOND
from opml.dispute.rules import boundary, parts

ROOT = Path(__file__).parents[2]


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A module of the benchmarks' folder by name."""
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return import_module


def numbers(line: str) -> list[float]:
    return [float(n.replace(",", "")) for n in re.findall(r"(?<![\^\d])\d[\d,]*\.?\d*", line)]


def test_the_tables_are_what_the_program_writes(benchmark: Any) -> None:
    protocol, pages = benchmark("protocol"), benchmark("pages")
    for name, table in protocol.TABLES.items():
        assert pages.read_table(name) == table(), "python benchmarks/protocol.py --write"


def test_the_challengers_bond_covers_an_honest_provers_gas_at_the_stated_price(benchmark: Any) -> None:
    protocol = benchmark("protocol")
    assert protocol.STATED_PRICE * GWEI == GAS_PRICE
    assert protocol.game_gas("prover") * GAS_PRICE < DEFAULT_CHALLENGER_BOND
    assert protocol.game_gas("prover") * 2 * GAS_PRICE > DEFAULT_CHALLENGER_BOND  # and is not far above it


@pytest.mark.parametrize("timeouts", [False, True])
@pytest.mark.parametrize("price", [1, 10, 100])
def test_at_the_stated_number_of_sybils_a_share_is_above_the_gas_and_at_one_more_below(
    benchmark: Any, price: int, timeouts: bool
) -> None:
    protocol = benchmark("protocol")
    n = protocol.sybils(DEFAULT_PROVER_BOND, price, timeouts)
    gas = protocol.gas()["timeout"] if timeouts else 0

    def gain(sybils: int) -> int:
        spent = protocol.game_gas("challenger") + sybils * gas
        return DEFAULT_PROVER_BOND // 2 // (sybils + 1) - spent * price * GWEI

    assert gain(n) >= 0 > gain(n + 1)
    assert protocol.liars_loss(DEFAULT_PROVER_BOND, n, price) > DEFAULT_PROVER_BOND // 2


def test_rounds_are_those_of_the_rules(benchmark: Any) -> None:
    """The largest segment decides; the other sizes are at most one round shorter."""
    protocol = benchmark("protocol")
    for length in [*range(1, 200), 1 << 20, (1 << 20) + 1, 1 << 21]:
        for k in (2, 3, 8, 40, 64):
            left, count = length, 0
            while left > 1:
                p = parts(left, k)
                left = (
                    max(boundary(left, p, i + 1) - boundary(left, p, i) for i in range(p))
                    if left < 5000
                    else -(-left // p)
                )
                count += 1
            assert protocol.rounds(length, k) == count


def test_k_needs_four_rounds_for_each_phase_of_a_large_program(benchmark: Any) -> None:
    protocol = benchmark("protocol")
    calls = protocol.calls(protocol.TILES, protocol.STEPS, DEFAULT_K)
    both = {"claim": 1} | calls["prover"] | calls["challenger"]
    assert sum(both.values()) == 20
    assert protocol.rounds(protocol.TILES, 32) > protocol.rounds(protocol.TILES, DEFAULT_K) == 4


def test_the_recorded_disputes_meet_the_goals_and_cost_what_the_contracts_do_now(benchmark: Any) -> None:
    lines = [line for line in benchmark("pages").read_table("scale") if "2^21" in line and "(default)" in line]
    (line,) = lines
    k, transactions, gas, *_ = numbers(line.partition("2^21")[2])
    assert (k, transactions) == (DEFAULT_K, 20)
    assert gas <= 1_300_000
    cases = json.loads((ROOT / "contracts" / "gas.json").read_text())
    kept = [case["total"] for name, case in cases.items() if name.startswith("2^21")]
    assert all(abs(gas - total) < total // 20 for total in kept), "python benchmarks/dispute_scale.py --write"


def test_the_recorded_games_are_of_the_whole_catalogue(benchmark: Any) -> None:
    """Their counts follow from the sizes: every fault in every size, both roles, every liar."""
    head, *_, total = benchmark("pages").read_table("games")
    tiles, steps, liars, _ = numbers(head)
    assert liars == len(CATALOGUE), "python tests/game/game_all.py --write"
    spots = tiles * (tiles + 1) / 2 * steps * (steps + 1) / 2
    lines = [line for line in benchmark("pages").read_table("games") if re.match(r"\| \d", line)]
    for line in lines:
        assert numbers(line)[3:5] == [spots * liars] * 2
    assert numbers(total)[2:4] == [spots * liars * len(lines)] * 2


def test_a_dispute_about_a_program_of_2_to_the_10_tiles(
    benchmark: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The benchmark runs; gas and transactions do not depend on the computer."""
    monkeypatch.setattr(sys, "argv", ["dispute_scale", "--json", "--tiles", "10", "--games", "1", "-k", str(DEFAULT_K)])
    benchmark("dispute_scale").main()
    (row,) = json.loads(capsys.readouterr().out)["results"]
    assert row["tiles"] == 1 << 10
    assert 1 << 20 < row["instructions"] < 1.05 * (1 << 20)
    assert row["transactions"] == 16
    assert row["gas"] < 1_100_000


def test_a_page_without_a_table_is_told(benchmark: Any, tmp_path: Path) -> None:
    pages, page = benchmark("pages"), tmp_path / "page.md"
    page.write_text("before\n<!-- table one -->\nold\n<!-- end one -->\nafter\n", encoding="utf-8")
    pages.write_table("one", pages.markdown(["a", "b"], [["1", "2"]]), page)
    assert pages.read_table("one", page) == ["| a | b |", "| --- | --- |", "| 1 | 2 |"]
    assert page.read_text(encoding="utf-8").endswith("<!-- end one -->\nafter\n")
    with pytest.raises(ValueError, match="has no table 'two'"):
        pages.read_table("two", page)
