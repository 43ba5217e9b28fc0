"""Accounts that sign: a private key from the environment, a keystore file, or a development chain's well-known keys.

A key is never a command-line argument: those can be read by every user of the computer.
"""

import json
import os
import warnings
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from opml.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

KEY_VARIABLE = "OPML_KEY"
PASSWORD_VARIABLE = "OPML_KEYSTORE_PASSWORD"

# The phrase that anvil and Hardhat use as well, so that the same accounts have ether on any development chain.
DEV_PHRASE = "test test test test test test test test test test test junk"
DEV_ACCOUNTS = 10


def account_from_environment(variable: str = KEY_VARIABLE) -> "LocalAccount":
    """The account whose private key (32 bytes, hexadecimal) is in an environment variable.

    Raises ChainError if it is not set or no key; the value is never shown.
    """
    from eth_account import Account

    text = os.environ.get(variable, "").strip()
    if not text:
        raise ChainError(
            f"no key: the environment variable {variable} is not set",
            f"set {variable} to a private key, or name a keystore file; on a devnet, to one of the keys it prints",
        )
    digits = text[2:] if text[:2] in ("0x", "0X") else text
    try:
        account: LocalAccount = Account.from_key(bytes.fromhex(digits))
    except Exception:
        # The library's message would quote the key.
        raise ChainError(f"{variable} does not hold a private key of 32 bytes in hexadecimal") from None
    return account


def account_from_keystore(path: Path | str, password: str | Callable[[], str] | None = None) -> "LocalAccount":
    """The account in an Ethereum keystore file (version 3 JSON, as eth-account, geth and cast write it).

    `password` is the text, or a function that asks for it; by default the environment variable OPML_KEYSTORE_PASSWORD,
    and if that is not set a prompt on the terminal. Raises ChainError.
    """
    from eth_account import Account

    try:
        content = json.loads(Path(path).read_text())
    except FileNotFoundError:
        raise ChainError(f"{path}: no such keystore file") from None
    except (OSError, ValueError) as error:
        raise ChainError(f"{path} is not a keystore file: {error}") from None
    secret = password() if callable(password) else password
    try:
        key = Account.decrypt(content, _ask(str(path)) if secret is None else secret)
    except ValueError as error:
        wrong = "MAC mismatch" in str(error)
        raise ChainError(f"{path}: wrong password" if wrong else f"{path} is not a keystore file: {error}") from None
    except (KeyError, TypeError, NotImplementedError) as error:
        raise ChainError(f"{path} is not a keystore file: {error}") from None
    account: LocalAccount = Account.from_key(key)
    return account


def load_account(keystore: Path | str | None = None, variable: str = KEY_VARIABLE) -> "LocalAccount":
    """The account in the keystore file if one is named, else that of the environment variable."""
    return account_from_keystore(keystore) if keystore else account_from_environment(variable)


@cache
def dev_accounts() -> tuple["LocalAccount", ...]:
    """The ten accounts with ether on embedded chain and devnet, anvil and Hardhat: everybody has the keys."""
    from eth_account import Account
    from eth_account.hdaccount import key_from_seed, seed_from_mnemonic

    seed = seed_from_mnemonic(DEV_PHRASE, "")
    return tuple(Account.from_key(key_from_seed(seed, f"m/44'/60'/0'/0/{i}")) for i in range(DEV_ACCOUNTS))


def _ask(path: str) -> str:
    from getpass import GetPassWarning, getpass

    secret = os.environ.get(PASSWORD_VARIABLE)
    if secret is not None:
        return secret
    try:
        with warnings.catch_warnings():
            # Where it cannot ask without showing what is typed.
            warnings.simplefilter("error", GetPassWarning)
            return getpass(f"Password of {path}: ")
    except (GetPassWarning, EOFError):
        raise ChainError(
            f"{path}: there is no terminal to ask for its password", f"set {PASSWORD_VARIABLE} to it"
        ) from None
