"""The devnet: what it looks like on the wire, and that its chain survives restarts, kills and cut-off files."""

import contextlib
import http.client
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chain_bytecode import LOGGER, STORE, creation, word
from chain_game import post_claim
from eth_account.signers.local import LocalAccount

from opml.chain import OpmlClient, connect, ensure_dev_contract
from opml.chain.devnet import Devnet, background
from opml.chain.journal import Journal
from opml.chain.records import NodeError, frozen_clock
from opml.chain.rpc import RpcChain
from opml.errors import ChainError

Accounts = tuple[LocalAccount, ...]


class Wire:
    """Raw JSON-RPC over one kept-alive connection."""

    def __init__(self, url: str) -> None:
        self._connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=20)

    def post(self, body: bytes) -> Any:
        self._connection.request("POST", "/", body)
        return json.loads(self._connection.getresponse().read())

    def answer(self, method: str, *params: Any) -> dict[str, Any]:
        found: dict[str, Any] = self.post(
            json.dumps({"jsonrpc": "2.0", "id": 7, "method": method, "params": params}).encode()
        )
        assert found["id"] == 7
        return found

    def __call__(self, method: str, *params: Any) -> Any:
        found = self.answer(method, *params)
        assert "error" not in found, found
        return found["result"]

    def error(self, method: str, *params: Any) -> dict[str, Any]:
        error: dict[str, Any] = self.answer(method, *params)["error"]
        return error

    def close(self) -> None:
        self._connection.close()


@pytest.fixture
def wire(devnet: Devnet) -> Iterator[Wire]:
    connection = Wire(devnet.url)
    yield connection
    connection.close()


def is_quantity(text: Any) -> bool:
    return isinstance(text, str) and text == hex(int(text, 16))


def is_bytes(text: Any, size: int) -> bool:
    return isinstance(text, str) and text.startswith("0x") and len(text) == 2 + 2 * size


# The wire


def test_about_the_node(wire: Wire) -> None:
    assert wire("eth_chainId") == "0x7a69"
    assert wire("net_version") == "31337"
    assert wire("eth_syncing") is False
    assert wire("net_listening") is True
    assert "opml" in wire("web3_clientVersion")
    assert wire("web3_sha3", "0x") == "0xc5d2460186f7233c927e7db2dcc703c0e500b653ca82273b7bfad8045d85a470"
    assert len(wire("eth_accounts")) == 10


def test_a_block_has_every_field_in_its_width(wire: Wire) -> None:
    accounts = wire("eth_accounts")
    tx_hash = wire(
        "eth_sendTransaction", {"from": accounts[0], "to": accounts[1].lower(), "value": "0x1", "data": None}
    )
    block = wire("eth_getBlockByNumber", "latest", True)
    quantities = (
        "number difficulty totalDifficulty gasLimit gasUsed timestamp size baseFeePerGas blobGasUsed excessBlobGas"
    )
    assert all(is_quantity(block[name]) for name in quantities.split())
    words = "hash parentHash sha3Uncles stateRoot transactionsRoot receiptsRoot mixHash withdrawalsRoot"
    assert all(is_bytes(block[name], 32) for name in [*words.split(), "parentBeaconBlockRoot", "requestsHash"])
    assert is_bytes(block["logsBloom"], 256)
    assert is_bytes(block["nonce"], 8)
    assert is_bytes(block["miner"], 20)
    (transaction,) = block["transactions"]
    assert transaction == wire("eth_getTransactionByHash", tx_hash)
    assert transaction == wire("eth_getTransactionByBlockNumberAndIndex", "0x1", "0x0")
    assert transaction == wire("eth_getTransactionByBlockHashAndIndex", block["hash"], "0x0")
    assert wire("eth_getTransactionByBlockNumberAndIndex", "0x1", "0x1") is None
    assert wire("eth_getBlockByNumber", "0x1", False)["transactions"] == [tx_hash]
    assert wire("eth_getBlockByHash", block["hash"], False)["number"] == "0x1"
    assert wire("eth_getBlockByHash", "0x" + "00" * 32, False) is None
    assert wire("eth_getBlockByNumber", "0x2", False) is None
    assert wire("eth_getBlockTransactionCountByNumber", "0x1") == wire(
        "eth_getBlockTransactionCountByHash", block["hash"]
    )
    pending = wire("eth_getBlockByNumber", "pending", False)
    assert (pending["number"], pending["hash"], pending["transactions"]) == ("0x2", None, [])


@pytest.mark.parametrize(
    ("fields", "kind"),
    [
        ({"gasPrice": 2 * 10**9}, "0x0"),
        (
            {
                "type": 1,
                "gasPrice": 2 * 10**9,
                "accessList": [{"address": "0x" + "11" * 20, "storageKeys": ["0x" + "22" * 32]}],
            },
            "0x1",
        ),
        ({"type": 2, "maxFeePerGas": 2 * 10**9, "maxPriorityFeePerGas": 1}, "0x2"),
    ],
)
def test_transactions_of_all_types(wire: Wire, accounts: Accounts, fields: dict[str, Any], kind: str) -> None:
    body = {"chainId": 31337, "nonce": 0, "to": accounts[1].address, "value": 5, "gas": 40_000, "data": b"\x01\x02"}
    raw = "0x" + bytes(accounts[0].sign_transaction(body | fields).raw_transaction).hex()
    tx_hash = wire("eth_sendRawTransaction", raw)
    found = wire("eth_getTransactionByHash", tx_hash)
    assert (found["type"], found["value"], found["input"], found["from"]) == (
        kind,
        "0x5",
        "0x0102",
        accounts[0].address,
    )
    assert all(is_quantity(found[name]) for name in ("v", "r", "s", "gas", "gasPrice", "nonce", "chainId"))
    assert ("accessList" in found, "yParity" in found) == (kind != "0x0", kind != "0x0")
    receipt = wire("eth_getTransactionReceipt", tx_hash)
    assert (receipt["type"], receipt["status"], receipt["contractAddress"]) == (kind, "0x1", None)
    assert is_bytes(receipt["logsBloom"], 256)
    assert wire("eth_getBlockReceipts", "latest") == [receipt]
    # Once is enough.
    assert wire.error("eth_sendRawTransaction", raw)["message"] == "already known"


def test_a_creation_has_no_recipient_and_a_contract(wire: Wire) -> None:
    sender = wire("eth_accounts")[0]
    tx_hash = wire("eth_sendTransaction", {"from": sender, "input": "0x" + STORE.hex()})
    assert wire("eth_getTransactionByHash", tx_hash)["to"] is None
    receipt = wire("eth_getTransactionReceipt", tx_hash)
    assert receipt["to"] is None
    contract = receipt["contractAddress"]
    wire("eth_sendTransaction", {"from": sender, "to": contract, "input": "0x" + word(9).hex(), "data": "0x"})
    assert wire("eth_getStorageAt", contract, "0x0", "latest") == "0x" + word(9).hex()
    assert wire("eth_getStorageAt", contract, "0x" + word(0).hex(), "pending") == "0x" + word(9).hex()


def test_errors_are_the_ones_that_clients_know(wire: Wire) -> None:
    sender = wire("eth_accounts")[0]
    reverting = wire(
        "eth_sendTransaction", {"from": sender, "data": "0x" + creation(bytes.fromhex("365f5f37365ffd")).hex()}
    )
    contract = wire("eth_getTransactionReceipt", reverting)["contractAddress"]
    for method in ("eth_call", "eth_estimateGas"):
        error = wire.error(method, {"from": sender, "to": contract, "data": "0xdeadbeef"})
        assert error == {"code": 3, "message": "execution reverted", "data": "0xdeadbeef"}
    # With a gas limit it is mined as failed, as anywhere.
    failed = wire("eth_sendTransaction", {"from": sender, "to": contract, "data": "0xdeadbeef", "gas": "0x10000"})
    assert wire("eth_getTransactionReceipt", failed)["status"] == "0x0"
    assert wire.error("eth_nothing")["code"] == -32601
    assert wire.error("__init__")["code"] == -32601
    assert wire.error("eth_getBalance")["code"] == -32602
    assert wire.error("eth_getBalance", "0x12", "latest")["code"] == -32602
    assert wire.error("eth_getBalance", sender, "0x999")["message"] == "header not found"
    assert wire.error("eth_call", {"to": contract}, "latest", {contract: {"balance": "0x0"}})["code"] == -32602
    assert wire.error("eth_sendRawTransaction", "0x1234")["message"].startswith("invalid transaction")
    assert wire.error("eth_sendRawTransaction", "0x03c0")["message"].startswith("transactions of type 3")
    assert "unknown account" in wire.error("eth_sendTransaction", {"from": contract, "to": sender})["message"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"nonce": 1}, "nonce too high"),
        ({"gas": 30_000_001}, "exceeds block gas limit"),
        ({"gas": 20_999}, "intrinsic gas too low"),
        ({"maxFeePerGas": 1, "maxPriorityFeePerGas": 0}, "max fee per gas less than block base fee"),
        ({"value": 10**23}, "insufficient funds for gas * price + value"),
        ({"chainId": 1}, "invalid chain id"),
    ],
)
def test_bad_transactions_are_refused(wire: Wire, accounts: Accounts, change: dict[str, Any], message: str) -> None:
    body = {"type": 2, "chainId": 31337, "nonce": 0, "to": accounts[1].address, "value": 0, "gas": 21_000, "data": b""}
    body |= {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 1} | change
    raw = "0x" + bytes(accounts[0].sign_transaction(body).raw_transaction).hex()
    assert wire.error("eth_sendRawTransaction", raw)["message"].startswith(message)
    assert wire("eth_blockNumber") == "0x0"


def test_logs_in_all_the_forms_of_a_query(wire: Wire) -> None:
    sender = wire("eth_accounts")[0]

    def send(**fields: str) -> dict[str, Any]:
        receipt: dict[str, Any] = wire(
            "eth_getTransactionReceipt", wire("eth_sendTransaction", {"from": sender, **fields})
        )
        return receipt

    one, two = (send(data="0x" + LOGGER.hex())["contractAddress"] for _ in range(2))
    topics = ["0x" + word(n).hex() for n in range(3)]
    receipts = [send(to=to, data="0x" + (word(1) + word(n)).hex()) for n, to in enumerate([one, two, one])]
    logs = [receipt["logs"][0] for receipt in receipts]
    assert logs[2]["topics"] == [topics[1], topics[2]]
    assert logs[2]["blockHash"] == receipts[2]["blockHash"]

    whole = {"fromBlock": "earliest", "toBlock": "latest"}
    assert wire("eth_getLogs", whole) == logs
    assert wire("eth_getLogs", whole | {"address": one}) == [logs[0], logs[2]]
    assert wire("eth_getLogs", whole | {"address": [two.lower(), one]}) == logs
    assert wire("eth_getLogs", whole | {"address": []}) == logs
    assert wire("eth_getLogs", whole | {"topics": [None, topics[1]]}) == [logs[1]]
    assert wire("eth_getLogs", whole | {"topics": [[topics[0], topics[1]], [topics[0], topics[2]]]}) == [
        logs[0],
        logs[2],
    ]
    assert wire("eth_getLogs", whole | {"topics": []}) == logs
    assert wire("eth_getLogs", whole | {"topics": [topics[0]]}) == []
    assert wire("eth_getLogs", {"blockHash": receipts[1]["blockHash"]}) == [logs[1]]
    assert wire("eth_getLogs", {}) == [logs[2]]
    assert wire("eth_getLogs", {"fromBlock": "0x0", "toBlock": "pending", "address": None, "topics": None}) == logs
    assert wire.error("eth_getLogs", {"blockHash": "0x" + "00" * 32})["message"] == "unknown block"


def test_fees(wire: Wire) -> None:
    sender, other = wire("eth_accounts")[:2]
    for _ in range(3):
        wire("eth_sendTransaction", {"from": sender, "to": other})
    history = wire("eth_feeHistory", "0x2", "latest", [25, 75])
    assert history["oldestBlock"] == "0x2"
    assert len(history["baseFeePerGas"]) == 3
    assert history["gasUsedRatio"] == [21_000 / 30_000_000] * 2
    assert len(history["reward"]) == 2
    assert history["baseFeePerGas"][2] == wire("eth_getBlockByNumber", "pending", False)["baseFeePerGas"]
    assert len(wire("eth_feeHistory", 10, "0x1", [])["baseFeePerGas"]) == 3
    assert int(wire("eth_gasPrice"), 16) > int(wire("eth_maxPriorityFeePerGas"), 16) > 0


def test_time_is_what_was_asked_for(wire: Wire) -> None:
    def latest() -> int:
        return int(wire("eth_getBlockByNumber", "latest", False)["timestamp"], 16)

    start = latest()
    wire("evm_increaseTime", 100)
    wire("evm_mine")
    assert latest() == start + 101
    wire("evm_setNextBlockTimestamp", hex(start + 500))
    wire("evm_mine")
    assert latest() == start + 500
    wire("evm_mine", {"timestamp": start + 600})
    assert latest() == start + 600
    wire("evm_mine", hex(start + 700))
    assert latest() == start + 700
    wire("evm_mine")
    assert latest() == start + 701
    assert "not after" in wire.error("evm_setNextBlockTimestamp", start)["message"]


def test_batches_and_bad_bodies(wire: Wire) -> None:
    request = {"jsonrpc": "2.0", "id": 1, "method": "eth_chainId"}
    answers = wire.post(json.dumps([request, request | {"id": 2, "method": "x"}, 5]).encode())
    assert [answer["id"] for answer in answers] == [1, 2, None]
    assert answers[0]["result"] == "0x7a69"
    assert [answer["error"]["code"] for answer in answers[1:]] == [-32601, -32600]
    for body, code in ((b"{", -32700), (b"[]", -32600), (b"5", -32600), (b'{"method":5}', -32600), (b"\xff", -32700)):
        assert wire.post(body)["error"]["code"] == code
    assert wire.post(b'{"id":1,"method":"eth_chainId","params":{"a":1}}')["error"]["code"] == -32602
    # The connection is still good.
    assert wire("eth_chainId") == "0x7a69"


def test_a_body_without_end_is_not_waited_for(devnet: Devnet) -> None:
    for length, status in (("999999999", 413), ("many", 411), ("-1", 411)):
        connection = http.client.HTTPConnection(devnet.url.removeprefix("http://"), timeout=20)
        connection.putrequest("POST", "/")
        connection.putheader("Content-Length", length)
        connection.endheaders()
        assert connection.getresponse().status == status
        connection.close()


def test_a_page_in_a_browser_may_ask(devnet: Devnet) -> None:
    connection = http.client.HTTPConnection(devnet.url.removeprefix("http://"), timeout=20)
    connection.request("OPTIONS", "/")
    response = connection.getresponse()
    assert response.status == 204
    assert response.getheader("Access-Control-Allow-Origin") == "*"
    connection.close()


# The journal


def photograph(url: str) -> list[Any]:
    """Every block, transaction and receipt, the balances, and the time."""
    with connect(url) as chain:
        count = chain.block_number() + 1
        blocks = [chain.request("eth_getBlockByNumber", hex(number), True) for number in range(count)]
        receipts = [chain.request("eth_getBlockReceipts", hex(number)) for number in range(count)]
        balances = [chain.balance(address) for address in chain.request("eth_accounts")]
        return [blocks, receipts, balances, chain.time()]


def live(url: str, accounts: Accounts) -> bytes:
    """A little of everything; returns a claim's id."""
    with connect(url) as chain:
        client = OpmlClient(chain, ensure_dev_contract(chain))
        claim = post_claim(client, accounts[0])
        chain.advance(50)
        client.challenge(claim, 1, accounts[1])
        with pytest.raises(ChainError):
            # Mined as failed: the journal keeps those as well.
            chain.transact(accounts[0], client.address, b"\x00\x00\x00\x00", gas=100_000)
        chain.request("evm_setNextBlockTimestamp", chain.time() + 1000)
        return claim


def test_a_restart_gives_the_same_chain(tmp_path: Path, accounts: Accounts) -> None:
    with background(tmp_path, clock=frozen_clock) as devnet:
        claim = live(devnet.url, accounts)
        before = photograph(devnet.url)
    for _ in range(2):
        with background(tmp_path, clock=frozen_clock) as devnet:
            assert photograph(devnet.url) == before
    with background(tmp_path, clock=frozen_clock) as devnet, connect(devnet.url) as chain:
        client = OpmlClient(chain, ensure_dev_contract(chain))
        assert client.claim_view(claim).open_games == 1
        chain.transact(accounts[2], accounts[3].address, value=1)
        assert chain.block_number() == len(before[0])


SERVE = """
import sys
from pathlib import Path
from opml.chain.devnet import serve
serve(Path(sys.argv[1]), 0, on_ready=lambda devnet: print(devnet.url, flush=True))
"""


def start(folder: Path) -> tuple[subprocess.Popen[str], str]:
    process = subprocess.Popen([sys.executable, "-c", SERVE, str(folder)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, process.stdout.readline().strip()


def test_a_kill_loses_nothing_that_was_confirmed(tmp_path: Path, accounts: Accounts) -> None:
    confirmed: list[bytes] = []
    process, url = start(tmp_path)

    def send() -> None:
        with RpcChain(url, patience=0) as chain, contextlib.suppress(ChainError):
            while True:
                confirmed.append(chain.transact(accounts[2], accounts[3].address, value=1).tx_hash)

    with process:
        try:
            live(url, accounts)
            before = photograph(url)
            thread = threading.Thread(target=send)
            thread.start()
            while len(confirmed) < 10 and thread.is_alive():
                time.sleep(0.001)
        finally:
            process.send_signal(signal.SIGKILL)
    thread.join()
    assert len(confirmed) >= 10
    process, url = start(tmp_path)
    with process:
        try:
            blocks, receipts, *_ = photograph(url)
        finally:
            process.send_signal(signal.SIGINT)
    count = len(before[0])
    assert (blocks[:count], receipts[:count]) == (before[0], before[1])
    hashes = [receipt["transactionHash"] for block in receipts[count:] for receipt in block]
    assert hashes[: len(confirmed)] == ["0x" + tx_hash.hex() for tx_hash in confirmed]
    # At most the one that was mined but not answered.
    assert len(hashes) - len(confirmed) in (0, 1)


@pytest.mark.parametrize("cut", [1, 20, 150])
def test_a_line_cut_off_is_dropped(tmp_path: Path, accounts: Accounts, cut: int) -> None:
    journal = tmp_path / "chain.jsonl"
    with background(tmp_path, clock=frozen_clock) as devnet, connect(devnet.url) as chain:
        for value in (1, 2):
            chain.transact(accounts[0], accounts[1].address, value=value)
    whole = journal.read_bytes()
    journal.write_bytes(whole[:-cut])
    with background(tmp_path, clock=frozen_clock) as devnet, connect(devnet.url) as chain:
        assert chain.block_number() == 1
        chain.transact(accounts[0], accounts[1].address, value=2)
    assert journal.read_bytes() == whole


def test_a_changed_journal_is_refused(tmp_path: Path, accounts: Accounts) -> None:
    journal = tmp_path / "chain.jsonl"
    with background(tmp_path, clock=frozen_clock) as devnet, connect(devnet.url) as chain:
        for value in (1, 2):
            chain.transact(accounts[0], accounts[1].address, value=value)
    lines = journal.read_text().splitlines(keepends=True)
    block = json.loads(lines[1])
    damaged = [
        [lines[0], json.dumps(block | {"time": block["time"] + 1}) + "\n", lines[2]],
        [lines[0], lines[2]],
        [lines[0], lines[1], lines[1]],
        [lines[0], json.dumps(block | {"raw": ["0x1234"]}) + "\n"],
        [lines[0], "{}\n"],
        [lines[0], "not json\n", lines[1]],
        ["{}\n", lines[1]],
        ["[]\n", lines[1]],
        [json.dumps(json.loads(lines[0]) | {"balances": []}) + "\n"],
        [json.dumps(json.loads(lines[0]) | {"time": -1}) + "\n"],
        [lines[0], json.dumps({"offset": "soon"}) + "\n"],
        [lines[0], json.dumps(block | {"time": block["time"] + 0.5}) + "\n"],
    ]
    for version in damaged:
        journal.write_text("".join(version))
        with pytest.raises(ChainError) as caught, background(tmp_path):
            pass
        assert str(journal) in caught.value.message
    # A refusal lets go of the file.
    journal.write_text("".join(lines))
    with background(tmp_path):
        pass


def test_a_folder_has_one_devnet(tmp_path: Path) -> None:
    with background(tmp_path), pytest.raises(ChainError, match="another devnet"), background(tmp_path):
        pass


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ChainError, match="cannot write"), background(file):
        pass


def test_a_port_in_use(tmp_path: Path) -> None:
    with background(tmp_path / "one") as devnet:
        port = int(devnet.url.rsplit(":", 1)[1])
        with pytest.raises(ChainError, match="cannot listen") as caught, background(tmp_path / "two", port):
            pass
        assert caught.value.hint == "choose another port"


def test_after_a_failed_write_nothing_is_confirmed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    journal = Journal(tmp_path / "chain.jsonl")
    journal.append({"a": 1})
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", lambda _: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(NodeError, match="No space left"):
            journal.append({"a": 2})
    with pytest.raises(NodeError, match="restart"):
        journal.append({"a": 3})
    journal.close()
