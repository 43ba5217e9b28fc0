"""From a GGUF file to an answer in words, by commands."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from convert_gguf_files import CONTROL, TOKENS, write_gguf

from opml.cli import main
from opml.errors import InputError
from opml.text import Stream, load_tokenizer


def opml(*arguments: object) -> str:
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return result.stdout


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """tiny.gguf, and what `convert` and `compile` make of it."""
    path = tmp_path_factory.mktemp("tiny")
    write_gguf(path / "tiny.gguf")
    opml("convert", path / "tiny.gguf", "-o", path / "tiny.onnx")
    opml("compile", path / "tiny.onnx", "--generate", "--context", 24)
    return path


def test_a_prompt_is_answered(folder: Path) -> None:
    words = ("run", folder / "tiny.opml", "--generate", "--prompt", "the", "--max-tokens", 9)
    words = (*words, "--tokenizer", folder / "tiny.tokenizer.json")
    tokenizer = load_tokenizer(folder / "tiny.tokenizer.json")
    answer = json.loads(opml(*words, "--json"))
    assert 1 <= len(answer["tokens"]) <= 9
    assert answer["text"] == tokenizer.decode(answer["tokens"])
    assert opml(*words).splitlines()[0] == answer["text"].splitlines()[0] or "\ufffd" in answer["text"]
    # As a message in the template, and as it is.
    assert [TOKENS[token] for token in tokenizer.encode("the")] == [CONTROL[0], "t", "he", CONTROL[1]]
    assert [TOKENS[token] for token in tokenizer.encode("the", raw=True)] == ["t", "he"]
    ids = ",".join(map(str, tokenizer.encode("the", raw=True)))
    by_ids = json.loads(
        opml("run", folder / "tiny.opml", "--generate", "--prompt-ids", ids, "--max-tokens", 9, "--json")
    )
    assert by_ids["tokens"] == json.loads(opml(*words, "--raw", "--json"))["tokens"]


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--prompt", "x"], "--prompt is for a model that generates"),
        (["--generate"], "takes a prompt"),
        (["--generate", "--prompt", "x"], "needs a tokenizer"),
        (["--generate", "--prompt", "x", "--prompt-ids", "1"], "takes a prompt"),
        (["--generate", "--prompt", "x", "--tokenizer", "nowhere.json"], "nowhere.json"),
        (["--generate", "--prompt", "", "--raw", "--tokenizer", "tiny.tokenizer.json"], "0 tokens"),
        (["--generate", "--prompt", "x" * 99, "--tokenizer", "tiny.tokenizer.json"], "takes 1 to 24"),
    ],
)
def test_what_does_not_go_together(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str], reason: str
) -> None:
    monkeypatch.chdir(folder)
    with pytest.raises(SystemExit):
        main(["run", "tiny.opml", *words])
    assert reason in capsys.readouterr().err


def test_bad_tokenizers_and_templates(folder: Path, tmp_path: Path) -> None:
    bad = tmp_path / "bad.tokenizer.json"
    bad.write_text("{}")
    with pytest.raises(InputError, match="no tokenizer"):
        load_tokenizer(bad)
    bad.write_bytes((folder / "tiny.tokenizer.json").read_bytes())
    for template in (
        "{% for",
        "{{ raise_exception('no') }}",
        "{{ messages[7].content.x }}",
        "{{ [].append.__globals__ }}",
    ):
        (tmp_path / "bad.jinja").write_text(template)
        with pytest.raises(InputError, match="chat template"):
            load_tokenizer(bad).encode("x")
    assert load_tokenizer(bad).encode("x", raw=True)


def test_text_comes_in_whole_characters(folder: Path) -> None:
    tokenizer = load_tokenizer(folder / "tiny.tokenizer.json")
    ids = tokenizer.encode("é the ü", raw=True)
    assert len(ids) > len(np.unique(ids)) - 1
    stream = Stream(tokenizer)
    parts = [stream.add(token) for token in ids]
    assert "".join(parts) == "é the ü"
    assert "" in parts
    assert not any("\ufffd" in part for part in parts)
