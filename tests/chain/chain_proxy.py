"""An HTTP proxy in front of a node that does to its clients what networks and providers do."""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

# Methods with a block parameter, and where it is.
_BLOCKS = {
    "eth_getBlockByNumber": 0,
    "eth_getBalance": 1,
    "eth_getTransactionCount": 1,
    "eth_getCode": 1,
    "eth_call": 1,
    "eth_feeHistory": 1,
}


@dataclass
class Hostility:
    """How often (0 to 1) what goes wrong. `hidden`: how often a receipt is asked for in vain. `lag`: blocks."""

    delay: float = 0
    cut_before: float = 0
    cut_after: float = 0
    error_before: float = 0
    error_after: float = 0
    garbage: float = 0
    reorder: float = 0
    hidden: int = 0
    lag: int = 0
    lagging: float = 0
    seed: int = 0
    dead: bool = False


HOSTILITIES = {
    "slow": Hostility(delay=0.5),
    "requests get lost": Hostility(cut_before=0.25),
    "answers get lost": Hostility(cut_after=0.25),
    "busy": Hostility(error_before=0.2),
    "failing after the fact": Hostility(error_after=0.25),
    "garbage": Hostility(garbage=0.25),
    "out of order": Hostility(reorder=0.5),
    "late receipts": Hostility(hidden=4),
    "a lagging backend": Hostility(lag=2, lagging=0.5),
    "all of it": Hostility(0.2, 0.06, 0.06, 0.06, 0.06, 0.04, 0.1, 2, 1, 0.1),
}


@dataclass
class Proxy:
    """The running proxy: its `url`, what it has done (`done`), and how it behaves (`how`), which may be changed."""

    url: str
    how: Hostility
    done: Counter[str] = field(default_factory=Counter)


class _Cut(Exception):
    """The connection ends here."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    server: "_Server"

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        try:
            status, answer = self.server.handle(body)
        except _Cut:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        self.send_response(status)
        if status == 429:
            self.send_header("Retry-After", "0")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)
        self.wfile.flush()

    def log_message(self, *_: Any) -> None:
        pass


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, upstream: str, how: Hostility) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.upstream = upstream
        self.proxy = Proxy(f"http://127.0.0.1:{self.server_address[1]}", how)
        self.asked: Counter[str] = Counter()
        self.held: list[dict[str, Any]] = []
        self.chance = random.Random(how.seed)
        self.lock = threading.Lock()
        self.session = requests.Session()
        self.session.trust_env = False

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass

    def handle(self, body: dict[str, Any]) -> tuple[int, bytes]:
        with self.lock:
            how = self.proxy.how
            if how.dead or self._happens("cut before", how.cut_before):
                raise _Cut
            if self._happens("error before", how.error_before):
                return self.chance.choice([429, 500, 502, 503]), b"busy"
            if self._happens("delay", how.delay):
                time.sleep(self.chance.random() / 100)
            if self._happens("garbage", how.garbage):
                return 200, b"<html>maintenance</html>"
            answer = self._answer(body, how)
            if self._happens("cut after", how.cut_after):
                raise _Cut
            if self._happens("error after", how.error_after):
                return 504, b"gateway timeout"
            return 200, answer

    def _happens(self, what: str, probability: float) -> bool:
        happens = self.chance.random() < probability
        self.proxy.done[what] += happens
        return happens

    def _answer(self, body: dict[str, Any], how: Hostility) -> bytes:
        method, params = body["method"], body.get("params") or []
        if method == "eth_getTransactionReceipt":
            self.asked[params[0]] += 1
            if self.asked[params[0]] <= how.hidden:
                self.proxy.done["hidden receipt"] += 1
                return json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": None}).encode()
        if method == "eth_sendRawTransaction" and self._happens("reorder", how.reorder):
            # Answered at once, handed on after the next one.
            from eth_utils.crypto import keccak

            self.held.append(body)
            tx_hash = "0x" + keccak(bytes.fromhex(params[0][2:])).hex()
            return json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": tx_hash}).encode()
        if how.lag and self._happens("lag", how.lagging):
            body = self._older(body, method, params, how.lag)
        answer = self._forward(body)
        if method == "eth_blockNumber" and how.lag and self._happens("lag", how.lagging):
            number = max(0, int(json.loads(answer)["result"], 16) - how.lag)
            answer = json.dumps({"jsonrpc": "2.0", "id": body["id"], "result": hex(number)}).encode()
        if method == "eth_sendRawTransaction":
            while self.held:
                self._forward(self.held.pop())
        return answer

    def _older(self, body: dict[str, Any], method: str, params: list[Any], lag: int) -> dict[str, Any]:
        """The same question about an older block."""
        place = _BLOCKS.get(method)
        if place is None or len(params) <= place or params[place] not in ("latest", "pending"):
            return body
        head = json.loads(self._forward({"jsonrpc": "2.0", "id": 0, "method": "eth_blockNumber", "params": []}))
        older = hex(max(0, int(head["result"], 16) - lag))
        return body | {"params": [*params[:place], older, *params[place + 1 :]]}

    def _forward(self, body: dict[str, Any]) -> bytes:
        return self.session.post(self.upstream, json=body, timeout=30).content


@contextmanager
def hostile(upstream: str, how: Hostility) -> Iterator[Proxy]:
    """A proxy in front of the node at `upstream`."""
    server = _Server(upstream, how)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield server.proxy
    finally:
        server.shutdown()
        server.server_close()
        server.session.close()
        thread.join()
