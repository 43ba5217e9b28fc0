"""Amounts in wei."""

from typing import Final

GWEI: Final = 10**9
ETHER: Final = 10**18
