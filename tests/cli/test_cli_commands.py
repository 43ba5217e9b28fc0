"""The commands as a user calls them: what they print, and how they refuse."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from click.testing import CliRunner, Result
from eth_account import Account
from onnx import TensorProto, helper

from opml.chain import connect
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import dev_contract, ensure_dev_contract
from opml.chain.devnet import background
from opml.challenger import Verdict
from opml.cli import COMMANDS, main
from opml.dispute.game import ClaimStatus, Role

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
MODEL, DIGIT = str(EXAMPLES / "mlp.onnx"), f"{EXAMPLES / 'digits.npz'}:images:4"

KEYS = ["0x" + bytes(account.key).hex() for account in dev_accounts()[:2]]


def opml(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"OPML_KEY": None, **environment})


def answer(*arguments: str) -> Any:
    result = opml(*arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def answer_with_key(*arguments: str) -> Any:
    result = opml(*arguments, "--json", OPML_KEY=KEYS[0])
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


def refusal(*arguments: str, **environment: str) -> tuple[int, str, str]:
    """Exit status, code and message of an error; as JSON and in words they say the same."""
    result = opml(*arguments, "--json", **environment)
    error = json.loads(result.stdout)["error"]
    words = opml(*arguments, **environment)
    assert words.exit_code == result.exit_code
    assert f"error[{error['code']}]: {error['message']}" in words.stderr
    assert "Traceback" not in words.output
    return result.exit_code, error["code"], error["message"]


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    target = tmp_path_factory.mktemp("image") / "mlp.opml"
    answer("compile", MODEL, "-o", str(target))
    return str(target)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples(name: str) -> None:
    text = opml(name, "--help").stdout
    assert "Examples:" in text
    assert f"opml {name}" in text.split("Examples:")[1]


def test_help_lists_every_command() -> None:
    text = opml("--help").stdout
    assert all(f"  {name}" in text for name in COMMANDS)
    assert opml("no-such-command").exit_code == 2


def test_compile_inspect_and_run_agree(image: str) -> None:
    described = answer("inspect", image)
    assert described["model_id"] == answer("inspect", MODEL)["model_id"]
    assert described["header"]["tiles"] == described["tiles"] == sum(node["tiles"] for node in described["nodes"])
    from_image, from_onnx = (answer("run", source, "--input", DIGIT)["outputs"] for source in (image, MODEL))
    assert from_image == from_onnx
    assert int(np.argmax(from_image["logits"])) == 4


def test_the_id_commits_to_the_window_the_clock_and_the_phases(image: str) -> None:
    ids = [
        answer("inspect", MODEL, *options)["model_id"]
        for options in ((), ("--window", "9"), ("--clock", "9"), ("--one-phase",))
    ]
    assert len(set(ids)) == 4
    assert answer("inspect", image, "--window", "9")["model_id"] == ids[0], "an image brings its own"


def test_run_writes_its_outputs(image: str, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"
    outputs = answer("run", image, "--input", f"image={DIGIT}", "-o", str(target))["outputs"]
    with np.load(target) as written:
        assert written["logits"].tolist() == outputs["logits"]


def test_prove_on_an_embedded_chain(image: str) -> None:
    body = answer("prove", image, "--input", DIGIT)
    assert body["status"] == "final"
    assert body["claimed"]["gas"] > 21_000
    assert int(np.argmax(body["outputs"]["logits"])) == 4


@pytest.mark.parametrize(
    "arguments",
    [("inspect", "{image}"), ("run", "{image}", "-i", DIGIT), ("prove", "{image}", "-i", DIGIT)],
)
def test_words_for_people(arguments: tuple[str, ...], image: str) -> None:
    result = opml(*(argument.format(image=image) for argument in arguments))
    assert result.exit_code == 0
    assert result.output.strip()


def test_demo_shows_both_verdicts_in_both_schemes() -> None:
    scenes = answer("demo", "--seed", "3")["scenes"]
    assert [(s["phases"], s["liar"], s["winner"], s["claim"]) for s in scenes] == [
        (2, None, None, "final"),
        (2, "prover", "challenger", "rejected"),
        (2, "challenger", "prover", "final"),
        (1, "prover", "challenger", "rejected"),
        (1, "challenger", "prover", "final"),
    ]
    assert all(scene["profit_wei"][scene["winner"]] > 0 > scene["profit_wei"][scene["liar"]] for scene in scenes[1:])
    assert max(scene["gas"] for scene in scenes) < 1_500_000
    assert max(scene["transactions"] for scene in scenes) <= 24


def test_demo_in_words() -> None:
    text = opml("demo", "--seed", "4").stdout
    assert "challenger wins" in text
    assert "prover wins" in text
    assert "was executed by the EVM" in text


def test_what_is_missing_or_wrong_is_named(image: str, tmp_path: Path) -> None:
    here, float_scan, text = str(tmp_path / "none"), tmp_path / "float.npy", tmp_path / "text.npy"
    (tmp_path / "cut.npz").write_bytes((EXAMPLES / "digits.npz").read_bytes()[:700])
    assert refusal("run", image, "-i", f"{tmp_path / 'cut.npz'}:images:0")[:2] == (2, "bad-input")
    np.save(float_scan, np.full((1, 1, 8, 8), 0.5, np.float32))
    text.write_text("no array")
    assert refusal("run", here, "-i", DIGIT)[:2] == (3, "bad-model")
    assert refusal("run", image)[:2] == (2, "bad-input")
    assert refusal("run", image, "-i", here)[:2] == (2, "bad-input")
    assert refusal("run", image, "-i", str(text))[:2] == (2, "bad-input")
    assert "'other'" in refusal("run", image, "-i", f"other={DIGIT}")[2]
    assert "must be uint8" in refusal("run", image, "-i", str(float_scan))[2]
    assert "labels" in refusal("run", image, "-i", f"{EXAMPLES / 'digits.npz'}:none:0")[2]
    assert "no index 99" in refusal("run", image, "-i", f"{EXAMPLES / 'digits.npz'}:images:99")[2]
    assert refusal("prove", image)[:2] == (2, "bad-input")
    assert refusal("run", image, "-i", DIGIT, "-o", str(tmp_path))[:2] == (2, "bad-input")
    assert refusal("compile", MODEL, "-o", str(tmp_path / "no" / "folder.opml"))[:2] == (4, "bad-image")


def test_corrupt_and_foreign_files_are_refused(image: str, tmp_path: Path) -> None:
    broken, cut, foreign = tmp_path / "broken.onnx", tmp_path / "cut.opml", tmp_path / "foreign.opml"
    broken.write_bytes(b"\x08\x07not a model" * 9)
    cut.write_bytes(Path(image).read_bytes()[:-4096])
    data = bytearray(Path(image).read_bytes())
    data[-5000] ^= 1
    foreign.write_bytes(data)
    assert refusal("inspect", str(broken))[:2] == (3, "bad-model")
    assert refusal("inspect", str(cut))[:2] == (4, "bad-image")
    assert refusal("prove", str(foreign), "-i", DIGIT)[:2] == (4, "bad-image")


def test_the_chain_is_named_when_it_fails(image: str) -> None:
    nowhere = ("--rpc", "http://127.0.0.1:9")
    assert refusal("claims", *nowhere)[:2] == (5, "chain")
    assert refusal("prove", image, "-i", DIGIT, *nowhere)[:2] == (5, "chain")
    assert refusal("challenge", "0x12", "-m", image, *nowhere)[:2] == (2, "bad-input")


def test_a_command_that_needs_the_chain_of_others_says_so(image: str) -> None:
    nothing = "0x" + "00" * 32
    for arguments in (("claims",), ("claims", nothing), ("challenge", nothing, "-m", image)):
        result = opml(*arguments)
        assert result.exit_code == 2
        assert "--rpc" in result.stderr
    for arguments in (("prove", image, "-i", DIGIT, "--detach"), ("prove", image, "--claim", nothing)):
        assert refusal(*arguments)[:2] == (2, "bad-input")


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with background(tmp_path_factory.mktemp("chain")) as devnet:
        ensure_dev_contract(connect(devnet.url))
        yield devnet.url


def test_unknown_claims_are_named(image: str, url: str) -> None:
    nothing = "0x" + "00" * 32
    assert refusal("claims", nothing, "--rpc", url)[:2] == (6, "dispute")
    assert refusal("challenge", nothing, "-m", image, "--rpc", url, OPML_KEY=KEYS[1])[:2] == (6, "dispute")
    assert "no claims at" in opml("claims", "--contract", dev_contract(connect(url)) or "", "--rpc", url).stderr


def test_a_claim_from_the_printed_command_to_its_end(image: str, url: str, tmp_path: Path) -> None:
    """`--detach` prints a command that can be pasted; `claims` says what is left to do, and what is settled."""
    model = tmp_path / "a model.opml"
    model.write_bytes(Path(image).read_bytes())
    words = opml("prove", str(model), "-i", DIGIT, "--rpc", url, "--poll", "0.05", "--detach", OPML_KEY=KEYS[0])
    resume = shlex.split(words.stderr.splitlines()[-1])
    assert resume[:4] == ["opml", "prove", str(model), "--claim"]
    assert resume[5:] == ["--rpc", url, "--poll", "0.05"]
    assert "may be challenged for" in opml("claims", "--rpc", url).stdout
    chain = connect(url)
    chain.advance(86401)
    assert "makes it final" in opml("claims", "--rpc", url).stdout
    done = opml(*resume[1:], OPML_KEY=KEYS[0])
    assert done.exit_code == 0
    assert "the claim is final" in done.stderr
    assert "final for good" in opml("claims", "--rpc", url).stdout


def test_a_failure_is_one_json_object_too(image: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    claim_id = answer_with_key("prove", image, "-i", DIGIT, "--rpc", url, "--detach")["claim_id"]
    monkeypatch.setattr("opml.cli.prove.defend_claim", lambda *_, **__: ClaimStatus.REJECTED)
    lost = Verdict(False, b"g" * 32, Role.PROVER, ClaimStatus.FINAL)
    monkeypatch.setattr("opml.cli.challenge.challenge_claim", lambda *_, **__: lost)
    for arguments in (("prove", image, "--claim", claim_id), ("challenge", claim_id, "-m", image)):
        result = opml(*arguments, "--rpc", url, "--json", OPML_KEY=KEYS[0])
        assert result.exit_code == 6
        body = json.loads(result.stdout)
        assert (body["claim_id"], body["error"]["code"]) == (claim_id, "dispute")
        assert "error[dispute]" in opml(*arguments, "--rpc", url, OPML_KEY=KEYS[0]).stderr


@pytest.mark.parametrize("where", ["defend_claim", "post_claim"])
def test_ctrl_c_says_what_stands(where: str, image: str, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: Any, **__: Any) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(f"opml.cli.prove.{where}", interrupt)
    result = opml("prove", image, "-i", DIGIT, "--rpc", url, OPML_KEY=KEYS[0])
    assert result.exit_code == 130
    assert result.stderr.splitlines()[-1] == "stopped"
    assert ("nobody defends the claim now" in result.stderr) == (where == "defend_claim")


def test_a_keystore_asks_a_terminal_or_the_environment(image: str, url: str, tmp_path: Path) -> None:
    file = tmp_path / "key.json"
    file.write_text(json.dumps(Account.encrypt(KEYS[1], "word", kdf="pbkdf2", iterations=10)))
    arguments = ("prove", image, "-i", DIGIT, "--rpc", url, "--keystore", str(file), "--detach")
    assert opml(*arguments, OPML_KEYSTORE_PASSWORD="word").exit_code == 0
    assert "wrong password" in refusal(*arguments, OPML_KEYSTORE_PASSWORD="other")[2]
    without = subprocess.run(
        [sys.executable, "-c", "from opml.cli import main; main()", *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        start_new_session=True,
        env={key: value for key, value in os.environ.items() if key != "OPML_KEYSTORE_PASSWORD"},
    )
    assert without.returncode == 5
    assert "OPML_KEYSTORE_PASSWORD" in without.stderr
    assert "Warning" not in without.stderr


def test_an_image_does_not_take_its_models_place(tmp_path: Path) -> None:
    model = tmp_path / "net.onnx"
    model.write_bytes(Path(MODEL).read_bytes())
    assert refusal("compile", str(model), "-o", f"{tmp_path}/./net.onnx")[:2] == (2, "bad-input")
    assert model.read_bytes() == Path(MODEL).read_bytes()


def test_dynamic_dimensions_are_pinned(tmp_path: Path) -> None:
    ports = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 3]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "g", ports[:1], ports[1:])
    file, data = tmp_path / "dynamic.onnx", tmp_path / "x.npy"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), file)
    np.save(data, np.ones((2, 3), np.float32))
    assert refusal("compile", str(file))[:2] == (3, "unsupported")
    assert "--dim" in opml("compile", str(file)).stderr
    assert answer("run", str(file), "-i", str(data), "--dim", "batch=2")["outputs"]["y"] == [[1] * 3] * 2
    ids = {answer("inspect", str(file), "--dim", f"batch={size}")["model_id"] for size in (1, 2)}
    assert len(ids) == 2
    assert answer("compile", str(file), "--dim", "batch=2", "-o", str(tmp_path / "d.opml"))["model_id"] in ids
    assert refusal("run", str(file), "-i", str(data), "--dim", "batch=2", "--dim", "other=1")[:2] == (3, "bad-model")
    assert opml("run", str(file), "--dim", "batch").exit_code == 2


def test_ids_are_never_cut(image: str) -> None:
    assert answer("inspect", image)["model_id"] in opml("inspect", image, COLUMNS="40").stdout


def test_demo_takes_any_two_models(image: str) -> None:
    assert len(answer("demo", "--model", image)["scenes"]) == 5
    assert refusal("demo", "--baseline", image)[:2] == (2, "bad-input")


def test_a_key_is_never_shown(image: str, url: str) -> None:
    secret = "ab" * 31
    arguments = ("prove", image, "-i", DIGIT, "--rpc", url)
    status, code, message = refusal(*arguments, OPML_KEY=secret)
    assert (status, code) == (5, "chain")
    assert secret not in message
    assert refusal(*arguments)[:2] == (5, "chain")


@pytest.mark.parametrize(
    "arguments",
    [("run",), ("compile", MODEL, "--window", "0"), ("demo", "-k", "65"), ("claims", "--no-such"), ("nothing",)],
)
def test_bad_usage_is_json_too(arguments: tuple[str, ...]) -> None:
    result = opml(*arguments, "--json")
    assert result.exit_code == opml(*arguments).exit_code == 2
    assert json.loads(result.stdout)["error"]["code"] == "usage"


def test_help_and_version_are_no_errors_with_json() -> None:
    assert opml("run", "--help", "--json").exit_code == 0
    assert opml("--version", "--json").exit_code in (0, 2)


def test_the_contract_may_be_named_with_its_first_block(tmp_path: Path) -> None:
    from opml.chain import connect
    from opml.chain.deploy import ensure_dev_contract
    from opml.chain.devnet import background

    with background(tmp_path / "chain") as devnet:
        address = ensure_dev_contract(connect(devnet.url))
        rpc = ("claims", "--rpc", devnet.url, "--contract")
        assert answer(*rpc, address)["claims"] == answer(*rpc, f"{address}@2")["claims"] == []
        assert refusal(*rpc, f"{address}@first")[:2] == (2, "bad-input")
        assert refusal(*rpc, "0x12@1")[:2] == (2, "bad-input")
