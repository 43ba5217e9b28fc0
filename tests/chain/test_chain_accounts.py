"""Where keys come from, and that they are never shown."""

import json
from pathlib import Path

import pytest
from eth_account import Account

from opml.chain.accounts import (
    account_from_environment,
    account_from_keystore,
    dev_accounts,
    load_account,
)
from opml.errors import ChainError

KEY = "4c0883a69102937d6231471b5dbb6204fe5129617082792ae468d01a3f362318"
ADDRESS = "0x2c7536E3605D9C16a7a3D7b1898e529396a65c23"


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> Path:
    # Few iterations: it is the format that is tested.
    content = Account.encrypt("0x" + KEY, "secret", kdf="pbkdf2", iterations=2)
    path = tmp_path_factory.mktemp("keys") / "key.json"
    path.write_text(json.dumps(content))
    return path


@pytest.mark.parametrize("text", [KEY, "0x" + KEY, "0X" + KEY.upper(), f" {KEY}\n"])
def test_a_key_in_the_environment(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OPML_KEY", text)
    assert account_from_environment().address == load_account().address == ADDRESS
    monkeypatch.setenv("OTHER", "0x" + "11" * 32)
    assert account_from_environment("OTHER").address != ADDRESS


@pytest.mark.parametrize("text", ["", "0x", KEY[:-2], KEY + "00", "zz" * 32, "00" * 32, "ff" * 32, "secret words"])
def test_a_bad_key_is_refused_and_not_shown(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("OPML_KEY", text)
    with pytest.raises(ChainError) as caught:
        account_from_environment()
    assert "OPML_KEY" in caught.value.message
    if len(text) > 2:
        assert text not in f"{caught.value.message}{caught.value.hint}"
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_no_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPML_KEY", raising=False)
    with pytest.raises(ChainError, match="OPML_KEY is not set") as caught:
        load_account()
    assert caught.value.hint is not None


def test_a_keystore_file(keystore: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert account_from_keystore(keystore, "secret").address == ADDRESS
    assert account_from_keystore(str(keystore), lambda: "secret").address == ADDRESS
    monkeypatch.setenv("OPML_KEYSTORE_PASSWORD", "secret")
    assert load_account(keystore).address == ADDRESS
    monkeypatch.delenv("OPML_KEYSTORE_PASSWORD")
    monkeypatch.setattr("getpass.getpass", lambda prompt: "secret")
    assert load_account(keystore).address == ADDRESS


def test_bad_keystore_files(keystore: Path, tmp_path: Path) -> None:
    with pytest.raises(ChainError, match="wrong password"):
        account_from_keystore(keystore, "guess")
    with pytest.raises(ChainError, match="no such keystore file"):
        account_from_keystore(tmp_path / "none.json", "secret")
    good = json.loads(keystore.read_text())
    for number, text in enumerate(
        ["", "{}", "[]", "5", json.dumps(good | {"version": 9}), json.dumps(good | {"crypto": {}})]
    ):
        path = tmp_path / f"{number}.json"
        path.write_text(text)
        with pytest.raises(ChainError, match="not a keystore file"):
            account_from_keystore(path, "secret")
    (tmp_path / "binary.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ChainError, match="not a keystore file"):
        account_from_keystore(tmp_path / "binary.json", "secret")
    with pytest.raises(ChainError, match="not a keystore file"):
        account_from_keystore(tmp_path, "secret")


def test_development_accounts_are_those_of_anvil_and_hardhat() -> None:
    accounts = dev_accounts()
    assert len({account.address for account in accounts}) == 10
    assert accounts[0].address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
    assert accounts[9].address == "0xa0Ee7A142d267C1f36714E4a8F75612F20a79720"
    assert bytes(accounts[0].key).hex() == "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
