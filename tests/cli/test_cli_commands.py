"""The commands as a user calls them: what they print, and how they refuse."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from opml.cli import COMMANDS, main

EXAMPLES = Path(__file__).parents[2] / "examples" / "models"
MODEL, DIGIT = str(EXAMPLES / "mlp.onnx"), f"{EXAMPLES / 'digits.npz'}:images:4"


def opml(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"OPML_KEY": None, **environment})


def answer(*arguments: str) -> Any:
    result = opml(*arguments, "--json")
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
    [("inspect", "{image}"), ("run", "{image}", "-i", DIGIT), ("prove", "{image}", "-i", DIGIT), ("claims",)],
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
    np.save(float_scan, np.zeros((1, 1, 8, 8), np.float32))
    text.write_text("no array")
    assert refusal("run", here, "-i", DIGIT)[:2] == (3, "bad-model")
    assert refusal("run", image)[:2] == (2, "bad-input")
    assert refusal("run", image, "-i", here)[:2] == (2, "bad-input")
    assert refusal("run", image, "-i", str(text))[:2] == (2, "bad-input")
    assert "'other'" in refusal("run", image, "-i", f"other={DIGIT}")[2]
    assert "uint8 [1, 1, 8, 8]" in refusal("run", image, "-i", str(float_scan))[2]
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
    assert refusal("challenge", "0x" + "00" * 32, "-m", image)[:2] == (6, "dispute")
    assert refusal("challenge", "0x12", "-m", image)[:2] == (6, "dispute")
    assert refusal("claims", "0x" + "00" * 32)[:2] == (6, "dispute")


def test_a_key_is_never_shown(image: str, tmp_path: Path) -> None:
    from opml.chain.devnet import background

    secret = "ab" * 31
    with background(tmp_path / "chain") as devnet:
        from opml.chain import connect
        from opml.chain.deploy import ensure_dev_contract

        ensure_dev_contract(connect(devnet.url))
        arguments = ("prove", image, "-i", DIGIT, "--rpc", devnet.url)
        status, code, message = refusal(*arguments, OPML_KEY=secret)
        assert (status, code) == (5, "chain")
        assert secret not in message
        assert refusal(*arguments)[:2] == (5, "chain")
