"""A development chain over JSON-RPC on 127.0.0.1, for several processes to meet on. Its state survives being killed."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

from opml.chain.accounts import dev_accounts
from opml.chain.journal import Journal, restore
from opml.chain.jsonrpc import PARSE_ERROR, EthApi
from opml.chain.records import Clock, wall_clock
from opml.errors import ChainError

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8545
MAX_BODY: Final = 32 << 20


class _Handler(BaseHTTPRequestHandler):
    """One connection: POSTs of single requests or batches."""

    protocol_version = "HTTP/1.1"
    # Small answers must not wait for the client's acknowledgement (40 ms a call otherwise), nor leave in pieces.
    disable_nagle_algorithm = True
    wbufsize = -1
    timeout = 120
    server: "_Server"

    def do_POST(self) -> None:
        try:
            size = int(self.headers.get("Content-Length", ""))
        except ValueError:
            size = -1
        if not 0 <= size <= MAX_BODY:
            self.close_connection = True
            self._send(413 if size > MAX_BODY else 411, b"")
            return
        body = self.rfile.read(size)
        try:
            content = json.loads(body)
        except (ValueError, RecursionError):
            answer: Any = {"jsonrpc": "2.0", "id": None, "error": {"code": PARSE_ERROR, "message": "parse error"}}
        else:
            api = self.server.api
            batch = isinstance(content, list) and content
            answer = [api.answer(item) for item in content] if batch else api.answer(content)
        self._send(200, json.dumps(answer, separators=(",", ":")).encode())

    def do_OPTIONS(self) -> None:
        self._send(204, b"")

    def do_GET(self) -> None:
        self._send(200, b'"opml devnet: POST JSON-RPC here"')

    def _send(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        # Pages served from anywhere may use it: there is nothing of worth on a development chain.
        self.send_header("Access-Control-Allow-Origin", "*")
        self.send_header("Access-Control-Allow-Headers", "Content-Type")
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()

    def log_message(self, format: str, *args: Any) -> None:
        """Silent: only the command line prints."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    request_queue_size = 64

    def __init__(self, port: int, api: EthApi) -> None:
        self.api = api
        super().__init__((HOST, port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away in the middle is not an error."""


class Devnet:
    """A running devnet: `url`, and `close()`."""

    def __init__(self, data_dir: Path, port: int = DEFAULT_PORT, *, clock: Clock = wall_clock) -> None:
        """Restores the chain in `data_dir` (begins one if there is none) and listens; port 0 takes any free one.

        Raises ChainError where the port is taken, or the folder cannot be used.
        """
        self._journal = Journal(Path(data_dir) / "chain.jsonl")
        try:
            accounts = dev_accounts()
            self.api = EthApi(restore(self._journal, [account.address for account in accounts], clock=clock), accounts)
            self._server = _Server(port, self.api)
        except OSError as error:
            self._journal.close()
            raise ChainError(f"cannot listen on {HOST}:{port}: {error.strerror}", "choose another port") from error
        except BaseException:
            self._journal.close()
            raise

    @property
    def url(self) -> str:
        """Where it answers."""
        return f"http://{HOST}:{self._server.server_address[1]}"

    def run(self) -> None:
        """Serves until another thread calls `close`."""
        self._server.serve_forever(poll_interval=0.05)

    def close(self) -> None:
        """Stops serving. The chain is on disk at every moment; nothing has to be saved."""
        self._server.shutdown()
        self._server.server_close()
        self._journal.close()


def serve(data_dir: Path, port: int = DEFAULT_PORT, on_ready: Callable[[Devnet], None] = lambda _: None) -> None:
    """Serves a devnet until it is interrupted (KeyboardInterrupt goes through); calls `on_ready` once it answers."""
    with background(data_dir, port) as devnet:
        on_ready(devnet)
        threading.Event().wait()


@contextmanager
def background(data_dir: Path, port: int = 0, *, clock: Clock = wall_clock) -> Iterator[Devnet]:
    """A devnet on a thread of this process, for as long as the block lasts."""
    devnet = Devnet(data_dir, port, clock=clock)
    thread = threading.Thread(target=devnet.run, name="opml-devnet", daemon=True)
    thread.start()
    try:
        yield devnet
    finally:
        devnet.close()
        thread.join()
