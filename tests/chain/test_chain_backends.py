"""One suite for the embedded chain and JSON-RPC: money, contracts, logs, time, and everything that goes wrong."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from chain_bytecode import ECHO, ECHO_REVERT, LOGGER, LOOP, STORE, TIME, error_string, panic, word
from eth_account import Account
from eth_account.signers.local import LocalAccount
from eth_utils.crypto import keccak

from opml.chain import Chain, OpmlClient, connect, deploy
from opml.chain.abi import artifact
from opml.chain.deploy import create_address, dev_contract, ensure_dev_contract
from opml.chain.hexa import checksum
from opml.chain.rpc import RpcChain
from opml.errors import ChainError, RevertError

Accounts = tuple[LocalAccount, ...]
CHAIN_ID = 31337


def put(chain: Chain, account: LocalAccount, code: bytes) -> str:
    contract = chain.transact(account, None, code).contract
    assert contract is not None
    return contract


def test_transfer_moves_value_and_costs_gas(chain: Chain, accounts: Accounts) -> None:
    alice, bob = accounts[:2]
    before = chain.balance(alice.address)
    receipt = chain.transact(alice, bob.address, value=5)
    assert receipt.gas_used == 21_000
    assert receipt.contract is None
    assert chain.balance(alice.address) == before - 5 - receipt.cost
    assert chain.balance(bob.address) == before + 5
    assert chain.nonce(alice.address) == 1
    assert receipt.block == chain.block_number() == 1
    found = chain.receipt(receipt.tx_hash)
    assert found is not None
    assert found["status"] == "0x1"
    assert chain.receipt(bytes(32)) is None


def test_creation_gives_the_address_that_is_known_before(chain: Chain, accounts: Accounts) -> None:
    for nonce in (0, 1):
        expected = create_address(accounts[0].address, nonce)
        assert chain.code(expected) == b""
        assert put(chain, accounts[0], ECHO) == expected
    assert chain.call(expected, b"some data") == b"some data"
    assert chain.code(expected) == bytes.fromhex("365f5f37365ff3")


@pytest.mark.parametrize("nonce", [0, 1, 127, 128, 255, 256, 1 << 20])
def test_create_address_is_the_rlp_rule(nonce: int) -> None:
    import rlp

    sender = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert create_address(sender, nonce) == checksum(keccak(rlp.encode([bytes.fromhex(sender[2:]), nonce]))[12:])


def test_chain_ids_agree(chain: Chain) -> None:
    assert chain.chain_id == CHAIN_ID
    assert chain.web3.eth.chain_id == CHAIN_ID


def test_time_is_what_the_next_transaction_meets(chain: Chain, accounts: Accounts) -> None:
    clock = put(chain, accounts[0], TIME)
    now = chain.time()
    assert int.from_bytes(chain.call(clock, b""), "big") == now
    assert chain.transact(accounts[0], clock).timestamp == now
    chain.advance(1000)
    assert chain.time() == now + 1 + 1000 + 1
    # An old block is seen at its own time.
    block = chain.block_number() - 1
    assert int.from_bytes(chain.call(clock, b"", block=block), "big") == now


def test_state_of_old_blocks_stays(chain: Chain, accounts: Accounts) -> None:
    store = put(chain, accounts[0], STORE)
    for value in (7, 8):
        chain.transact(accounts[0], store, word(value))
    last = chain.block_number()
    for block, value in ((last - 1, 7), (last, 8), (last - 2, 0)):
        assert int(chain.request("eth_getStorageAt", store, "0x0", hex(block)), 16) == value


def test_logs_by_address_topics_and_blocks(chain: Chain, accounts: Accounts) -> None:
    one, other = (put(chain, accounts[0], LOGGER) for _ in range(2))
    for number in range(4):
        chain.transact(accounts[0], one, word(number % 2) + word(number) + bytes([number]) * 3)
    chain.transact(accounts[0], other, word(0) + word(0))
    logs = chain.logs(one)
    assert [log.data for log in logs] == [bytes([n]) * 3 for n in range(4)]
    assert [log.topics for log in logs] == [(word(n % 2), word(n)) for n in range(4)]
    assert all(log.address == one for log in logs)
    assert [log.topics[1] for log in chain.logs(one, [word(1)])] == [word(1), word(3)]
    assert [log.topics[1] for log in chain.logs(one, [None, [word(0), word(3)]])] == [word(0), word(3)]
    assert [log.topics[1] for log in chain.logs(one, [[word(0), word(1)], word(2)])] == [word(2)]
    assert [log.block for log in chain.logs(one, (), logs[1].block, logs[2].block)] == [logs[1].block, logs[2].block]
    assert chain.logs(one, [None, None, None]) == []
    assert chain.logs(accounts[0].address) == []
    assert chain.logs(one, (), 1 << 20) == []


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (keccak(b"UnknownClaim()")[:4], "UnknownClaim"),
        (keccak(b"NotCollectable(bytes32)")[:4] + word(9), "NotCollectable"),
        (error_string("too late"), "too late"),
        (panic(0x11), "Panic(0x11)"),
        (b"", "reverted"),
        (bytes.fromhex("deadbeef"), "0xdeadbeef"),
    ],
)
def test_reverts_are_named_and_cost_nothing(chain: Chain, accounts: Accounts, data: bytes, reason: str) -> None:
    contract = put(chain, accounts[0], ECHO_REVERT)
    balance, block = chain.balance(accounts[0].address), chain.block_number()
    with pytest.raises(RevertError) as sent:
        chain.transact(accounts[0], contract, data)
    with pytest.raises(RevertError) as called:
        chain.call(contract, data)
    assert sent.value.reason == called.value.reason == reason
    assert (chain.balance(accounts[0].address), chain.block_number()) == (balance, block)


def test_a_transaction_that_is_mined_as_failed_is_a_revert_too(chain: Chain, accounts: Accounts) -> None:
    contract = put(chain, accounts[0], ECHO_REVERT)
    with pytest.raises(RevertError) as caught:
        # With a gas limit nobody tries it before it is sent.
        chain.transact(accounts[0], contract, keccak(b"WrongStage()")[:4], gas=100_000)
    assert caught.value.reason == "WrongStage"


def test_out_of_gas_is_said(chain: Chain, accounts: Accounts) -> None:
    contract = put(chain, accounts[0], LOOP)
    with pytest.raises(RevertError, match="gas"):
        chain.transact(accounts[0], contract, gas=60_000)
    with pytest.raises(ChainError, match="intrinsic gas too low"):
        chain.transact(accounts[0], contract, gas=20_000)


def test_the_poor_are_told(chain: Chain, accounts: Accounts) -> None:
    poor = Account.create()
    for value in (0, 1):
        with pytest.raises(ChainError, match="insufficient funds") as caught:
            chain.transact(poor, accounts[0].address, value=value)
        assert caught.value.hint is not None
        assert not isinstance(caught.value, RevertError)
    with pytest.raises(ChainError, match="insufficient funds"):
        chain.transact(accounts[0], poor.address, value=10**30)


def test_wrong_contract(chain: Chain, accounts: Accounts) -> None:
    with pytest.raises(ChainError, match="no contract at"):
        OpmlClient(chain, accounts[0].address)
    for code in (ECHO, STORE, ECHO_REVERT):
        with pytest.raises(ChainError, match="not opml's"):
            OpmlClient(chain, put(chain, accounts[0], code))
    for address in ("0x12", "opml", "f39Fd6e51aad88F6F4ce6aB8827279cffFb92266"):
        with pytest.raises(ChainError, match="not an address"):
            OpmlClient(chain, address)


def test_deployment(chain: Chain, accounts: Accounts) -> None:
    deployment = deploy(chain, accounts[0], 7, 3, 5)
    client = OpmlClient(chain, deployment.address)
    assert (client.prover_bond, client.challenger_bond, client.k, client.burnt()) == (7, 3, 5, 0)
    assert chain.code(deployment.verifier)
    assert 1_000_000 < deployment.gas_used < 6_000_000
    with pytest.raises(RevertError) as caught:
        deploy(chain, accounts[0], 7, 3, 1)
    assert caught.value.reason == "BadParameters"


def test_the_development_contract_is_found_again(chain: Chain, accounts: Accounts) -> None:
    assert dev_contract(chain) is None
    address = ensure_dev_contract(chain, 7, 3, 5)
    assert dev_contract(chain) == address == ensure_dev_contract(chain)
    assert OpmlClient(chain, address).k == 5


def test_a_used_deployer_is_told(chain: Chain, accounts: Accounts) -> None:
    chain.transact(accounts[-1], accounts[0].address)
    with pytest.raises(ChainError, match="used already"):
        ensure_dev_contract(chain)


def test_web3_sees_the_same_chain(chain: Chain, client: OpmlClient) -> None:
    w3: Any = chain.web3
    entries = json.loads(json.dumps(list(artifact("Opml").abi._entries)))
    contract = w3.eth.contract(address=client.address, abi=entries)
    assert contract.functions.k().call() == client.k
    assert w3.eth.get_block("latest")["number"] == chain.block_number()
    assert w3.eth.get_block("pending")["timestamp"] == chain.time()
    # web3's own way to a transaction: fee history, estimate, unlocked account.
    sender = w3.eth.accounts[0]
    tx_hash = w3.eth.send_transaction({"from": sender, "to": w3.eth.accounts[1], "value": 3})
    mined = w3.eth.wait_for_transaction_receipt(tx_hash)
    assert mined["status"] == 1
    assert mined["gasUsed"] == 21_000
    assert w3.eth.get_transaction(tx_hash)["value"] == 3


def test_threads_of_one_account_do_not_disturb_each_other(chain: Chain, accounts: Accounts) -> None:
    store = put(chain, accounts[0], STORE)
    failures: list[BaseException] = []

    def work() -> None:
        try:
            for value in range(5):
                chain.transact(accounts[0], store, word(value))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert chain.nonce(accounts[0].address) == 16


def test_two_clients_of_one_account_do_not_disturb_each_other(devnet: Any, accounts: Accounts) -> None:
    failures: list[BaseException] = []

    def work(value: int) -> None:
        try:
            with connect(devnet.url) as own:
                for _ in range(5):
                    own.transact(accounts[0], accounts[1].address, value=value)
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(value,)) for value in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    with connect(devnet.url) as chain:
        assert chain.nonce(accounts[0].address) == 10


def test_wrong_chain(devnet: Any) -> None:
    connect(devnet.url, chain_id=CHAIN_ID).close()
    with pytest.raises(ChainError, match="serves chain 31337, not 1"):
        connect(devnet.url, chain_id=1)


def test_a_transaction_for_another_chain_is_refused(chain: Chain, accounts: Accounts) -> None:
    signed = accounts[0].sign_transaction(
        {"type": 2, "chainId": 1, "nonce": 0, "to": accounts[1].address, "value": 1, "gas": 21_000}
        | {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1, "data": b""}
    )
    with pytest.raises(ChainError, match="chain id") as caught:
        chain.request("eth_sendRawTransaction", "0x" + bytes(signed.raw_transaction).hex())
    assert caught.value.hint is not None


def test_wrong_url() -> None:
    for url in ("ws://127.0.0.1:8545", "127.0.0.1:8545", "", "http://"):
        with pytest.raises(ChainError):
            connect(url)
    with pytest.raises(ChainError, match="nobody answers") as caught:
        connect("http://127.0.0.1:1")
    assert "opml devnet" in str(caught.value.hint)


@contextmanager
def server(status: int, body: bytes) -> Iterator[str]:
    """A web server that answers everything with the same words."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as running:
        thread = threading.Thread(target=running.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{running.server_address[1]}"
        finally:
            running.shutdown()
            thread.join()


@pytest.mark.parametrize(
    ("status", "body", "match"),
    [
        (200, b"<html>hello</html>", "no Ethereum node"),
        (200, b"{}", "no Ethereum node"),
        (200, b"[]", "no Ethereum node"),
        (200, b'{"jsonrpc":"2.0","id":1,"result":"ten"}', "no Ethereum node"),
        (200, b'{"jsonrpc":"2.0","id":1,"error":{"code":-32601,"message":"no such method"}}', "no such method"),
        (404, b"not here", "404"),
        (500, b"", "500"),
    ],
)
def test_servers_that_are_no_nodes(status: int, body: bytes, match: str) -> None:
    with server(status, body) as url, pytest.raises(ChainError, match=match):
        connect(url)


def test_a_node_that_never_mines_is_not_waited_for_for_ever(devnet: Any, accounts: Accounts) -> None:
    class Silent(RpcChain):
        def receipt(self, tx_hash: bytes) -> None:
            return None

    with Silent(devnet.url, receipt_timeout=0.05) as chain, pytest.raises(ChainError, match="not mined within"):
        chain.transact(accounts[0], accounts[1].address)


def test_a_long_range_of_logs_is_asked_for_in_halves(chain: Chain, accounts: Accounts) -> None:
    contract = put(chain, accounts[0], LOGGER)
    chain.transact(accounts[0], contract, word(1) + word(2))
    asked: list[tuple[int, int]] = []
    request = chain.request

    def limited(method: str, *params: Any) -> Any:
        if method == "eth_getLogs":
            first, last = (int(params[0][name], 16) for name in ("fromBlock", "toBlock"))
            asked.append((first, last))
            if last - first >= 2000:
                raise ChainError("the node refused: range too long")
        return request(method, *params)

    chain.request = limited  # type: ignore[method-assign]
    assert len(chain.logs(contract, (), 0, 5000)) == 1
    assert asked[0] == (0, 5000)
    covered = sorted((a, b) for a, b in asked if b - a < 2000)
    assert [a for a, _ in covered] == [0, *(b + 1 for _, b in covered[:-1])]
    assert covered[-1][1] == 5000


def flooded(chain: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that refuses each range with more than one log in it, however short."""
    request = chain.request

    def limited(method: str, *params: Any) -> Any:
        answer = request(method, *params)
        if method == "eth_getLogs" and len(answer) > 1:
            raise ChainError("query returned more than 1 results")
        return answer

    monkeypatch.setattr(chain, "request", limited)


def test_a_flood_of_logs_blinds_nobody(chain: Chain, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    contract = put(chain, accounts[0], LOGGER)
    for number in range(5):
        chain.transact(accounts[0], contract, word(number) + word(2))
    every, one = chain.logs(contract), chain.logs(contract, [word(3)])
    flooded(chain, monkeypatch)
    assert chain.logs(contract) == every
    assert chain.logs(contract, [word(3)]) == one


def test_one_block_with_too_many_logs_is_read_from_its_receipts(
    chain: Chain, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = put(chain, accounts[0], LOGGER)
    block = chain.transact(accounts[0], contract, word(1) + word(2)).block
    every = chain.logs(contract)
    request = chain.request

    def blind(method: str, *params: Any) -> Any:
        if method == "eth_getLogs":
            raise ChainError("query returned more than 0 results")
        return request(method, *params)

    monkeypatch.setattr(chain, "request", blind)
    assert chain.logs(contract, [every[0].topics[0]], block, block) == every
    assert chain.logs(contract, [[word(99)]], block, block) == []
    assert chain.logs(accounts[1].address, (), block, block) == []


def test_a_node_without_receipts_says_its_own_reason(
    chain: Chain, accounts: Accounts, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = put(chain, accounts[0], LOGGER)

    def blind(method: str, *params: Any) -> Any:
        raise ChainError("query returned more than 0 results" if method == "eth_getLogs" else "unknown method")

    monkeypatch.setattr(chain, "request", blind)
    with pytest.raises(ChainError, match="more than 0 results"):
        chain.logs(contract, (), 0, 1)


def test_where_everybody_has_the_key_a_contract_is_looked_for_on_development_chains_only(
    chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    ensure_dev_contract(chain)
    assert dev_contract(chain) is not None
    monkeypatch.setitem(vars(chain), "chain_id", 1)
    assert dev_contract(chain) is None
