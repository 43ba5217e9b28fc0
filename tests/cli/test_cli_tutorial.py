"""The tutorial's commands, in its order; and the README's table of commands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from opml.cli import COMMANDS

ROOT = Path(__file__).parents[2]


def blocks(document: str) -> list[str]:
    return re.findall(r"```sh\n(.*?)```", (ROOT / document).read_text(), re.DOTALL)


def commands(document: str) -> list[str]:
    return [line.split("#")[0].strip() for block in blocks(document) for line in block.splitlines() if line.strip()]


def test_every_command_of_the_tutorial_works(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    environment = {**os.environ, "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    devnet = None
    url = claim = ""
    seen = 0
    try:
        for line in commands("docs/tutorial.md"):
            line = line.replace("http://127.0.0.1:8545", url).replace("CLAIM", claim)
            if line.startswith("export "):
                name, value = line.removeprefix("export ").split("=")
                environment[name] = value
                continue
            arguments = line.split()
            assert arguments[0] == "opml"
            seen += 1
            if arguments[1] == "devnet":
                # Another port than the text's, which may be in use.
                arguments[arguments.index("--port") + 1] = "0"
                devnet = subprocess.Popen(
                    arguments,
                    cwd=tmp_path,
                    env=environment,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    text=True,
                )
                assert devnet.stdout
                url = devnet.stdout.readline().split()[0]
                continue
            done = subprocess.run(arguments, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=240)
            assert done.returncode == 0, (line, done.stderr)
            if arguments[1] == "claims":
                claim = done.stdout.split()[0]
            if arguments[1] == "challenge":
                assert "the claim is right" in done.stdout
    finally:
        if devnet:
            devnet.kill()
            devnet.communicate()
    assert seen == 9
    assert claim


def test_the_readme_names_real_commands_and_files() -> None:
    named = [line.split()[1] for line in commands("README.md") if line.startswith("opml ")]
    assert named
    assert set(named) <= set(COMMANDS)
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "README.md").read_text())
    assert links
    assert all((ROOT / link).exists() for link in links)


@pytest.mark.parametrize("document", sorted(path.name for path in (ROOT / "docs").glob("*.md")))
def test_links_between_documents_lead_somewhere(document: str) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", (ROOT / "docs" / document).read_text())
    assert all((ROOT / "docs" / link).exists() for link in links)
