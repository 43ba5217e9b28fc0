"""People who want the watcher's bonds, its time, or its silence: hostile terms, floods, and files that lie."""

import io
from dataclasses import replace
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

import pytest
from dispute_tiny import CLOCK, WINDOW, tiny_header
from hypothesis import given
from hypothesis import strategies as st
from watch_world import CHALLENGER_BOND, TinyModel, World, inputs, run_together

from opml.chain.hexa import quantity
from opml.chain.ledger import Ledger
from opml.chain.units import ETHER
from opml.dispute.game import ClaimStatus, ClaimView, Role
from opml.errors import ImageError, UnsupportedError
from opml.header import ModelHeader
from opml.model import load
from opml.watch.library import OPENED, Library
from opml.watch.log import EventLog
from opml.watch.queue import Queue
from opml.watch.terms import HOUR, TermsPolicy, kind, least_clock, moves
from opml.watch.watcher import GAME_GAS, PRICE_RISE, Limits, Opinion

MLP = Path(__file__).parents[2] / "examples" / "models" / "mlp.onnx"
DAY = 24 * HOUR
OURS = replace(tiny_header(), window=DAY, clock=DAY)


@pytest.fixture
def world() -> World:
    return World()


def games(world: World, claim_id: bytes) -> int:
    return len(world.client.claim_games(claim_id))


# Terms


@pytest.mark.parametrize(
    ("changes", "policy", "refusal"),
    [
        ({}, TermsPolicy(), None),
        ({"clock": HOUR, "window": 600}, TermsPolicy(), None),
        ({"clock": HOUR - 1}, TermsPolicy(), "clock"),
        ({"clock": 1}, TermsPolicy(), "clock"),
        ({"window": 599}, TermsPolicy(), "window"),
        ({"window": 31 * DAY}, TermsPolicy(), "window"),
        ({"window": 2**32 - 1, "clock": 2**32 - 1}, TermsPolicy(), "window"),
        ({"clock": HOUR}, TermsPolicy(min_clock=HOUR + 1), "clock"),
        ({"clock": 100}, TermsPolicy(min_clock=100), None),
        # Whatever is allowed, time to play the game there must be.
        ({"clock": 1}, TermsPolicy(min_clock=1), "clock"),
        ({"window": 60}, TermsPolicy(min_window=60), None),
        ({"window": 31 * DAY}, TermsPolicy(max_window=31 * DAY), None),
    ],
)
def test_other_peoples_terms(changes: dict[str, int], policy: TermsPolicy, refusal: str | None) -> None:
    assert policy.refusal(replace(OURS, **changes), [OURS], k=4, poll=1.0) == refusal  # type: ignore[arg-type]


def test_terms_of_our_own_are_good_if_there_is_time() -> None:
    quick = replace(OURS, clock=120, window=3)
    assert TermsPolicy().refusal(quick, [OURS], k=4, poll=1.0) == "clock"
    assert TermsPolicy().refusal(quick, [OURS, quick], k=4, poll=1.0) is None
    assert TermsPolicy(min_clock=DAY, min_window=DAY).refusal(quick, [quick], k=4, poll=1.0) is None
    assert TermsPolicy().refusal(quick, [quick], k=4, poll=1.0, seconds=60.0) == "clock"
    # The terms of another model of ours say nothing about this one.
    other = replace(quick, model_root=bytes(32))
    assert TermsPolicy().refusal(replace(quick, clock=121), [OURS, other], k=4, poll=0.0) == "clock"


@given(st.integers(1, 2 * DAY), st.floats(0, 1e5), st.floats(0, 60), st.sampled_from([2, 4, 8, 64]))
def test_what_is_accepted_leaves_time_for_everything(clock: int, seconds: float, poll: float, k: int) -> None:
    header = replace(OURS, clock=clock)
    if TermsPolicy().refusal(header, [OURS], k=k, seconds=seconds, poll=poll) is None:
        assert clock >= 2 * (seconds + moves(header, k) * poll)
        assert clock >= least_clock(header, k=k, seconds=seconds, pause=poll)


@pytest.mark.parametrize("changes", [{"clock": 1}, {"window": 2**32 - 1}, {"window": 1, "clock": DAY}])
def test_no_bond_is_put_on_hostile_terms(world: World, changes: dict[str, int]) -> None:
    hostile = replace(tiny_header(), **changes)  # type: ignore[arg-type]
    world.client.register_model(hostile, "", world.liar)
    lie = world.lie(TinyModel(hostile).infer_posted(inputs(1)).trace).output_root
    claim_id = world.client.claim(hostile.model_id, inputs(1), lie, 1, world.liar)[0]
    honest = world.claim(right=False, number=2)
    watcher = world.watcher()
    for _ in range(3):
        run_together(watcher)
    told = [(f["claim"], f["reason"]) for f in world.told("claim-skipped")]
    assert told in ([(claim_id, "terms-refused")], [])  # its window may be over
    assert games(world, claim_id) == 0
    assert games(world, honest) == 1


def test_no_more_games_are_begun_than_there_is_time_for(world: World) -> None:
    """Each may need its own trace, while all their clocks run."""
    claims = [world.claim(right=False, number=number) for number in range(5)]
    watcher = world.watcher()
    watcher.traces.seconds = lambda model_id: CLOCK / 5  # type: ignore[method-assign]
    for _ in range(4):
        watcher.tick()
    assert [games(world, claim_id) for claim_id in claims] == [1, 1, 0, 0, 0]
    assert [(f["limit"], f["claims"]) for f in world.told("limit-reached")] == [("clock", 3)]
    run_together(watcher, world.liar_keeper(Role.PROVER))
    assert {world.status(claim_id) for claim_id in claims} == {ClaimStatus.REJECTED}


def test_a_watcher_that_loses_begins_nothing_new_and_plays_on(world: World) -> None:
    first = world.claim(right=False, number=1)
    watcher, liar = world.watcher(limits=Limits(loss=2 * CHALLENGER_BOND)), world.liar_keeper(Role.PROVER)
    watcher.tick(), liar.tick(), liar.tick()
    assert games(world, first) == 1
    world.chain.advance(CLOCK + 1)  # it slept
    liar.tick()
    assert world.status(first) is ClaimStatus.PENDING
    second = world.claim(right=False, number=2)
    watcher.tick(), watcher.tick()
    assert watcher.lost == CHALLENGER_BOND
    assert games(world, second) == 1
    # Started again with a smaller limit: what was lost is on the chain.
    third = world.claim(right=False, number=3)
    again = world.watcher(limits=Limits(loss=CHALLENGER_BOND))
    run_together(again, liar)
    assert games(world, third) == 0
    assert [(f["limit"], f["level"]) for f in world.told("limit-reached")] == [("max-loss", "error")]
    assert world.status(second) is ClaimStatus.REJECTED
    run_together(world.watcher(), liar)
    assert world.status(third) is ClaimStatus.REJECTED


def test_gas_for_all_open_games_stays_whatever_the_price(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    claims = [world.claim(right=False, number=number) for number in range(3)]
    request, price = world.chain.request, [0]
    # All but half an ether, for two games and a half.
    price[0] = 4_000 * ETHER // (PRICE_RISE * GAME_GAS[Role.CHALLENGER])

    def asked(method: str, *parameters: Any) -> Any:
        return quantity(price[0]) if method == "eth_gasPrice" else request(method, *parameters)

    monkeypatch.setattr(world.chain, "request", asked)
    watcher = world.watcher()
    for _ in range(3):
        watcher.tick()
    assert [games(world, claim_id) for claim_id in claims] == [1, 1, 0]
    assert [f["limit"] for f in world.told("limit-reached")] == ["balance"]
    price[0] //= 2
    for _ in range(3):
        watcher.tick()
    assert [games(world, claim_id) for claim_id in claims] == [1, 1, 1]


# Floods


def view(number: int, model_id: bytes, prover: str, deadline: int) -> ClaimView:
    claim_id = number.to_bytes(32, "big")
    return ClaimView(claim_id, model_id, bytes(32), bytes(32), prover, 0, True, deadline, ClaimStatus.PENDING, 0, 0)


def test_claims_on_our_own_terms_are_not_hidden_by_a_flood_on_others() -> None:
    flood = [view(number, b"short", "0xA", 10 + number) for number in range(100)]
    ours = [view(200, b"ours", "0xB", 9000), view(201, b"ours", "0xC", 8000)]
    assert Queue().first(3, [*flood, *ours], {b"ours"}) == [ours[1], ours[0], flood[0]]


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6))
def test_every_party_gets_its_turn(sizes: list[int]) -> None:
    """Whatever the others' deadlines are, a party waits for one claim of each other at most."""
    queue, waiting = Queue(), {}
    for party, size in enumerate(sizes):
        for number in range(size):
            one = view(1000 * party + number, b"variant", f"0x{party}", (len(sizes) - party) * 1000 + number)
            waiting[one.claim_id] = one
    order = []
    while waiting:
        (one,) = queue.first(1, waiting.values(), set())
        queue.served(one)
        order.append(one.prover)
        del waiting[one.claim_id]
    for party, size in enumerate(sizes):
        places = [place for place, prover in enumerate(order) if prover == f"0x{party}"]
        assert len(places) == size
        assert places[0] < len(sizes)
        assert all(later - earlier <= len(sizes) for earlier, later in pairwise(places))


# Files


def damaged(image: Path, target: Path) -> None:
    data = bytearray(image.read_bytes())
    data[-5000] ^= 1
    target.write_bytes(data)


@pytest.mark.parametrize("name", ["a-before.opml", "z-after.opml"])
@pytest.mark.parametrize("named", [False, True])
def test_a_bad_image_does_not_displace_a_good_one(tmp_path: Path, name: str, named: bool) -> None:
    good, told = tmp_path / "m.opml", []
    load(MLP).save(good)
    damaged(good, tmp_path / name)
    library = Library(
        [good] if named else [], [tmp_path], emit=lambda event, /, level="info", **fields: told.append((event, fields))
    )
    model_id = library.ids[0]
    opened = library.get(model_id)
    assert opened is not None
    assert opened.model_id == model_id
    # The bad one is given up as soon as it is known to be bad; one that comes later finds the model open.
    assert [Path(f["file"]).name for event, f in told if event == "model-bad"] == (
        [name] if name < "b" and not named else []
    )
    damaged(good, tmp_path / "m-new.opml")
    assert library.scan()
    variant = replace(opened.header, clock=opened.header.clock + 1)
    found = library.get(variant.model_id, variant)
    assert found is not None
    assert found.header == variant


def test_an_image_that_is_bad_is_forgotten_and_a_good_one_taken(tmp_path: Path) -> None:
    good = tmp_path / "good"
    load(MLP).save(good)
    damaged(good, tmp_path / "m.opml")
    library = Library([], [tmp_path])
    (model_id,) = library.ids
    with pytest.raises(ImageError):
        library.get(model_id)
    assert not library.has(model_id)
    assert library.get(model_id) is None
    (tmp_path / "n.opml").write_bytes(good.read_bytes())
    assert library.scan()
    assert library.get(model_id) is not None


def test_variants_do_not_fill_the_memory(tmp_path: Path) -> None:
    library = Library()
    library.add(load(MLP))
    for number in range(OPENED + 5):
        header = replace(library.headers[0], window=1000 + number)
        found = library.get(header.model_id, header)
        assert found is not None
        assert kind(found.header) == kind(header)
    assert len(library._opened) == OPENED


@pytest.mark.parametrize("error", [TypeError("a name is no string"), RecursionError(), UnsupportedError("no such op")])
def test_whatever_is_in_a_file_the_others_are_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    told: list[tuple[str, dict[str, Any]]] = []

    def loading(path: Path, **options: Any) -> Any:
        if path.name == "a.onnx":
            raise error
        return load(path, **options)

    monkeypatch.setattr("opml.watch.library.load", loading)
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).write_bytes(MLP.read_bytes())
    library = Library([], [tmp_path], emit=lambda event, /, level="info", **f: told.append((event, f)))
    assert [(event, Path(f["file"]).name) for event, f in told] == [("model-bad", "a.onnx"), ("model", "b.onnx")]
    assert not library.scan()
    assert len(told) == 2
    # Nor does a folder that is gone.
    Library([], [tmp_path / "none"], emit=lambda event, /, level="info", **f: told.append((event, f)))
    assert told[-1][0] == "model-bad"


class Late(Library):
    """A library in whose folder a model appears later."""

    def __init__(self) -> None:
        super().__init__()
        self.coming: list[Any] = []

    def scan(self) -> bool:
        coming, self.coming = getattr(self, "coming", []), []
        for model in coming:
            self.add(model)
        return bool(coming)


def test_claims_are_judged_when_their_model_comes(world: World) -> None:
    library = Late()
    wrong, right, late = (world.claim(right, number=number) for number, right in enumerate([False, True, False]))
    watcher = world.watcher(library=library)
    run_together(watcher)
    assert set(watcher.opinions.values()) == {Opinion.SKIPPED}
    library.coming = [world.model]
    run_together(watcher, world.liar_keeper(Role.PROVER))
    assert watcher.opinions == {wrong: Opinion.WRONG, right: Opinion.RIGHT, late: Opinion.WRONG}
    assert world.status(wrong) is world.status(late) is ClaimStatus.REJECTED
    assert len(world.told("claim")) == len(world.told("claim-skipped")) == 3


def test_a_claim_whose_only_image_was_bad_is_judged_when_a_good_one_comes(world: World) -> None:
    library, get = Late(), Library.get
    library.add(world.model)  # type: ignore[arg-type]

    def bad(model_id: bytes, header: ModelHeader | None = None) -> Any:
        raise ImageError("its root is another one")

    library.get = bad  # type: ignore[method-assign]
    claim_id = world.claim(right=False)
    watcher = world.watcher(library=library)
    run_together(watcher)
    assert watcher.opinions == {claim_id: Opinion.SKIPPED}
    library.get = lambda model_id, header=None: get(library, model_id, header)  # type: ignore[method-assign]
    library.coming = [world.model]
    run_together(watcher)
    assert watcher.opinions == {claim_id: Opinion.WRONG}
    assert games(world, claim_id) == 1


# The log


@pytest.mark.parametrize("text", ["\x1b[2J", "a\x08b", "a\x00b", "a\u202eb", "a\u200bb", "a\x7fb"])
def test_what_cannot_be_printed_does_not_reach_the_terminal(text: str) -> None:
    stream = io.StringIO()
    EventLog(stream)("claim-skipped", "warning", uris=[text], uri=text)
    line = stream.getvalue().removesuffix("\n")
    assert line.isprintable()


# Memory


def test_inputs_of_claims_settled_long_ago_are_forgotten(world: World) -> None:
    old = world.claim(right=True, number=1)
    played = world.claim(right=False, number=2)
    watcher = world.watcher()
    run_together(watcher, world.liar_keeper(Role.PROVER))
    world.chain.advance(WINDOW + 1)
    world.client.finalise(old, world.liar)
    open_ = world.claim(right=True, number=3)
    begun = world.chain.block_number()
    for number in range(5):
        world.claim(right=True, number=10 + number)
    entries = world.client.entries(world.client.from_block, world.chain.block_number())

    def inputs_known(history: int, forgets: bool) -> list[bool]:
        ledger = Ledger(world.client.k, world.client.model, history=history)
        ledger.forgets = forgets
        for _, block in groupby(entries, key=lambda entry: entry.block):
            ledger.apply(block)
        if history == 3:
            ledger.rewind(begun + 3)
        return [bool(ledger.claims[c].input) and c in ledger.posted_inputs for c in (old, played, open_)]

    assert inputs_known(3, forgets=True) == [False, False, True]
    # Not while the chain could take the settlement back, nor for those who have not asked for it.
    assert inputs_known(100, forgets=True) == [True, True, True]
    assert inputs_known(3, forgets=False) == [True, True, True]
    assert watcher.ledger.forgets
