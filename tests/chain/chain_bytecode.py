"""Tiny contracts by hand: creation code that puts the given runtime code on chain."""

from eth_utils.crypto import keccak

WORD = 32


def creation(runtime: bytes) -> bytes:
    """Creation code: PUSH2 size, PUSH1 offset, PUSH0, CODECOPY; PUSH2 size, PUSH0, RETURN; runtime."""
    size = len(runtime).to_bytes(2, "big")
    head = b"\x61" + size + b"\x60\x0c\x5f\x39\x61" + size + b"\x5f\xf3"
    assert len(head) == 0x0C
    return head + runtime


# CALLDATASIZE, PUSH0, PUSH0, CALLDATACOPY; CALLDATASIZE, PUSH0, REVERT: reverts with whatever it was called with.
ECHO_REVERT = creation(bytes.fromhex("365f5f37365ffd"))
# The same with RETURN.
ECHO = creation(bytes.fromhex("365f5f37365ff3"))
# TIMESTAMP, PUSH0, MSTORE; PUSH1 32, PUSH0, RETURN
TIME = creation(bytes.fromhex("425f5260205ff3"))
# Emits LOG2 with the first two words of the call data as topics and the rest as data:
# PUSH1 64, CALLDATASIZE, SUB, DUP1, PUSH1 64, PUSH0, CALLDATACOPY; PUSH1 32, CALLDATALOAD, PUSH0, CALLDATALOAD,
# DUP3, PUSH0, LOG2, STOP
LOGGER = creation(bytes.fromhex("604036038060405f376020355f35825fa200"))
# JUMPDEST, PUSH0, JUMP: runs out of gas.
LOOP = creation(bytes.fromhex("5b5f56"))
# Stores its call data's first word in slot 0: PUSH0, CALLDATALOAD, PUSH0, SSTORE, STOP
STORE = creation(bytes.fromhex("5f355f5500"))


def word(number: int) -> bytes:
    return number.to_bytes(WORD, "big")


def error_string(text: str) -> bytes:
    """Revert data of `require(false, text)`."""
    raw = text.encode()
    return keccak(b"Error(string)")[:4] + word(WORD) + word(len(raw)) + raw.ljust(-(-len(raw) // WORD) * WORD, b"\0")


def panic(code: int) -> bytes:
    """Revert data of a Solidity panic."""
    return keccak(b"Panic(uint256)")[:4] + word(code)
