"""The JSON-RPC forms of bytes and numbers."""

import re
from typing import Any


def to_hex(data: bytes) -> str:
    """`0x` and two digits a byte."""
    return "0x" + data.hex()


def from_hex(text: str) -> bytes:
    """Bytes of `0x…` (an odd number of digits is an error). Raises ValueError."""
    if not isinstance(text, str) or text[:2] not in ("0x", "0X"):
        raise ValueError(f"not 0x-hexadecimal: {text!r}")
    return bytes.fromhex(text[2:])


def quantity(value: int) -> str:
    """A number without leading zeros, `0x0` for zero."""
    return hex(value)


def from_quantity(value: Any) -> int:
    """A number from `0x…` or from a plain JSON integer, as some clients send. Raises ValueError."""
    if isinstance(value, str) and re.fullmatch("0[xX][0-9a-fA-F]+", value):
        return int(value, 16)
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise ValueError(f"not a quantity: {value!r}")


def address_bytes(text: str) -> bytes:
    """The 20 bytes of an address, in any letter case. Raises ValueError."""
    raw = from_hex(text)
    if len(raw) != 20:
        raise ValueError(f"not an address: {text!r}")
    return raw


def checksum(address: bytes | str) -> str:
    """An address in EIP-55 mixed case. Raises ValueError."""
    from eth_utils.crypto import keccak

    raw = address if isinstance(address, bytes) else address_bytes(address)
    digits = raw.hex()
    digest = keccak(digits.encode()).hex()
    return "0x" + "".join(c.upper() if d >= "8" else c for c, d in zip(digits, digest, strict=False))
