"""The watcher's parts: jobs, transactions under way, traces in little memory, the library, metrics and the log."""

import io
import json
import re
import threading
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families
from watch_world import TinyModel, World, inputs, run_together

from opml.chain.base import Receipt
from opml.chain.outbox import Outcome
from opml.dispute.errands import DOUBTFUL, LONGEST_WAIT, LOST_AFTER, Errands
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.dispute.workshop import Failed, Job, Workshop
from opml.errors import ChainError, ImageError, ModelError, RevertError, UnreachableError
from opml.model import load
from opml.watch.library import Library
from opml.watch.log import EventLog
from opml.watch.metrics import METRICS, PREFIX, Metrics
from opml.watch.traces import Traces
from vm.merkle import subtree_root

MLP = Path(__file__).parents[2] / "examples" / "models" / "mlp.onnx"
DOCS = Path(__file__).parents[2] / "docs" / "watch.md"

# The workshop


def job(name: str, urgency: float, done: list[str]) -> Job:
    return Job(name, (0, urgency), lambda report: (done.append(name), report(name))[0])


@given(st.lists(st.floats(0, 100), unique=True, max_size=8))
def test_the_most_urgent_job_is_done_first(urgencies: list[float]) -> None:
    done: list[str] = []
    shop = Workshop(0)
    shop.offer([job(str(u), u, done) for u in urgencies])
    assert done == [str(u) for u in sorted(urgencies)]
    assert shop.results() == done
    assert not shop.busy


def test_what_is_no_longer_offered_is_not_done_and_what_is_begun_is_not_begun_again() -> None:
    begun, go, done = threading.Event(), threading.Event(), list[str]()
    woken = threading.Event()

    def slow(report: Any) -> None:
        begun.set()
        go.wait()
        report("slow")

    with Workshop(1, woken.set) as shop:
        shop.offer([Job("slow", (0, 0), slow), job("dropped", 1, done)])
        begun.wait()
        shop.offer([Job("slow", (0, 0), slow), job("urgent", 5, done), job("more", 2, done)])
        go.set()
        found: list[Any] = []
        while shop.busy:
            found += shop.results()
        assert found == ["slow", "more", "urgent"]
        assert done == ["more", "urgent"]
        assert woken.is_set()


def test_a_job_that_fails_ends_nothing_but_itself() -> None:
    done: list[str] = []
    with Workshop(1) as shop:
        shop.offer([Job("bad", (0, 0), lambda report: 1 // 0), job("good", 1, done)])
        found: list[Any] = []
        while shop.busy:
            found += shop.results()
    assert found[1] == "good"
    assert isinstance(found[0], Failed)
    assert found[0].key == "bad"
    assert isinstance(found[0].error, ZeroDivisionError)


# Errands


class Post:
    """An outbox that does what a test says; `clock` is the time."""

    replaced = 0

    def __init__(self) -> None:
        self.error: ChainError | None = None
        self.outcomes: list[Outcome] = []
        self.sent = 0
        self.clock = 0.0
        self.events: list[tuple[str, dict[str, Any]]] = []
        self.errands = Errands(self, "0x", emit=self.emit, poll=1.0, clock=lambda: self.clock)  # type: ignore[arg-type]

    def emit(self, event: str, /, level: str = "info", **fields: Any) -> None:
        self.events.append((event, fields | {"level": level}))

    def send(self, to: str, data: bytes, value: int, *, label: str) -> int:
        if self.error:
            raise self.error
        self.sent += 1
        return self.sent

    def poll(self) -> list[Outcome]:
        outcomes, self.outcomes = self.outcomes, []
        return outcomes

    def mined(self, ticket: int, block: int) -> Outcome:
        return Outcome(ticket, "", Receipt(bytes(32), block, 0, 21_000, 42_000, None, ()), None)


@pytest.fixture
def post() -> Post:
    return Post()


def test_a_transaction_is_under_way_until_its_block_is_known(post: Post) -> None:
    assert post.errands.send("a", "open", b"")
    assert not post.errands.send("a", "open", b"")
    assert post.errands.unknown() == ["open"]
    post.outcomes = [post.mined(1, 7), post.mined(99, 7)]
    post.errands.settle()
    assert post.errands.unknown() == []
    assert not post.errands.free("a")
    post.errands.arrive(6)
    assert not post.errands.free("a")
    post.errands.arrive(7)
    assert post.errands.free("a")
    assert post.events[-1][1]["gas"] == 21_000


def test_what_is_refused_waits_twice_as_long_each_time(post: Post) -> None:
    post.error = RevertError("ClockRunning")
    waits = []
    for _ in range(7):
        start = post.clock
        assert not post.errands.send("a", "timeout", b"")
        while not post.errands.free("a"):
            post.clock += 0.25
        waits.append(post.clock - start)
    assert waits == [1, 2, 4, 8, LONGEST_WAIT, LONGEST_WAIT, LONGEST_WAIT]
    assert [fields["level"] for _, fields in post.events] == ["info"] * (DOUBTFUL - 1) + ["warning"] * (8 - DOUBTFUL)
    assert post.errands.refusals("a") == 7
    assert post.errands.reason("a") == "ClockRunning"
    # With little time left it does not wait so long.
    assert not post.errands.send("b", "open", b"", hurry=0.25)
    post.clock += 0.25
    assert post.errands.free("b")
    # And when it went through at last, it counts anew.
    post.error = None
    assert post.errands.send("a", "timeout", b"")
    post.outcomes = [post.mined(1, 1)]
    post.errands.settle()
    assert post.errands.refusals("a") == 0


def test_a_node_that_is_away_is_the_callers_business(post: Post) -> None:
    post.error = UnreachableError("away")
    with pytest.raises(UnreachableError):
        post.errands.send("a", "open", b"")
    post.error = ChainError("insufficient funds")
    assert not post.errands.send("b", "open", b"")
    assert post.events[-1] == (
        "refused",
        {"kind": "open", "reason": "insufficient funds", "times": 1, "level": "warning"},
    )


def test_what_fails_vanishes_or_is_never_heard_of_is_free_again(post: Post) -> None:
    post.errands.send("failed", "open", b"")
    post.errands.send("vanished", "open", b"")
    post.errands.send("silent", "open", b"")
    post.outcomes = [Outcome(1, "", None, RevertError("StaleMove")), post.mined(2, 9)]
    post.errands.settle()
    assert post.events[-2][0] == "failed"
    assert not post.errands.under_way("failed")
    assert post.errands.under_way("vanished")
    post.errands.rewind(9)
    assert post.errands.under_way("vanished")
    assert not post.errands.under_way("silent")
    post.errands.rewind(8)
    assert not post.errands.under_way("vanished")
    post.errands.send("silent", "open", b"")
    post.clock += LOST_AFTER + 1
    post.errands.arrive(10)
    assert post.errands.free("silent")
    assert post.events[-1][1]["reason"] == "nothing was heard of it"


# Traces


def view(number: int, root: bytes | None = None) -> ClaimView:
    data = inputs(number)
    header = TinyModel().header
    right = subtree_root(data, header.input_level) if root is None else root
    return ClaimView(bytes([number]) * 32, header.model_id, right, bytes(32), "", 0, True, 0, ClaimStatus.PENDING, 0, 0,
                     data)  # fmt: skip


def test_the_least_recently_used_trace_goes_first() -> None:
    model, told = TinyModel(), list[str]()
    size = Traces(lambda claim: model)
    size.hold(view(1))
    budget = 2 * size.nbytes + 1
    traces = Traces(lambda claim: model, budget, lambda event, /, level="info", **fields: told.append(event))
    for number in (1, 2):
        traces.prepare(view(number), Role.PROVER)
    assert traces.ready(view(1), Role.PROVER) is not None
    traces.prepare(view(3), Role.PROVER)
    assert [traces.ready(view(number), Role.PROVER) is not None for number in (1, 2, 3)] == [True, False, True]
    assert traces.nbytes <= budget
    assert told.count("trace-dropped") == 1
    runs = model.runs
    traces.prepare(view(3), Role.CHALLENGER)
    assert model.runs == runs


def test_machines_make_a_trace_larger_and_are_counted() -> None:
    model = TinyModel()
    trace = model.infer_posted(inputs(1)).trace
    before = trace.nbytes
    for tile in range(4):
        trace.machine(tile).hash(20)
    assert trace.nbytes > before + 4 * 4096


def test_an_input_that_is_not_the_claims_is_the_nodes_fault() -> None:
    with pytest.raises(ChainError, match="not the one"):
        Traces(lambda claim: TinyModel()).answer(view(1, bytes(32)))


def test_an_answer_is_remembered_without_its_trace() -> None:
    model = TinyModel()
    traces = Traces(lambda claim: model, budget=0)
    for _ in range(3):
        for number in range(5):
            traces.answer(view(number))
    assert model.runs == 5
    assert len(traces) == 0


# The library


def test_images_are_opened_when_they_are_needed(tmp_path: Path) -> None:
    image = tmp_path / "a.opml"
    load(MLP, window=77, clock=66).save(image)
    (tmp_path / "notes.txt").write_text("no model")
    (tmp_path / "broken.opml").write_bytes(b"no image")
    told: list[tuple[str, dict[str, Any]]] = []
    library = Library(folders=[tmp_path], emit=lambda event, /, level="info", **fields: told.append((event, fields)))
    assert [event for event, _ in told] == ["model", "model-bad"]
    (model_id,) = library.ids
    assert [shelf.model for shelf in library._shelves] == [None]
    opened = library.get(model_id)
    assert opened is not None
    assert opened.model_id == model_id
    assert library.get(model_id) is opened
    assert library.get(bytes(32)) is None
    # The same model under other terms is the same model; with one other bit it is not.
    other = load(MLP, window=5, clock=6)
    found = library.get(other.model_id, other.header)
    assert found is not None
    assert found.header == other.header
    assert library.get(bytes(32), other.header) is None
    one_phase = load(MLP, one_phase=True)
    assert not library.has(one_phase.model_id, one_phase.header)
    # New files are found, damaged ones are told once.
    assert not library.scan()
    one_phase.save(tmp_path / "b.opml")
    assert library.scan()
    assert library.has(one_phase.model_id)
    assert [event for event, _ in told].count("model-bad") == 1


def test_a_file_that_is_named_has_to_be_a_model(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such file"):
        Library([tmp_path / "none.onnx"])


def test_an_image_whose_bytes_were_changed_is_found_out_when_it_is_opened(tmp_path: Path) -> None:
    image = tmp_path / "a.opml"
    load(MLP).save(image)
    data = bytearray(image.read_bytes())
    data[-5000] ^= 1
    image.write_bytes(data)
    library = Library([image])
    with pytest.raises(ImageError):
        library.get(library.ids[0])


# Metrics and log


@pytest.fixture
def played() -> Iterator[tuple[World, Metrics, list[str]]]:
    world, metrics, stream = World(), Metrics(), io.StringIO()
    log = EventLog(stream, as_json=True, level="debug")

    def tell(event: str, /, level: str = "info", **fields: Any) -> None:
        metrics(event, level, **fields)
        log(event, level, **fields)

    for number in range(3):
        world.claim(right=number == 0, number=number)
    world.client.claim_by_root(world.model.model_id, bytes(32), bytes(32), 1, "", world.liar)
    watcher = world.watcher(emit=tell)
    run_together(watcher, world.liar_keeper(Role.PROVER))
    metrics.measure(watcher)
    yield world, metrics, stream.getvalue().splitlines()
    watcher.close()


def test_metrics_are_served_and_say_what_happened(played: Any) -> None:
    world, metrics, _ = played
    port = metrics.serve("127.0.0.1", 0)
    text = urllib.request.build_opener(urllib.request.ProxyHandler({})).open(f"http://127.0.0.1:{port}/metrics").read()
    families = {family.name: family for family in text_string_to_metric_families(text.decode())}
    assert set(families) == {f"{PREFIX}_{name}" for name in METRICS}
    values = {(s.name, *sorted(s.labels.values())): s.value for family in families.values() for s in family.samples}

    def value(name: str, *labels: str) -> float:
        return values[f"{PREFIX}_{name}", *labels]

    assert value("claims_seen_total") == 4
    assert value("claims_checked_total") == 3
    assert value("claims_wrong_total") == 2
    assert value("claims_skipped_total", "input-withheld") == 1
    assert value("games_won_total") == 2
    assert value("games_lost_total") == 0
    assert value("transactions_sent_total", "challenge") == 2
    assert value("transactions_mined_total", "challenge") == 2
    assert value("rerun_seconds_count") == 3
    assert value("move_seconds_count") >= value("transactions_mined_total", "choose") > 2
    assert value("games_open", "challenger") == 0
    assert value("bonded_wei") == 0
    assert value("balance_wei") == float(world.chain.balance(world.accounts[3].address))
    assert value("chain_head") == world.chain.block_number()
    assert value("gas_total") > 100_000
    assert abs(value("last_success_timestamp_seconds") - time.time()) < 3600


def test_the_log_is_one_json_object_a_line(played: Any) -> None:
    lines = [json.loads(line) for line in played[2]]
    assert {"claim", "claim-right", "claim-wrong", "claim-skipped", "sent", "mined", "game-open", "game-won"} <= {
        line["event"] for line in lines
    }
    for line in lines:
        assert set(line) >= {"time", "level", "event"}
        assert line["time"].endswith("Z")
        assert all(not isinstance(value, str) or not value.startswith("b'") for value in line.values())
    wrong = next(line for line in lines if line["event"] == "claim-wrong")
    assert len(wrong["claim"]) == 66


def test_text_lines_stay_lines() -> None:
    stream = io.StringIO()
    log = EventLog(stream)
    log("claim-failed", "error", claim=b"\1\2", reason='two\nlines and "quotes"', seconds=0.123456789, none="")
    log("rerun", "debug", claim=b"")
    (line,) = stream.getvalue().splitlines()
    assert line.split(" ", 1)[1] == (
        'ERROR   claim-failed claim=0x0102 reason="two\\nlines and \\"quotes\\"" seconds=0.123457 none=""'
    )


def test_the_docs_have_every_metric_and_every_event() -> None:
    text = DOCS.read_text()
    for name in METRICS:
        assert f"`{PREFIX}_{name}" in text, name
    package = DOCS.parents[1] / "opml"
    sources = [*package.glob("watch/*.py"), *package.glob("dispute/*.py"), package / "cli" / "watch.py"]
    events = {name for file in sources for name in re.findall(r'(?:emit|tell)\(\s*"([a-z-]+)"', file.read_text())}
    assert len(events) > 20
    for event in events:
        assert f"`{event}`" in text, event
