"""Where tensors lie natively: none overlaps another that lives at the same time, and large graphs are no burden."""

import random
import time
from types import SimpleNamespace

import numpy as np
import pytest
from front_models import make_model
from onnx import helper

from opml import plan as planning
from opml.compiler import compile_program
from opml.plan import Plan, make_plan


def place(lives: list[planning._Life], nodes: int, monkeypatch: pytest.MonkeyPatch) -> Plan:
    monkeypatch.setattr(planning, "_lives", lambda program: lives)
    return make_plan(SimpleNamespace(nodes=[None] * nodes))  # type: ignore[arg-type]


def random_lives(seed: int, nodes: int, reach: int) -> list[planning._Life]:
    rng = random.Random(seed)
    lives = [planning._Life("input", 64, -1, rng.randrange(nodes))]
    for first in range(nodes):
        size = 64 * rng.choice([1, 1, 2, 5, 100])
        lives.append(planning._Life(f"t{first}", size, first, min(nodes, first + rng.randrange(reach))))
    return lives


@pytest.mark.parametrize("work", [planning.MAX_WORK, 2000, 0])
@pytest.mark.parametrize("reach", [1, 4, 300])
def test_what_lives_at_the_same_time_does_not_overlap(work: int, reach: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planning, "MAX_WORK", work)
    for seed, nodes in enumerate((1, 2, 7, 250)):
        lives = random_lives(seed, nodes, reach)
        plan = place(lives, nodes, monkeypatch)
        ends = {life.name: plan.offsets[life.name] + life.size for life in lives}
        assert max(ends.values()) <= plan.size
        for one in lives:
            for other in lives:
                if one is not other and one.first <= other.last and other.first <= one.last:
                    start, end = plan.offsets[one.name], ends[one.name]
                    assert end <= plan.offsets[other.name] or ends[other.name] <= start


def test_many_long_lives_take_no_time(monkeypatch: pytest.MonkeyPatch) -> None:
    lives = random_lives(0, 20_000, 20_000)
    start = time.perf_counter()
    plan = place(lives, 20_000, monkeypatch)
    assert time.perf_counter() - start < 20
    assert plan.size <= sum(life.size for life in lives)


def test_ten_thousand_nodes_compile_in_seconds() -> None:
    nodes, last = [], "x"
    for index in range(10_000):
        op, inputs = ("Add", [last, "w"]) if index % 2 else ("Relu", [last])
        nodes.append(helper.make_node(op, inputs, [f"t{index}"]))
        last = f"t{index}"
    model = make_model(nodes, {"x": np.ones((2, 3), np.float32)}, [last], {"w": np.ones((2, 3), np.float32)})
    start = time.perf_counter()
    make_plan(compile_program(model.SerializeToString()))
    assert time.perf_counter() - start < 15
