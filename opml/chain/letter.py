"""One transaction in an outbox, under all the prices that it was ever signed with."""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from opml.chain.fees import Fees
from opml.chain.hexa import address_bytes, checksum, quantity, to_hex

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount


@dataclass
class Letter:
    """A transaction until it is mined. Without a nonce it has not left, as far as we know.

    `ticket=None`: it only uses up a nonce that stands before ours. `sent` are the hashes and raw forms of one nonce,
    oldest first: any of them may be mined. Blocks and times (seconds of the outbox's clock) are what patience is
    counted from.
    """

    ticket: int | None
    label: str
    to: str | None
    data: bytes
    value: int
    gas: int | None
    since: float
    nonce: int | None = None
    fees: Fees | None = None
    sent: dict[bytes, bytes] = field(default_factory=dict)
    first_block: int = 0
    patient_since: tuple[int, float] = (0, 0.0)
    repeated: tuple[int, float] = (0, 0.0)
    repeats: int = 0
    mined: tuple[int, str] | None = None
    told: bool = False
    trouble: str | None = None

    @property
    def name(self) -> str:
        """For logs."""
        place = "" if self.nonce is None else f" (nonce {self.nonce})"
        return (self.label or "transaction") + place

    @property
    def raw(self) -> bytes:
        """The newest signed form."""
        return next(reversed(self.sent.values()))

    def message(self, sender: str) -> dict[str, Any]:
        """The call that shows what the transaction would do."""
        fields: dict[str, Any] = {"from": sender, "data": to_hex(self.data), "value": quantity(self.value)}
        return fields if self.to is None else fields | {"to": checksum(self.to)}

    def sign(self, account: "LocalAccount", chain_id: int, nonce: int, fees: Fees) -> tuple[bytes, bytes]:
        """Hash and raw form of the transaction with this nonce and these fees; the letter stays as it is."""
        signed = account.sign_transaction(
            {
                "chainId": chain_id,
                "nonce": nonce,
                "to": address_bytes(self.to) if self.to else b"",
                "data": self.data,
                "value": self.value,
                "gas": self.gas or 0,
                **fees.fields(),
            }
        )
        return bytes(signed.hash), bytes(signed.raw_transaction)

    def left(self, nonce: int, fees: Fees, tx_hash: bytes, raw: bytes, block: int, now: float) -> None:
        """Notes that it was, or may have been, sent in this form after that block."""
        if nonce != self.nonce:
            self.sent.clear()
            self.first_block, self.nonce = block, nonce
        self.fees, self.sent[tx_hash] = fees, raw
        self.patient_since = self.repeated = (block, now)
        self.repeats = 0
        self.trouble = None

    def returned(self) -> None:
        """Its nonce was used by another transaction: it has to leave once more."""
        self.nonce, self.mined = None, None
        self.sent.clear()
