"""What an outbox says to its node about one letter: sending it, and finding out what became of it."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from opml.chain.base import Chain, Receipt
from opml.chain.fees import Fees
from opml.chain.hexa import checksum, from_quantity, quantity, to_hex
from opml.chain.letter import Letter
from opml.chain.reverts import Refusal, mined_revert, refusal_kind
from opml.errors import ChainError, RevertError, UnreachableError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

_ATTEMPTS: Final = 3
_AT_ONCE: Final = (-(2**62), float("-inf"))


class Wire:
    """The line between an account and a node; it keeps nothing."""

    def __init__(self, chain: Chain, account: "LocalAccount") -> None:
        self.chain = chain
        self.account = account

    def post(self, letter: Letter, nonce: int, fees: Fees, block: int, now: float) -> Refusal | None:
        """Sends the letter in this form. None if it left, or may have; raises what is no matter of time or price."""
        tx_hash, raw = self.sign(letter, nonce, fees)
        kind = self.transmit(tx_hash, raw)
        if kind not in (None, Refusal.NO_ANSWER):
            return kind
        letter.left(nonce, fees, tx_hash, raw, block, now)
        if kind is Refusal.NO_ANSWER:
            letter.repeated = _AT_ONCE
        return None

    def sign(self, letter: Letter, nonce: int, fees: Fees) -> tuple[bytes, bytes]:
        """Hash and raw form of a letter with this nonce and these fees; the letter stays as it is."""
        return letter.sign(self.account, self.chain.chain_id, nonce, fees)

    def transmit(self, tx_hash: bytes, raw: bytes) -> Refusal | None:
        """Hands a signed form to the node. None if it has it; raises what is no matter of time or price."""
        unanswered = False
        for _ in range(_ATTEMPTS):
            try:
                self.chain.send_raw(raw)
                return None
            except UnreachableError:
                unanswered = True
            except ChainError as error:
                kind = refusal_kind(error)
                if kind is Refusal.KNOWN or self._is_known(tx_hash):
                    return None
                if unanswered:
                    break  # a refusal now does not tell what became of the first sending
                if kind is None:
                    raise
                return kind
        return Refusal.NO_ANSWER

    def _is_known(self, tx_hash: bytes) -> bool:
        try:
            return self.chain.request("eth_getTransactionByHash", to_hex(tx_hash)) is not None
        except ChainError:
            return False

    def find_receipt(self, letter: Letter) -> Mapping[str, Any] | None:
        """The receipt of whichever form was mined; None where the node knows of none."""
        for tx_hash in reversed(letter.sent):
            try:
                answer = self.chain.receipt(tx_hash)
            except UnreachableError:
                raise
            except ChainError:
                continue  # some nodes refuse to tell of what they do not know
            if answer is not None and answer.get("blockNumber") is not None:
                return answer
        return None

    def judge(self, letter: Letter, answer: Mapping[str, Any]) -> tuple[Receipt | None, RevertError | None]:
        """What a receipt in JSON form says: a success, or why it is none."""
        if from_quantity(answer["status"]) == 1:
            return self.chain._receipt(answer), None
        return None, mined_revert(self.chain, letter.message(self.account.address), answer, letter.gas)

    def user_of(self, letter: Letter) -> bytes | None:
        """The hash of the mined transaction with the letter's nonce; None where the node does not show it (yet)."""
        assert letter.nonce is not None
        try:
            number = self._block_after(letter.nonce, letter.first_block)
            block = self.chain.request("eth_getBlockByNumber", quantity(number), True)
        except UnreachableError:
            raise
        except ChainError:
            return None  # it has forgotten, or not yet learnt, the state of one of these blocks
        for item in block["transactions"] if block else ():
            if checksum(item["from"]) == self.account.address and from_quantity(item["nonce"]) == letter.nonce:
                return bytes.fromhex(item["hash"][2:])
        return None

    def _block_after(self, nonce: int, start: int) -> int:
        """The block in which the account used this nonce, looked for from `start` on, or before if it was used then."""
        first, last, step = start, self.chain.block_number(), 1
        while first > 0 and self.count(quantity(first - 1)) > nonce:
            last, first, step = first - 1, max(first - 1 - step, 0), step * 2
        while first < last:
            middle = (first + last) // 2
            if self.count(quantity(middle)) > nonce:
                last = middle
            else:
                first = middle + 1
        return last

    def count(self, block: str) -> int:
        """The account's number of transactions after a block."""
        return from_quantity(self.chain.request("eth_getTransactionCount", self.account.address, block))
