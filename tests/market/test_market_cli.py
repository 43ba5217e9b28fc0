"""`opml market`, as it is typed, on a devnet."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from market_scene import ETHER, MODELS, SCANS

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.base import Chain
from opml.chain.deploy import dev_market, ensure_dev_market
from opml.chain.devnet import background
from opml.cli import main
from opml.cli.market import command as market_command
from vm.merkle import subtree_root

MODEL = str(MODELS / "mlp.onnx")
TIMES = ("--window", "60", "--clock", "60")
DIGIT = f"{MODELS / 'digits.npz'}:images:1"
LIMITS = ("--min-window", "60", "--min-clock", "60")
AUTHOR, REQUESTER, PROVER, STRANGER = dev_accounts()[:4]
Market = Callable[..., Any]


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with background(tmp_path_factory.mktemp("chain"), clock=lambda: 0) as devnet, connect(devnet.url) as chain:
        ensure_dev_market(chain)
        chain.url = devnet.url  # type: ignore[attr-defined]
        yield chain


def typed(*arguments: str, account: Any = None) -> Result:
    key = {"OPML_KEY": "0x" + bytes(account.key).hex() if account else None}
    return CliRunner().invoke(main, ["market", *arguments], env=key)


@pytest.fixture(scope="module")
def market(chain: Chain) -> Market:
    """Runs `opml market …` for programs; its answer."""

    def run(*arguments: str, account: Any = None) -> Any:
        result = typed(*arguments, "--json", "--rpc", chain.url, account=account)  # type: ignore[attr-defined]
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    return run


@pytest.fixture(scope="module")
def say(chain: Chain) -> Callable[..., Result]:
    """The same for people."""
    return lambda *arguments, account=None: typed(*arguments, "--rpc", chain.url, account=account)  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def published(market: Market) -> str:
    body = market("publish", MODEL, *TIMES, "--royalty", "2.5", "--uri", "ipfs://mlp", account=AUTHOR)
    assert body["royalty_bps"] == 250
    assert body["registrant"] == AUTHOR.address
    return body["model_id"]  # type: ignore[no-any-return]


def ask(market: Market, digit: int, *options: str) -> str:
    arguments = ("--input", f"{MODELS / 'digits.npz'}:images:{digit}", *TIMES, "--price", "0.05", *options)
    return market("request", MODEL, *arguments, account=REQUESTER)["request_id"]  # type: ignore[no-any-return]


def shown(market: Market, request_id: str) -> Any:
    (row,) = market("list", request_id, "--model", MODEL, *TIMES)["requests"]
    return row


def serve(market: Market, *options: str) -> Any:
    return market("serve", "--model", MODEL, "--once", "--poll", "0.01", *LIMITS, *options, account=PROVER)


def test_from_publishing_to_the_money(market: Market, chain: Chain, published: str) -> None:
    request_id = ask(market, 3, "--registrant", AUTHOR.address, "--patience", "10m")
    row = shown(market, request_id)
    assert (row["status"], row["royalty_bps"], row["output"], row["final"]) == ("open", 250, None, False)
    assert row["max_price_wei"] == row["min_price_wei"] == ETHER // 20
    assert serve(market)["accepted"] == [request_id]
    row = shown(market, request_id)
    assert (row["status"], row["final"]) == ("accepted", False)
    assert int(np.argmax(row["outputs"]["logits"])) == 3
    chain.advance(61)
    assert market("deliver", request_id, account=STRANGER)["delivered"]["gas"] > 21_000, "anyone may"
    row = shown(market, request_id)
    assert (row["status"], row["final"], row["called"]) == ("delivered", True, None)
    summary = serve(market)
    assert summary["accepted"] == []
    assert summary["earned_wei"] == row["price_wei"] * 975 // 1000
    before = chain.balance(STRANGER.address)
    paid = market("withdraw", "--to", STRANGER.address, account=AUTHOR)
    assert paid["amount_wei"] == row["price_wei"] * 25 // 1000
    assert chain.balance(STRANGER.address) - before == paid["amount_wei"]


def test_the_server_delivers_what_it_has_accepted(market: Market, chain: Chain, published: str) -> None:
    request_id = ask(market, 4)
    serve(market)
    chain.advance(61)
    serve(market)
    assert shown(market, request_id)["status"] == "delivered"


def test_an_unanswered_request_is_given_back(market: Market, chain: Chain, published: str) -> None:
    request_id = ask(market, 5, "--patience", "90s", "--min-price", "0.01", "--refund-to", STRANGER.address)
    assert "once its deadline has passed" in typed("refund", request_id, "--rpc", chain.url, account=AUTHOR).stderr  # type: ignore[attr-defined]
    chain.advance(91)
    market("refund", request_id, account=AUTHOR)
    again = typed("refund", request_id, "--rpc", chain.url, account=AUTHOR)  # type: ignore[attr-defined]
    assert "delivered or refunded already" in again.stderr
    assert shown(market, request_id)["status"] == "refunded"
    assert market("withdraw", account=STRANGER)["amount_wei"] == ETHER // 20


def test_an_input_that_is_kept_elsewhere(market: Market, published: str, tmp_path: Path) -> None:
    request_id = ask(market, 6, "--withhold", "ipfs://scan")
    assert request_id not in serve(market)["accepted"]
    data = SCANS[6].tobytes()
    (tmp_path / f"0x{subtree_root(data, 1).hex()}.bin").write_bytes(data)
    assert request_id in serve(market, "--inputs", str(tmp_path))["accepted"]


def test_a_price_too_low_is_left_alone(market: Market, published: str) -> None:
    request_id = ask(market, 7)
    assert request_id not in serve(market, "--min-profit", "0.06")["accepted"]


def test_a_demonstrations_times_have_to_be_allowed(market: Market, published: str) -> None:
    request_id = ask(market, 2)
    words = ("serve", "--model", MODEL, "--once", "--poll", "0.01")
    assert request_id not in market(*words, account=PROVER)["accepted"]
    assert request_id not in market(*words, "--min-clock", "60", account=PROVER)["accepted"]
    assert request_id not in serve(market, "--max-stake", "0.5")["accepted"], "less than one bond"
    assert request_id in serve(market)["accepted"]


def test_words_for_people(say: Callable[..., Result], market: Market, published: str) -> None:
    request_id = ask(market, 8)
    text = say("list").stdout
    assert f"{request_id} open" in text
    assert "0.05 to 0.05 ether, for " in text
    assert "delivered" in text
    log = say("serve", "--model", MODEL, "--once", "--poll", "0.01", *LIMITS, account=PROVER)
    assert log.exit_code == 0
    assert "sent kind=accept" in log.stderr
    text = say("list", request_id, "--model", MODEL, *TIMES).stdout
    assert "logits" in text
    assert "not final yet" in text


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("list", "0x12"), 2, "is no request id"),
        (("list", "0x" + "12" * 32), 5, "there is no request"),
        (("deliver", "0x" + "12" * 32), 5, "there is no request"),
        (("serve", "--once"), 2, "no models to answer for"),
        (("list", "--market", "0x" + "11" * 20), 5, "no contract"),
        (("list", "--market", "0x" + "11" * 20 + "@x"), 2, "is no block number"),
        (("publish", MODEL, *TIMES, "--royalty", "1"), 5, "a royalty is for good"),
        (("list", "0x12"), 2, "`opml market list` lists them"),
        (("request", MODEL, "-i", DIGIT, "--price", "1"), 5, "`opml market publish`; another --window"),
        (("request", MODEL, "-i", DIGIT, *TIMES, "--price", "1", "--min-price", "2"), 5, "the lowest price at most"),
        (("request", MODEL, "-i", DIGIT, *TIMES, "--price", "1", "--registrant", STRANGER.address), 5, "name who has"),
    ],
)
def test_refusals(
    say: Callable[..., Result], published: str, arguments: tuple[str, ...], status: int, message: str
) -> None:
    result = say(*arguments, account=AUTHOR if arguments[0] == "publish" else dev_accounts()[7])
    assert result.exit_code == status, result.output
    assert message in result.stderr


def test_nothing_owed_is_no_failure(say: Callable[..., Result], market: Market) -> None:
    result = say("withdraw", account=dev_accounts()[7])
    assert result.exit_code == 0
    assert "there is nothing to be paid" in result.stdout
    body = market("withdraw", account=dev_accounts()[7])
    assert (body["amount_wei"], body["withdrawn"]) == (0, None)


@pytest.mark.parametrize("words", [("--royalty", "51"), ("--royalty", "-1")])
def test_a_royalty_out_of_bounds_is_bad_usage(say: Callable[..., Result], words: tuple[str, ...]) -> None:
    assert say("publish", MODEL, *words, account=AUTHOR).exit_code == 2


def test_a_request_that_nobody_has_accepted_is_not_delivered(
    say: Callable[..., Result], market: Market, published: str
) -> None:
    result = say("deliver", ask(market, 9), account=STRANGER)
    assert result.exit_code == 5
    assert "nobody has accepted" in result.stderr


@pytest.mark.parametrize("text", ["0", "5x", "", "1.5h", "-1"])
def test_bad_times_are_bad_usage(say: Callable[..., Result], text: str) -> None:
    assert say("request", MODEL, "--price", "1", "--patience", text, account=REQUESTER).exit_code == 2


def test_every_command_has_examples() -> None:
    for name in market_command.commands:
        text = typed(name, "--help").stdout
        assert f"opml market {name}" in text.split("Examples:")[1]


def test_a_devnet_has_its_market_where_it_is_looked_for(chain: Chain) -> None:
    found = dev_market(chain)
    assert found == ensure_dev_market(chain)
