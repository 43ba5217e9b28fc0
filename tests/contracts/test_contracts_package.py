"""The tool chain: pinned tools, the npm package, documentation of every name, generated tables."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from contracts_evm import type_of

ROOT = Path(__file__).parents[2]
CONTRACTS = ROOT / "contracts"
INTERFACES = sorted(file.stem for file in (CONTRACTS / "src").glob("I[A-Z]*.sol") if file.stem != "InferenceMarket")


@pytest.fixture(scope="module")
def report(build, tmp_path_factory):
    """What the compiler knows of each contract."""
    folder = tmp_path_factory.mktemp("report")
    build("--report", str(folder))
    return {file.stem: json.loads(file.read_text()) for file in folder.glob("*.json")}


@pytest.fixture
def tables(monkeypatch):
    """contracts/tables.py."""
    monkeypatch.syspath_prepend(str(CONTRACTS))
    import tables

    return tables


# Documentation


def undocumented(found):
    """What of an interface says nothing of itself: names with what they lack."""
    lacks = []
    sections = {"function": "methods", "event": "events", "error": "errors"}
    for entry in found["abi"]:
        if entry["type"] not in sections:
            continue
        signature = f"{entry['name']}({','.join(map(type_of, entry['inputs']))})"
        user, dev = (found[kind].get(sections[entry["type"]], {}).get(signature, {}) for kind in ("userdoc", "devdoc"))
        user, dev = (doc[0] if isinstance(doc, list) else doc for doc in (user, dev))  # of errors a list
        missing = set() if user.get("notice") else {"notice"}
        missing |= {i["name"] for i in entry["inputs"]} - set(dev.get("params", {}))
        results = {o["name"] or f"_{i}" for i, o in enumerate(entry.get("outputs", []))}
        missing |= results - set(dev.get("returns", {}))
        if missing:
            lacks.append((entry["name"], missing))
    return lacks


@pytest.mark.parametrize("name", INTERFACES)
def test_every_name_of_an_interface_is_documented(report, name):
    assert undocumented(report[name]) == []


def test_a_missing_word_is_noticed(report):
    found = json.loads(json.dumps(report["IOpml"]))
    del found["userdoc"]["errors"]["BadModel()"]
    (event,) = (key for key in found["devdoc"]["events"] if key.startswith("Chosen("))
    del found["devdoc"]["events"][event]["params"]["segment"]
    (claim,) = (key for key in found["devdoc"]["methods"] if key.startswith("claim("))
    del found["devdoc"]["methods"][claim]["returns"]
    assert sorted(undocumented(found)) == [("BadModel", {"notice"}), ("Chosen", {"segment"}), ("claim", {"claimId"})]


def test_interfaces_and_libraries_suit_other_compilers():
    for file in (CONTRACTS / "src").glob("*.sol"):
        text = file.read_text()
        if re.search(r"^interface ", text, re.MULTILINE):
            assert "pragma solidity ^0.8.24;" in text, file.name


# The npm package


@pytest.fixture(scope="module")
def packed(build):
    """The files of the package as npm would publish it."""
    listing = subprocess.run(
        ["npm", "pack", "--dry-run", "--json", "--ignore-scripts"],
        cwd=CONTRACTS / "src",
        check=True,
        capture_output=True,
        text=True,
    )
    (package,) = json.loads(listing.stdout)
    assert package["name"] == "@opml/contracts"
    return {file["path"] for file in package["files"]}


def test_the_package_has_the_sources_at_its_root(packed):
    sources = {file.name for file in (CONTRACTS / "src").glob("*.sol")}
    abis = {f"abi/{file.name}" for file in (CONTRACTS / "src" / "abi").glob("*.json")}
    assert packed == sources | abis | {"package.json", "README.md", "LICENSE"}
    assert (CONTRACTS / "src" / "LICENSE").read_bytes() == (ROOT / "LICENSE").read_bytes()


def test_a_source_imports_only_what_is_packed_with_it(packed):
    for name in packed:
        if name.endswith(".sol"):
            for path in re.findall(r'from "([^"]+)"', (CONTRACTS / "src" / name).read_text()):
                assert path.startswith("./"), f"{name} imports {path}"
                assert path[2:] in packed, f"{name} imports {path}"


def test_the_abis_are_those_of_the_sources(build, tmp_path):
    build("--abi", str(tmp_path))
    published = {file.name: file.read_bytes() for file in (CONTRACTS / "src" / "abi").iterdir()}
    assert published == {file.name: file.read_bytes() for file in tmp_path.iterdir()}, "run `make contracts`"


def test_versions_agree():
    package = json.loads((CONTRACTS / "src" / "package.json").read_text())
    tools = json.loads((CONTRACTS / "package.json").read_text())
    assert f'version = "{package["version"]}"' in (ROOT / "pyproject.toml").read_text()
    assert package["version"] == tools["version"]
    assert "dependencies" not in package
    assert "scripts" not in package


# Tools


def test_tools_are_pinned():
    package = json.loads((CONTRACTS / "package.json").read_text())
    pinned = package["devDependencies"] | package["optionalDependencies"]
    assert all(re.fullmatch(r"\d+\.\d+\.\d+", version) for version in pinned.values())
    for tool in ("slither", "halmos"):
        lines = (CONTRACTS / "audit" / f"{tool}.txt").read_text().splitlines()
        assert all(re.fullmatch(r"[\w.-]+==[\w.]+", line) for line in lines)


def test_forge_has_the_settings_of_the_build():
    settings = (CONTRACTS / "foundry.toml").read_text()
    build = (CONTRACTS / "build.mjs").read_text()
    for theirs, ours in [
        ('evm_version = "cancun"', 'evmVersion: "cancun"'),
        ("via_ir = true", "viaIR: true"),
        ("optimizer_runs = 200", "runs: 200"),
        ('bytecode_hash = "none"', 'bytecodeHash: "none"'),
        ("cbor_metadata = false", "appendCBOR: false"),
    ]:
        assert theirs in settings
        assert ours in build


@pytest.mark.parametrize(("system", "hint"), [("Linux x86_64", "make contracts"), ("Darwin arm64", "install Foundry")])
def test_a_missing_forge_says_how_to_get_it(tmp_path, system, hint):
    project = tmp_path / "contracts"
    (project / "tools").mkdir(parents=True)
    shutil.copy(CONTRACTS / "tools" / "forge", project / "tools")
    fake = tmp_path / "bin" / "uname"
    fake.parent.mkdir()
    fake.write_text(f"#!/bin/sh\necho {system}\n")
    fake.chmod(0o755)
    path = f"{project / 'tools'}:{fake.parent}:/usr/bin:/bin"
    run = subprocess.run([project / "tools" / "forge"], env=os.environ | {"PATH": path}, capture_output=True, text=True)
    assert run.returncode == 1
    assert hint in run.stderr


# Tables


def test_tables_are_those_of_today(tables, report):
    text = tables.README.read_text()
    assert tables.render(text, report) == text, "they are stale: run python contracts/tables.py"


def test_a_changed_figure_is_noticed(tables, report, tmp_path, monkeypatch):
    page = tmp_path / "README.md"
    size = f"{report['Opml']['deployedBytecodeSize']:,}"
    page.write_text(tables.README.read_text().replace(size, "1,234"))
    monkeypatch.setattr(tables, "README", page)
    monkeypatch.setattr(tables, "report", lambda: report)
    monkeypatch.setattr(sys, "argv", ["tables.py", "--check"])
    assert tables.main() == 1
    monkeypatch.setattr(sys, "argv", ["tables.py"])
    assert tables.main() == 0
    assert size in page.read_text()


def test_a_table_without_a_place_is_an_error(tables, report):
    text = tables.README.read_text().replace("<!-- generated: storage -->", "")
    with pytest.raises(ValueError, match="generated: storage"):
        tables.render(text, report)


def test_a_claim_takes_one_slot_and_a_game_two(tables, report):
    kinds = {kind["label"]: kind for kind in tables.structs(report["Layout"]["storageLayout"])}
    assert int(kinds["struct IOpml.ClaimState"]["numberOfBytes"]) == 32
    assert int(kinds["struct IOpml.Game"]["numberOfBytes"]) == 64
