"""The log over runs: appended to by anybody, whole or not at all; whatever is changed or cut is found."""

import fcntl
import resource
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from receipt_models import infer, lying, resealed, small

from opml.errors import EvidenceError, InputError, OpmlError, ReceiptError
from opml.evidence.check import check_order, check_receipt
from opml.evidence.log import LINE_MAX, check_log, last_tree, open_log
from opml.evidence.receipt import Receipt, to_hex
from opml.evidence.tree import LogTree

RUNS = 4
LINES = 1 + len(small().image.program.nodes)


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, list[Receipt]]:
    """A log of several runs, and their receipts."""
    path = tmp_path_factory.mktemp("log") / "runs.log"
    receipts = [infer(seed).receipt(log=path) for seed in range(RUNS)]
    return path.read_bytes(), receipts


def error_of(path: Path, data: bytes, receipts: list[Receipt]) -> EvidenceError:
    path.write_bytes(data)
    with pytest.raises(EvidenceError) as caught:
        check_log(path, receipts)
    return caught.value


def test_a_log_holds_what_its_receipts_say(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    data, receipts = log
    path = tmp_path / "log"
    path.write_bytes(data)
    assert data.count(b"\n") == RUNS * LINES
    for some in ([], receipts[:1], receipts[::-1], receipts):
        assert check_log(path, some) == RUNS * LINES
    steps: list[int] = []
    check_log(path, progress=steps.append)
    assert (len(steps), steps[-1]) == (RUNS, len(data))
    whole = LogTree()
    whole.extend(data.splitlines())
    assert (last_tree(path).root, to_hex(whole.root)) == (whole.root, receipts[-1].log.root)
    assert [receipt.log.size for receipt in receipts] == [LINES * (run + 1) for run in range(RUNS)]
    assert data.splitlines()[LINES : 2 * LINES] == receipts[1].entries()


def test_receipts_of_one_log_follow_from_one_another(log: tuple[bytes, list[Receipt]]) -> None:
    _, receipts = log
    check_order(receipts)
    check_order(receipts[2:])
    with pytest.raises(EvidenceError, match=f"{LINES} entries lie between") as caught:
        check_order([receipts[0], receipts[2]])
    assert caught.value.hint is not None
    assert "--log" in caught.value.hint


def test_another_past_is_found_out(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    """A prover who writes his log again, with another first run, has receipts that do not meet the old ones."""
    _, receipts = log
    path = tmp_path / "log"
    other = [lying(0, "s", 1).receipt(log=path), *(infer(seed).receipt(log=path) for seed in range(1, RUNS))]
    for receipt in other:
        check_receipt(receipt)
    check_order(other)
    for run in range(1, RUNS):
        with pytest.raises(EvidenceError, match="not of one log") as caught:
            check_order([receipts[run - 1], other[run]])
        assert caught.value.where == "consistency"
        with pytest.raises(EvidenceError):
            check_log(path, [receipts[run]])
        assert check_log(path, [other[run]])
    with pytest.raises(EvidenceError, match="is not what the receipt says") as caught:
        check_log(path, [receipts[0]])
    assert caught.value.where == "line 2"
    with pytest.raises(EvidenceError, match="not of one log"):
        check_order([receipts[1], receipts[1]])
    with pytest.raises(EvidenceError, match="not of one log"):
        check_order([receipts[2], receipts[1]])


def test_every_byte_of_the_log_counts(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    """With receipts of all its runs the very line is named."""
    data, receipts = log
    line = 1
    for place in range(0, len(data), 3):
        changed = bytearray(data)
        changed[place] ^= 1 << place % 8
        line = data[:place].count(b"\n") + 1
        found = error_of(tmp_path / "log", bytes(changed), receipts)
        assert found.where == f"line {line}", place
    assert line == RUNS * LINES


@given(st.integers(0), st.integers(0, 7))
@settings(max_examples=200)
def test_without_their_receipts_all_runs_but_the_last_are_safe(
    log: tuple[bytes, list[Receipt]], tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    data, receipts = log
    last = len(b"".join(data.splitlines(keepends=True)[-LINES:]))
    changed = bytearray(data)
    changed[place % (len(data) - last)] ^= 1 << bit
    error_of(tmp_path_factory.getbasetemp() / "changed.log", bytes(changed), [])
    changed = bytearray(data)
    changed[len(data) - 1 - place % last] ^= 1 << bit
    error_of(tmp_path_factory.getbasetemp() / "changed.log", bytes(changed), receipts[-1:])


@pytest.mark.parametrize("lines", range(RUNS * LINES))
def test_a_cut_log_is_found_out(log: tuple[bytes, list[Receipt]], tmp_path: Path, lines: int) -> None:
    data, receipts = log
    short = b"".join(data.splitlines(keepends=True)[:lines])
    assert error_of(tmp_path / "log", short, receipts[-1:]).where == "log"
    if lines % LINES:
        with pytest.raises(ReceiptError, match="has not its 5 lines"):
            check_log(tmp_path / "log")
        with pytest.raises(ReceiptError, match="has not its"):
            infer(9).receipt(log=tmp_path / "log")
        assert (tmp_path / "log").read_bytes() == short, "nothing is appended to a broken log"
    elif lines:
        # Cut between runs, nobody sees it but who has a receipt.
        assert check_log(tmp_path / "log", [r for r in receipts if r.log.size <= lines]) == lines


def test_lines_taken_away_put_in_or_exchanged_are_found(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    data, receipts = log
    lines = data.splitlines(keepends=True)
    for a in range(len(lines) - LINES):
        without = lines[:a] + lines[a + 1 :]
        twice = lines[: a + 1] + lines[a:]
        exchanged = [*lines[:a], lines[a + 1], lines[a], *lines[a + 2 :]]
        for other in (without, twice, exchanged):
            error_of(tmp_path / "log", b"".join(other), [])
    runs = [lines[i * LINES : (i + 1) * LINES] for i in range(RUNS)]
    for other in ([*runs[:1], *runs[2:]], [runs[1], runs[0], *runs[2:]], [runs[0], runs[0], *runs[1:]], runs[1:]):
        error_of(tmp_path / "log", b"".join(line for run in other for line in run), [])
    assert receipts


@pytest.mark.parametrize(
    "tail",
    [
        b"\n",
        b"x",
        b"x\n",
        b"{}\n",
        b"\x00" * 9,
        b'{"before":',
        b'{"before":{}}\n',
        b"[" * 99_999 + b"\n",
        b"y" * LINE_MAX,
    ],
    ids=range(9),
)
def test_no_log_is_read_as_one(log: tuple[bytes, list[Receipt]], tmp_path: Path, tail: bytes) -> None:
    for start in (b"", log[0]):
        found = error_of(tmp_path / "log", start + tail, [])
        assert found.exit_status == 9
        assert len(found.message) < 400
        with pytest.raises(ReceiptError):
            infer(0).receipt(log=tmp_path / "log")


def test_peaks_that_are_too_few_are_no_crash(tmp_path: Path) -> None:
    """The last run of a hostile log may say anything of what was before it."""
    line = infer(0).receipt().entries()[0].replace(b'"size":0', b'"size":5').replace(b'"nodes":4', b'"nodes":1')
    (tmp_path / "log").write_bytes(line + b"\n{}\n")
    with pytest.raises(EvidenceError, match="has not 0 peaks"):
        infer(0).receipt(log=tmp_path / "log")


def test_a_log_that_cannot_be_used(tmp_path: Path) -> None:
    for path in (tmp_path, tmp_path / "no" / "log"):
        with pytest.raises(InputError, match="cannot be used"):
            infer(0).receipt(log=path)
        with pytest.raises(InputError, match="cannot be used"):
            check_log(path)


def test_a_full_disk_leaves_the_log_as_it_was(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    """The limit is met in the middle of a run: what was written of it is taken back."""
    path = tmp_path / "log"
    path.write_bytes(log[0])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(log[0]) + 100, limits[1]))
    try:
        with pytest.raises(InputError, match="File too large"):
            infer(0).receipt(log=path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == log[0]
    assert infer(0).receipt(log=path).log.size == (RUNS + 1) * LINES


def test_runs_of_several_processes_follow_one_another(tmp_path: Path) -> None:
    code = (
        "import sys; sys.path.insert(0, sys.argv[2]); from receipt_models import infer\n"
        "for seed in range(5): infer(seed).receipt(log=sys.argv[1])"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log"), str(Path(__file__).parent)]
    for process in [subprocess.Popen(command) for _ in range(3)]:
        assert process.wait() == 0
    assert check_log(tmp_path / "log") == 3 * 5 * LINES


def test_nobody_appends_while_the_log_is_held(tmp_path: Path) -> None:
    """The entries are made under the lock, so that what they say of the log before them is true."""
    path = tmp_path / "log"
    with open_log(path) as opened:
        with path.open("rb") as other, pytest.raises(BlockingIOError):
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        opened.append(infer(0).receipt().entries())
    assert opened.tree.size == LINES == check_log(path)


def test_a_receipt_that_ends_within_a_run_is_of_no_log(log: tuple[bytes, list[Receipt]], tmp_path: Path) -> None:
    data, receipts = log
    (tmp_path / "log").write_bytes(data)
    forged = resealed(receipts[0], log__size=LINES + 2)
    with pytest.raises(EvidenceError, match="are not the receipt's log"):
        check_log(tmp_path / "log", [forged])
    assert issubclass(EvidenceError, OpmlError)
