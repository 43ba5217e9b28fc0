"""Behind a proxy that does what networks and providers do: every transaction arrives once, and every game is won."""

import logging
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from chain_duel import play
from chain_proxy import HOSTILITIES, Hostility, Proxy, hostile
from eth_account.signers.local import LocalAccount

from opml.chain.devnet import Devnet, background
from opml.chain.hexa import from_quantity
from opml.chain.rpc import RpcChain
from opml.dispute.game import Role
from opml.errors import UnreachableError

Accounts = tuple[LocalAccount, ...]
CALM = Hostility()


@contextmanager
def connected(upstream: str, how: Hostility) -> Iterator[tuple[RpcChain, Proxy]]:
    """A chain behind a proxy that turns hostile once the chain is connected."""
    with hostile(upstream, replace(CALM, seed=how.seed)) as proxy, RpcChain(proxy.url, timeout=10) as chain:
        proxy.how = how
        yield chain, proxy


@pytest.mark.parametrize("name", HOSTILITIES)
def test_every_transaction_arrives_once(devnet: Devnet, accounts: Accounts, name: str) -> None:
    sender, receiver = accounts[0], accounts[1].address
    with connected(devnet.url, HOSTILITIES[name]) as (chain, proxy), RpcChain(devnet.url) as direct:
        before = direct.balance(receiver)
        outbox = chain.outbox(sender)
        tickets = [outbox.send(receiver, value=1 << bit) for bit in range(8)]
        assert {outbox.wait(ticket).gas_used for ticket in tickets} == {21_000}
        assert direct.balance(receiver) - before == (1 << 8) - 1
        assert direct.nonce(sender.address) == 8
    assert sum(proxy.done.values()) > 0, "the proxy did nothing"


def test_what_goes_wrong_depends_on_the_seed_alone(devnet: Devnet) -> None:
    done = []
    for _ in range(2):
        with connected(devnet.url, replace(HOSTILITIES["all of it"], seed=5)) as (chain, proxy):
            for _ in range(50):
                chain.block_number()
            done.append(dict(proxy.done))
    assert done[0] == done[1]


SLOW = pytest.mark.slow


@pytest.mark.parametrize(
    ("liar", "name"),
    [
        (Role.PROVER, "late receipts"),
        (Role.CHALLENGER, "answers get lost"),
        *(pytest.param(role, name, marks=SLOW) for role in Role for name in ("out of order", "busy", "all of it")),
        *(pytest.param(role, name, marks=SLOW) for role in Role for name in ("garbage", "a lagging backend")),
    ],
)
def test_whole_games_are_won(devnet: Devnet, accounts: Accounts, name: str, liar: Role) -> None:
    with connected(devnet.url, HOSTILITIES[name]) as (chain, proxy), RpcChain(devnet.url) as direct:
        prover, challenger = accounts[1:3]
        before = {role: direct.balance(who.address) for role, who in zip(Role, (prover, challenger), strict=True)}
        client = play(chain, direct, accounts, liar)
        proxy.how = CALM
        after = {role: direct.balance(who.address) for role, who in zip(Role, (prover, challenger), strict=True)}
        assert after[liar.other] > before[liar.other]
        assert after[liar] < before[liar]
        assert client.balance() == client.burnt()
    assert sum(proxy.done.values()) > 10


def test_a_node_that_goes_away_and_comes_back(
    devnet: Devnet, accounts: Accounts, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("opml.chain.rpc._QUIET_SECONDS", 0)
    with connected(devnet.url, CALM) as (chain, proxy):
        outbox = chain.outbox(accounts[0])
        ticket = outbox.send(accounts[1].address, value=1)
        proxy.how = replace(CALM, dead=True)
        timer = threading.Timer(0.3, lambda: setattr(proxy, "how", CALM))
        timer.start()
        with caplog.at_level(logging.WARNING, "opml.chain"):
            outbox.wait(ticket)
        timer.join()
    assert "waiting for the node since 0 s: nobody answers" in caplog.text
    assert "answers again after" in caplog.text


def test_a_node_that_stays_away_is_an_error_of_its_own(devnet: Devnet, accounts: Accounts) -> None:
    with hostile(devnet.url, CALM) as proxy, RpcChain(proxy.url, patience=0.1) as chain:
        proxy.how = replace(CALM, dead=True)
        with pytest.raises(UnreachableError, match="nobody answers"):
            chain.block_number()
        with pytest.raises(UnreachableError):
            chain.transact(accounts[0], accounts[1].address)
        assert chain.outbox(accounts[0]).pending == 0
        proxy.how = replace(CALM, error_before=1)
        with pytest.raises(UnreachableError, match="HTTP status"):
            chain.block_number()
        # What changes a development chain is not done twice.
        proxy.how = replace(CALM, cut_after=1)
        with pytest.raises(UnreachableError):
            chain.request("evm_increaseTime", "0x64")
        proxy.how = CALM
        assert chain.time() - from_quantity(chain.block()["timestamp"]) < 150


def test_a_devnet_that_is_restarted_in_between(tmp_path: Path, accounts: Accounts) -> None:
    """Its port stays; what it has confirmed, it still knows."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with background(tmp_path, port) as devnet:
        chain = RpcChain(devnet.url)
        outbox = chain.outbox(accounts[0])
        tickets = [outbox.send(accounts[1].address, value=1)]
    with background(tmp_path, port), chain:
        tickets.append(outbox.send(accounts[1].address, value=2))
        for ticket in tickets:
            outbox.wait(ticket)
        assert chain.nonce(accounts[0].address) == 2
