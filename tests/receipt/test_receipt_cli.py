"""`--receipt` and `opml audit` as a user calls them, the page about receipts, and what is imported only for them."""

import importlib
import json
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from receipt_models import EXAMPLES, inputs, lying, onnx_bytes, small

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import ensure_dev_contract
from opml.chain.devnet import background
from opml.cli import main
from opml.errors import InputError
from opml.evidence.receipt import Receipt, read_receipt

ROOT = Path(__file__).parents[2]
MODEL, DIGITS = str(EXAMPLES / "mlp.onnx"), f"{EXAMPLES / 'digits.npz'}:images"
KEY = "0x" + bytes(dev_accounts()[0].key).hex()


@pytest.fixture(autouse=True)
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def opml(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"OPML_KEY": KEY})


def answer(*arguments: str) -> Any:
    result = opml(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*arguments: str) -> dict[str, Any]:
    """The error, which is the same in words."""
    result = opml(*arguments, "--json")
    error: dict[str, Any] = json.loads(result.stdout)["error"]
    words = opml(*arguments)
    assert words.exit_code == result.exit_code != 0
    assert f"error[{error['code']}]: {error['message']}" in words.stderr
    return error | {"status": result.exit_code}


def run(number: int, file: str, *more: str) -> Any:
    return answer("run", MODEL, "-i", f"{DIGITS}:{number}", "--receipt", file, *more)


def test_the_page_about_receipts(tmp_path: Path) -> None:
    """Its commands in their order, with what they are said to end with."""
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    page = (ROOT / "docs" / "receipts.md").read_text()
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    failures = 0
    for line in "".join(blocks).splitlines():
        line, _, error = line.partition("   # ")
        command, *arguments = shlex.split(line)
        if command != "opml":
            assert command in ("sed", "mv")
            subprocess.run([command, *arguments], check=True)
            continue
        result = opml(*arguments)
        assert result.exit_code == (9 if error else 0), (line, result.output)
        assert error in result.stderr
        failures += bool(error)
    assert failures == 1
    exec(re.findall(r"```python\n(.*?)```", page, re.DOTALL)[0], {"opml": importlib.import_module("opml")})
    assert {path.name for path in tmp_path.glob("*.json")} == {"first.json", "second.json", "third.json"}


def test_a_run_with_a_receipt_is_a_run() -> None:
    with_receipt = run(3, "r.json")
    assert with_receipt["outputs"] == answer("run", MODEL, "-i", f"{DIGITS}:3")["outputs"]
    assert with_receipt["receipt"] == read_receipt("r.json").digest == answer("audit", "r.json")["digest"]
    assert "receipt" not in answer("run", MODEL, "-i", f"{DIGITS}:3")


def test_audit_in_words_and_for_programs() -> None:
    run(3, "r.json", "--tensors", "t")
    words = opml("audit", "r.json", "-m", MODEL, "--node", "logits", "--node", "#0", "--tensors", "t").stdout
    assert "holds: matmul" in words
    assert "its inputs from the folder of tensors" in words
    body = answer("audit", "r.json", "-m", MODEL, "--all")
    assert len(body["audits"]) == len(body["nodes"]) > 3
    assert all(audit["holds"] for audit in body["audits"])
    assert {audit["inputs"] for audit in body["audits"]} == {"none", "native"}
    only = answer("audit", "r.json", "-m", MODEL)
    assert (only["audits"], only["held"][-1]) == ([], "the nodes are the model's")
    large = answer("audit", "r.json", "-m", MODEL, "--node", "#0", "-i", f"{DIGITS}:3")
    assert large["audits"][0]["holds"]


def test_a_liar_is_named(tmp_path: Path) -> None:
    (tmp_path / "small.onnx").write_bytes(onnx_bytes())
    lying(1, "s", 40).receipt(tensors="t").save("r.json")
    assert answer("audit", "r.json")["audits"] == []
    for more in (("--tensors", "t"), ()):
        result = opml("audit", "r.json", "-m", "small.onnx", "--all", "--json", *more)
        body = json.loads(result.stdout)
        assert result.exit_code == 9
        assert (body["error"]["code"], body["error"]["where"]) == ("evidence", "node sum")
        assert next(audit["name"] for audit in body["audits"] if audit["problem"]) == "sum"
        assert body["audits"][0]["first_tile"] == (1 if more else None)
    words = opml("audit", "r.json", "-m", "small.onnx", "--node", "sum", "--tensors", "t")
    assert words.exit_code == 9
    assert "FAILS: add sum" in words.stdout
    assert "first in tile 1" in words.stderr
    assert answer("audit", "r.json", "-m", "small.onnx", "--node", "shift", "--tensors", "t")["audits"][0]["holds"]


def test_what_cannot_be_audited_is_named(tmp_path: Path) -> None:
    run(3, "a.json", "--log", "log")
    run(4, "b.json", "--log", "log")
    run(5, "c.json", "--log", "log")
    for alone in (("--all",), ("--node", "#0"), ("--tensors", "t"), ("-i", f"{DIGITS}:3"), ("--dim", "n=1")):
        assert refusal("audit", "a.json", *alone)["code"] == "bad-input"
    assert refusal("audit", "a.json", "-m", MODEL, "--node", "none")["code"] == "bad-input"
    for wrong in (
        ("none.json",),
        ("a.json", "--log", "none"),
        ("c.json", "--since", "none.json"),
        ("a.json", "-m", MODEL, "--all", "--tensors", "none"),
        ("a.json", "-m", MODEL, "--all", "--tensors", str(tmp_path)),
    ):
        error = refusal("audit", *wrong)
        assert (error["code"], error["status"]) == ("bad-input", 2), wrong
        assert "FAILS" not in opml("audit", *wrong).output
    assert refusal("audit", MODEL)["code"] == "bad-receipt"
    assert refusal("audit", "a.json", "-m", str(EXAMPLES / "cnn.onnx"))["where"] == "model"
    assert refusal("audit", "a.json", "--since", "b.json")["code"] == "bad-input"
    assert refusal("audit", "c.json", "--since", "a.json")["where"] == "consistency"
    assert refusal("audit", "a.json", "--rpc", "http://127.0.0.1:9")["code"] == "bad-input"
    assert answer("audit", "c.json", "--since", "a.json", "--since", "b.json")["log"]["from"] > 0
    assert answer("audit", "c.json", "--since", "a.json", "--log", "log")
    assert answer("audit", "a.json", "--log", "log"), "the log may have gone on"
    broken = Path("b.json").read_bytes().replace(b'"size":', b'"size": ', 1)
    Path("broken.json").write_bytes(broken)
    error = refusal("audit", "c.json", "--since", "broken.json")
    assert (error["code"], error["status"], error["where"]) == ("bad-receipt", 9, "file")
    changed = Path("b.json").read_bytes().replace(b'"op":"relu"', b'"op":"tanh"', 1)
    Path("changed.json").write_bytes(changed)
    error = refusal("audit", "c.json", "--since", "changed.json")
    assert (error["code"], error["where"]) == ("evidence", "digest")
    assert "changed.json" in error["message"]
    Path("log").write_bytes(b"".join(Path("log").read_bytes().splitlines(keepends=True)[:-1]))
    assert refusal("audit", "a.json", "--log", "log")["code"] == "bad-receipt"


def test_a_receipt_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path) -> None:
    arguments = ("run", MODEL, "-i", f"{DIGITS}:3")
    run(3, "a.json", "--log", "log")
    before = Path("a.json").read_bytes()
    assert refusal(*arguments, "--receipt", "a.json")["code"] == "bad-input"
    assert Path("a.json").read_bytes() == before
    for more in (
        ("--log", "log"),
        ("--tensors", "t"),
        ("--receipt", "no/folder.json"),
        ("--receipt", "b.json", "--log", "no/log"),
        ("--receipt", "b.json", "--log", str(tmp_path)),
        ("--receipt", "b.json", "--tensors", "a.json"),
    ):
        assert refusal(*arguments, *more)["code"] == "bad-input", more
    # Where not even root can make a file.
    assert refusal(*arguments, "--receipt", "/proc/receipt.json")["status"] == 2
    with Path("log").open("a") as file:
        file.write("{")
    assert refusal(*arguments, "--receipt", "b.json", "--log", "log")["code"] == "bad-receipt"
    assert refusal("prove", MODEL, "-i", f"{DIGITS}:3", "--receipt", "b.json", "--log", "log")["status"] == 9
    assert not Path("b.json").exists()


def test_a_claims_receipt_and_what_the_chain_says_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with background(tmp_path / "chain") as devnet:
        chain = connect(devnet.url)
        ensure_dev_contract(chain)
        rpc = ("--rpc", devnet.url)
        body = answer("prove", MODEL, "-i", f"{DIGITS}:3", *rpc, "--detach", "--receipt", "claim.json")
        receipt = read_receipt("claim.json")
        assert receipt.claim is not None
        assert (receipt.claim.claim_id, receipt.digest) == (body["claim_id"], body["receipt"])
        assert answer("audit", "claim.json", *rpc)["claim_status"] == "pending"
        chain.advance(86401)
        # The same receipt, by who comes later: the chain has all that is in it.
        again = answer("prove", MODEL, "--claim", body["claim_id"], *rpc, "--receipt", "again.json")
        assert again["receipt"] == body["receipt"]
        assert Path("again.json").read_bytes() == Path("claim.json").read_bytes()
        assert answer("audit", "claim.json", *rpc)["claim_status"] == "final"
        assert "final" in opml("audit", "claim.json", *rpc).stdout
        run(3, "run.json")
        assert refusal("audit", "run.json", *rpc)["code"] == "bad-input"

        def refuse(self: Receipt, path: Any) -> None:
            raise InputError("the disk is full")

        monkeypatch.setattr(Receipt, "save", refuse)
        result = opml("prove", MODEL, "-i", f"{DIGITS}:5", *rpc, "--detach", "--receipt", "late.json")
        assert result.exit_code == 0, "a claim that is posted is defended, receipt or none"
        assert "no receipt: the disk is full; --claim 0x" in result.stderr
    with background(tmp_path / "other") as devnet:
        ensure_dev_contract(connect(devnet.url))
        error = refusal("audit", "claim.json", "--rpc", devnet.url)
        assert (error["where"], error["message"]) == ("claim", "the contract knows no claim of the receipt's id")


PROGRAM = """
import json, sys
if {blocked}: sys.modules["pymerkle"] = None
from click.testing import CliRunner
from opml.cli import main
results = []
for arguments in {commands!r}:
    result = CliRunner().invoke(main, arguments)
    results.append([result.exit_code, result.output[-300:]])
loaded = sorted(name for name in sys.modules if name.startswith(("pymerkle", "opml.evidence")) and sys.modules[name])
print(json.dumps([results, loaded]))
"""


def in_a_process(commands: list[list[str]], *, blocked: bool = False) -> tuple[list[Any], list[str]]:
    code = PROGRAM.format(commands=commands, blocked=blocked)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    results, loaded = json.loads(done.stdout.splitlines()[-1])
    return results, loaded


def test_run_and_prove_without_a_receipt_import_nothing_of_it() -> None:
    commands = [["run", MODEL, "-i", f"{DIGITS}:3"], ["prove", MODEL, "-i", f"{DIGITS}:3"]]
    results, loaded = in_a_process(commands)
    assert [status for status, _ in results] == [0, 0], results
    assert loaded == []
    results, loaded = in_a_process([[*commands[0], "--receipt", "r.json"]])
    assert {"pymerkle", "opml.evidence.tree"} <= set(loaded)


def test_a_receipt_is_audited_without_the_library_of_logs() -> None:
    run(3, "r.json")
    arguments = ["audit", "r.json", "-m", MODEL, "--all"]
    results, loaded = in_a_process(
        [arguments, [*arguments, "--log", "log"], ["run", MODEL, "-i", f"{DIGITS}:3", "--receipt", "s.json"]],
        blocked=True,
    )
    assert [status for status, _ in results] == [0, 9, 9], results
    assert all("need pymerkle" in text for _, text in results[1:])
    assert "pymerkle" not in loaded


def test_one_module_imports_pymerkle() -> None:
    importing = [
        path
        for path in (ROOT / "opml").glob("**/*.py")
        if re.search(r"^\s*(import|from) pymerkle", path.read_text(), re.M)
    ]
    assert [path.relative_to(ROOT).as_posix() for path in importing] == ["opml/evidence/tree.py"]
    assert inputs(0).keys() == small().inputs.keys()
