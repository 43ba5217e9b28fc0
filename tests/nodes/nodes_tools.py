"""Other people's nodes and clients, from the npm package in this folder, as separate processes."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
OPML = Path(sys.executable).with_name("opml")
PRAGUE = ("--hardfork", "prague")
# With the limit of EIP-7825, which anvil otherwise leaves to the chains.
OSAKA = ("--hardfork", "osaka", "--enable-tx-gas-limit")


def tool(name: str) -> str:
    """The path of anvil or cast; a test without it fails."""
    path = HERE / "node_modules" / ".bin" / name
    if not path.exists():
        pytest.fail(f"{name} is not there: `make test-nodes` installs it with npm (`npm ci` in tests/nodes)")
    return str(path)


@contextmanager
def process(*command: str, cwd: Path | None = None) -> Iterator[subprocess.Popen[str]]:
    """A process that is ended with the block; its output is to be read."""
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=cwd, start_new_session=True
    ) as running:
        try:
            yield running
        finally:
            os.killpg(running.pid, signal.SIGKILL)


@contextmanager
def anvil(*options: str, port: int = 0) -> Iterator[str]:
    """anvil as a process; gives its URL."""
    with process(tool("anvil"), "--port", str(port), *options) as running:
        assert running.stdout is not None
        for line in running.stdout:
            if line.startswith("Listening on "):
                # Whatever it says from now on has to be read, or it would wait for that.
                threading.Thread(target=running.stdout.read, daemon=True).start()
                yield f"http://{line.split()[-1]}"
                return
        raise AssertionError("anvil has ended")


@contextmanager
def devnet(folder: Path) -> Iterator[dict[str, Any]]:
    """`opml devnet` as a process; gives what it says of itself."""
    with process(str(OPML), "devnet", "--port", "0", "--data", str(folder), "--json") as running:
        assert running.stdout is not None
        yield json.loads(running.stdout.readline())


def node(script: str, *arguments: str) -> Any:
    """What a script of this folder prints as JSON, run by Node.js."""
    if not (HERE / "node_modules" / "ethers").exists():
        pytest.fail("ethers is not there: `make test-nodes` installs it with npm (`npm ci` in tests/nodes)")
    done = subprocess.run(["node", HERE / script, *arguments], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def cast(*arguments: str) -> str:
    """What cast prints."""
    done = subprocess.run([tool("cast"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def cast_refused(*arguments: str) -> str:
    """The complaint with which cast fails."""
    done = subprocess.run([tool("cast"), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode != 0, done.stdout
    return done.stderr
