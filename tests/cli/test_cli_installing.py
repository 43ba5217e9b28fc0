"""How the texts say to install: from this repository, since these names in registries are nobody's or another's."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PIP = re.compile(r"\bpip3? install\b[^`\n]*?(?<![\w./-])opml(?![\w./-])")
NPM = re.compile(r"\b(?:npm|pnpm|yarn|bun) (?:i|install|add)\b[^`\n]*?(?<![\w./-])@opml/")
KINDS = {".md", ".py", ".sol", ".json", ".mjs", ".toml"}
SKIPPED = {"node_modules", "out", "cache"}


def texts() -> Iterator[Path]:
    yield ROOT / "README.md"
    for folder in ("docs", "contracts", "examples", "benchmarks", "opml", "vm"):
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in KINDS and path.is_file() and not SKIPPED & set(path.relative_to(ROOT).parts):
                yield path


def test_nobody_is_sent_to_a_registry() -> None:
    found = list(texts())
    assert {ROOT / "docs/consumer.md", ROOT / "contracts/src/README.md", ROOT / "examples/cheque/README.md"} <= {*found}
    for path in found:
        text = path.read_text(encoding="utf-8")
        assert not PIP.search(text), path
        assert not NPM.search(text), path


@pytest.mark.parametrize(
    "bad", ["pip install opml", "pip install -U opml", 'pip install "opml"', "pip install opml==1"]
)
def test_a_bad_line_of_pip_would_be_found(bad: str) -> None:
    assert PIP.search(bad)


@pytest.mark.parametrize("bad", ["npm install @opml/contracts", "npm i -D @opml/contracts", "yarn add @opml/contracts"])
def test_a_bad_line_of_npm_would_be_found(bad: str) -> None:
    assert NPM.search(bad)


@pytest.mark.parametrize(
    "good",
    [
        "pip install -c constraints.txt .",
        "RUN pip install -c /opt/opml/constraints.txt /opt/opml",
        "npm install --install-links ../opml/contracts/src",
        "npm install ../node_modules/@opml/contracts",
    ],
)
def test_a_good_line_is_left_alone(good: str) -> None:
    assert not PIP.search(good)
    assert not NPM.search(good)


def test_the_folders_named_are_there() -> None:
    for name in ("docs/consumer.md", "contracts/src/README.md", "examples/cheque/README.md"):
        (folder,) = set(re.findall(r"npm install --install-links \.\./opml/(\S+?)[`\s]", (ROOT / name).read_text()))
        assert (ROOT / folder / "package.json").is_file()
    consumer = (ROOT / "docs/consumer.md").read_text()
    (compiler,) = re.findall(r"FOUNDRY_SOLC=\.\./opml/([\w./]+\w)", consumer)
    assert (ROOT / compiler).is_file()


def test_a_container_is_built_without_keys() -> None:
    watch = (ROOT / "docs/watch.md").read_text()
    assert re.search(r"^docker build .*-t opml-watch \.$", watch, re.MULTILINE)
    assert "--env-file watch.env" in watch
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    assert {"**/*.env", "**/keystore*", ".opml-devnet/", ".git/", ".venv/"} <= set(ignored)
    # What the image is installed from has to come along.
    assert not {"opml/", "vm/", "README.md", "LICENSE", "constraints.txt", "pyproject.toml"} & set(ignored)
