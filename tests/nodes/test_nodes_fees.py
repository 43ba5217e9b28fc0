"""The outbox on anvil: rising prices, vanishing blocks, blocks at intervals, a restart, two processes with one key."""

import itertools
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any

import nodes_tools
import pytest
from chain_duel import play
from chain_proxy import HOSTILITIES, Hostility, hostile
from eth_account.signers.local import LocalAccount

from opml.chain.accounts import dev_accounts
from opml.chain.fees import FeePolicy
from opml.chain.hexa import checksum, from_quantity
from opml.chain.outbox import Outbox, Outcome
from opml.chain.rpc import RpcChain
from opml.chain.units import GWEI
from opml.dispute.game import Role
from opml.errors import ChainError

pytestmark = pytest.mark.node
SENDER: LocalAccount = dev_accounts()[3]
RECEIVER = dev_accounts()[4].address
FUNDS = 10_000 * 10**18


@pytest.fixture
def held() -> Iterator[RpcChain]:
    """An anvil that makes blocks only when it is told to."""
    with nodes_tools.anvil("--no-mining") as url, RpcChain(url) as chain:
        yield chain


def mine(chain: RpcChain, base_fee: int | None = None) -> None:
    if base_fee is not None:
        chain.request("anvil_setNextBlockBaseFeePerGas", hex(base_fee))
    chain.request("evm_mine")


def pool(chain: RpcChain) -> dict[str, Any]:
    """Waiting transactions of the sender by nonce."""
    content = chain.request("txpool_content")
    queues = [
        queue for part in content.values() for sender, queue in part.items() if checksum(sender) == SENDER.address
    ]
    return {nonce: tx for queue in queues for nonce, tx in queue.items()}


def arrived(chain: RpcChain) -> int:
    return chain.balance(RECEIVER) - FUNDS


def until(chain: RpcChain, outbox: Outbox, action: Callable[[], None] = lambda: None) -> list[Outcome]:
    """Looks until nothing is pending."""
    outcomes = outbox.poll()
    for _ in range(200):
        if not outbox.pending:
            return outcomes
        action()
        time.sleep(0.1)
        outcomes += outbox.poll()
    raise AssertionError("transactions are left")


def test_a_rising_base_fee_is_followed(held: RpcChain) -> None:
    outbox = held.outbox(SENDER)
    for bit in range(3):
        outbox.send(RECEIVER, value=1 << bit)
    before = {nonce: from_quantity(tx["maxFeePerGas"]) for nonce, tx in pool(held).items()}
    mine(held, 60 * GWEI)
    assert arrived(held) == 0
    time.sleep(0.6)
    outbox.poll()
    after = {nonce: from_quantity(tx["maxFeePerGas"]) for nonce, tx in pool(held).items()}
    assert len(before) == 3
    assert before.keys() == after.keys()
    assert all(after[nonce] >= 60 * GWEI > before[nonce] for nonce in before)
    assert outbox.replaced == 3
    assert len(until(held, outbox, lambda: mine(held, 60 * GWEI))) == 3
    assert arrived(held) == 7


def test_fees_stop_at_the_ceiling_until_they_fall(held: RpcChain) -> None:
    with RpcChain(held.url, fees=FeePolicy(10 * GWEI)) as chain:
        outbox = chain.outbox(SENDER)
        ticket = outbox.send(RECEIVER, value=1)
        for _ in range(5):
            mine(held, 60 * GWEI)
            time.sleep(0.6)
            assert outbox.poll() == []
        # anvil throws out what is below the base fee; what it still has, is not dearer.
        assert all(from_quantity(tx["maxFeePerGas"]) <= 10 * GWEI for tx in pool(held).values())
        with pytest.raises(ChainError, match="10 gwei at most"):
            outbox.wait(ticket, 0)
        assert [outcome.ticket for outcome in until(chain, outbox, lambda: mine(held, 2 * GWEI))] == [ticket]
    assert arrived(held) == 1


@pytest.mark.parametrize("depth", [1, 3])
def test_blocks_that_vanish(depth: int) -> None:
    with nodes_tools.anvil() as url, RpcChain(url, confirmations=5) as chain:
        outbox = chain.outbox(SENDER)
        for _ in range(4):
            mine(chain)
        for bit in range(3):
            outbox.wait(outbox.send(RECEIVER, value=1 << bit))
        assert arrived(chain) == 7
        chain.request("anvil_reorg", depth, [])
        chain.request("anvil_dropAllTransactions")
        assert arrived(chain) == 7 >> depth
        deadline = time.monotonic() + 30
        while arrived(chain) != 7 and time.monotonic() < deadline:
            assert outbox.poll() == []
            time.sleep(0.2)
            mine(chain)
        assert arrived(chain) == 7


def test_a_snapshot_that_is_gone_back_to() -> None:
    with nodes_tools.anvil() as url, RpcChain(url) as chain:
        outbox = chain.outbox(SENDER)
        outbox.wait(outbox.send(RECEIVER, value=1))
        snapshot = chain.request("evm_snapshot")
        for _ in range(3):
            outbox.wait(outbox.send(RECEIVER, value=2))
        assert chain.request("evm_revert", snapshot) is True
        for _ in range(5):
            mine(chain)
        outbox.wait(outbox.send(RECEIVER, value=4))
        assert arrived(chain) == 5


def test_a_node_that_forgets_its_pool(held: RpcChain) -> None:
    outbox = held.outbox(SENDER)
    for bit in range(3):
        outbox.send(RECEIVER, value=1 << bit)
    held.request("anvil_dropAllTransactions")
    assert pool(held) == {}
    assert len(until(held, outbox, lambda: mine(held))) == 3
    assert arrived(held) == 7


CHILD = """
import sys
from opml.chain.accounts import dev_accounts
from opml.chain.rpc import RpcChain
from opml.dispute.game import Role
url, count, value, mode = sys.argv[1:]
accounts = dev_accounts()
with RpcChain(url) as chain:
    outbox = chain.outbox(accounts[3])
    tickets = [outbox.send(accounts[4].address, value=int(value)) for _ in range(int(count))]
    print("sent", flush=True)
    if mode == "hang":
        sys.stdin.read()
    for ticket in tickets:
        outbox.wait(ticket)
"""


def child(url: str, count: int, mode: str, value: int = 1) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, url, str(count), str(value), mode],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("base_fee", "left"), [(GWEI, 3), (80 * GWEI, 0)])
def test_after_a_killed_process(held: RpcChain, base_fee: int, left: int) -> None:
    """What it left goes through, or is thrown out by anvil where it is below the base fee; ours arrives in any case."""
    with child(held.url, 3, "hang") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "sent\n"
        killed.kill()
    assert len(pool(held)) == 3
    outbox = held.outbox(SENDER)
    outbox.send(RECEIVER, value=100)
    assert len(until(held, outbox, lambda: mine(held, base_fee))) == 1
    assert arrived(held) == 100 + left


def test_nonces_that_a_killed_process_left_open(held: RpcChain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Our transaction stands behind three of another process; the pool loses those."""
    monkeypatch.setattr("opml.chain.rpcoutbox.FILL_AFTER", (4, 120.0))
    with child(held.url, 3, "hang") as killed:
        assert killed.stdout is not None
        assert killed.stdout.readline() == "sent\n"
        killed.kill()
    outbox = held.outbox(SENDER)
    outbox.send(RECEIVER, value=100)
    theirs = [tx["hash"] for nonce, tx in pool(held).items() if int(nonce) < 3]
    for tx_hash in theirs:
        held.request("anvil_dropTransaction", tx_hash)
    assert len(until(held, outbox, lambda: mine(held))) == 1
    assert arrived(held) == 100
    assert held.nonce(SENDER.address) == 4


@pytest.mark.parametrize("options", [(), ("--block-time", "1")], ids=["a block each", "a block a second"])
def test_two_processes_with_one_key(options: tuple[str, ...]) -> None:
    """Not the very same transactions: those would be one, with one hash."""
    with nodes_tools.anvil(*options) as url, RpcChain(url) as chain:
        with child(url, 15, "wait") as one, child(url, 15, "wait", 100) as two:
            assert (one.wait(90), two.wait(90)) == (0, 0)
        assert arrived(chain) == 1515
        assert chain.nonce(SENDER.address) == 30


@pytest.mark.parametrize("name", HOSTILITIES)
def test_blocks_at_intervals_behind_a_hostile_proxy(name: str) -> None:
    with (
        nodes_tools.anvil("--block-time", "1") as url,
        hostile(url, Hostility()) as proxy,
        RpcChain(proxy.url, timeout=10) as chain,
        RpcChain(url) as direct,
    ):
        proxy.how = HOSTILITIES[name]
        outbox = chain.outbox(SENDER)
        tickets = [outbox.send(RECEIVER, value=1 << bit) for bit in range(12)]
        for ticket in tickets:
            outbox.wait(ticket)
        assert arrived(direct) == (1 << 12) - 1
        assert direct.nonce(SENDER.address) == 12


def test_legacy_chains_without_a_base_fee() -> None:
    with nodes_tools.anvil("--hardfork", "berlin", "--no-mining") as url, RpcChain(url) as chain:
        outbox = chain.outbox(SENDER)
        outbox.send(RECEIVER, value=1)
        (waiting,) = pool(chain).values()
        assert from_quantity(waiting["type"]) == 0
        assert json.dumps(waiting).find("maxFeePerGas") < 0
        assert len(until(chain, outbox, lambda: mine(chain))) == 1
        assert arrived(chain) == 1


@pytest.mark.parametrize("liar", Role)
@pytest.mark.parametrize("name", ["calm", "all of it"])
def test_a_game_is_won_while_prices_rise(liar: Role, name: str) -> None:
    """A block a second, each three times as dear as the one before, which is more than we offer; after six, anew."""
    prices = itertools.cycle([3**n * GWEI for n in range(6)])
    head = -1
    with (
        nodes_tools.anvil("--block-time", "1") as url,
        hostile(url, Hostility()) as proxy,
        RpcChain(proxy.url, timeout=10) as chain,
        RpcChain(url) as direct,
    ):

        def dearer() -> None:
            nonlocal head
            if (number := direct.block_number()) != head:
                head = number
                direct.request("anvil_setNextBlockBaseFeePerGas", hex(next(prices)))
                proxy.how = HOSTILITIES.get(name, Hostility())

        accounts = dev_accounts()
        client = play(chain, direct, accounts, liar, dearer)
        proxy.how = Hostility()
        loser, winner = (accounts[1], accounts[2]) if liar is Role.PROVER else (accounts[2], accounts[1])
        assert direct.balance(winner.address) > FUNDS > direct.balance(loser.address)
        assert client.balance() == client.burnt()
        assert sum(chain.outbox(account).replaced for account in (winner, loser)) > 0
