"""The outbox for a node with a pool of waiting transactions: prices rise, answers get lost, blocks vanish.

Nonces are counted here and compared with the node's. A transaction that waits too long, or offers less than the base
fee, is signed again with higher fees and the same nonce, so that only one of its forms can ever be mined. One whose
nonce somebody else has used (another process with the same key) is tried again and sent with the next nonce. Nonces
before ours that nobody uses are used up by empty transactions to ourselves.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

from opml.chain.base import Chain, Receipt
from opml.chain.fees import FeePolicy, Fees, base_fee_of
from opml.chain.gas import check_gas, gas_limit, try_call
from opml.chain.hexa import from_quantity, to_hex
from opml.chain.letter import Letter
from opml.chain.outbox import Outbox, Outcome
from opml.chain.reverts import Refusal
from opml.chain.units import GWEI
from opml.chain.wire import Wire
from opml.errors import ChainError, RevertError, UnreachableError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

log = logging.getLogger("opml.chain")

# How long the first in line may wait until its fees are raised: in blocks, or in seconds where there are none.
RAISE_AFTER: Final = (3, 60.0)
# How long nonces may be blocked by transactions that are not ours.
FILL_AFTER: Final = (10, 120.0)
# When a transaction is sent again as it is: after a block, or after seconds that double up to this many.
REPEAT_AFTER: Final = (1, 16.0)
_LOG_SECONDS: Final = 30.0
_SEND_ATTEMPTS: Final = 8
_LAG_ATTEMPTS: Final = 8
_TRANSFER_GAS: Final = 21_000


class RpcOutbox(Outbox):
    """The outbox of an account on a JSON-RPC node. `clock` is in seconds; with `sleep` it is there for tests."""

    def __init__(
        self,
        chain: Chain,
        account: "LocalAccount",
        fees: FeePolicy,
        *,
        confirmations: int = 1,
        default_timeout: float = 180,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._chain = chain
        self._account = account
        self._wire = Wire(chain, account)
        self._policy = fees
        self._confirmations = confirmations
        self._timeout = default_timeout
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.RLock()
        self._letters: list[Letter] = []
        self._outcomes: dict[int, Outcome] = {}
        self._waited: set[int] = set()
        self._tickets = 0
        self._next_nonce = 0
        self._replaced = 0
        # The newest block with a transaction of ours: a node whose head is older lags.
        self._newest_block = 0
        self._progress: tuple[int, int, float] | None = None
        self._suggestion: tuple[str, Fees] | None = None
        self._looked = -1.0
        self._logged = clock()

    # The interface

    def send(
        self, to: str | None, data: bytes = b"", value: int = 0, *, gas: int | None = None, label: str = ""
    ) -> int:
        with self._lock:
            letter = Letter(self._tickets + 1, label, to, data, value, gas, self._clock())
            head = self._chain.block("latest")
            self._try_when_caught_up(letter, head)
            if all(other.nonce is not None for other in self._letters):
                self._deliver(letter, head)
            # Else it goes after those which the node does not take at the moment.
            self._tickets += 1
            self._letters.append(letter)
            return self._tickets

    def poll(self) -> list[Outcome]:
        with self._lock:
            self._look_quietly()
            told = [outcome for ticket, outcome in self._outcomes.items() if ticket not in self._waited]
            for outcome in told:
                del self._outcomes[outcome.ticket]
            return told

    def wait(self, ticket: int, timeout: float | None = None) -> Receipt:
        limit = self._timeout if timeout is None else timeout
        deadline = self._clock() + limit
        pause = 0.01
        with self._lock:
            self._waited.add(ticket)
        try:
            while True:
                with self._lock:
                    self._look_quietly()
                    outcome = self._outcomes.pop(ticket, None)
                    letter = next((letter for letter in self._letters if letter.ticket == ticket), None)
                if outcome is not None:
                    if outcome.error is not None:
                        raise outcome.error
                    assert outcome.receipt is not None
                    return outcome.receipt
                if letter is None or letter.told:
                    raise ChainError(f"the outcome of transaction {ticket} was told already, or there is none")
                if self._clock() > deadline:
                    known = to_hex(next(reversed(letter.sent))) if letter.sent else letter.name
                    why = f": {letter.trouble}" if letter.trouble else ""
                    raise ChainError(
                        f"transaction {known} was not mined within {limit:g} s{why}",
                        "it may still be; look before sending it again",
                    )
                self._sleep(pause)
                pause = min(pause * 1.5, 1.0)
        finally:
            with self._lock:
                self._waited.discard(ticket)

    @property
    def pending(self) -> int:
        with self._lock:
            return sum(1 for letter in self._letters if letter.ticket is not None and not letter.told)

    @property
    def replaced(self) -> int:
        return self._replaced

    # Trying, and the first sending

    def _try_when_caught_up(self, letter: Letter, head: Mapping[str, Any]) -> None:
        """Finds the gas limit. A refusal by a node that does not even know our own last transactions means nothing."""
        for attempt in range(_LAG_ATTEMPTS):
            try:
                return self._try(letter, from_quantity(head["gasLimit"]))
            except RevertError:
                number = self._chain.block_number()
                if number >= self._newest_block or attempt == _LAG_ATTEMPTS - 1:
                    raise
                log.warning("waiting for the node: it is at block %d, we have seen %d", number, self._newest_block)
                self._sleep(min(0.1 * 2**attempt, 4.0))

    def _try(self, letter: Letter, block_gas: int) -> None:
        if letter.gas is None:
            letter.gas = gas_limit(self._chain, letter.message(self._account.address), block_gas)
        check_gas(letter.gas)

    def _deliver(self, letter: Letter, head: Mapping[str, Any]) -> None:
        """Signs with the next nonce and sends. Without a nonce afterwards: it has to be tried again later.

        Raises ChainError where the node refuses it for good.
        """
        fees = self._suggested(head)
        nonce = max(self._next_nonce, self._wire.count("pending"))
        if not self._in_flight() and from_quantity(head["number"]) > self._newest_block:
            # Nothing of ours is under way, and the node is not behind: it knows best, even if blocks have vanished.
            nonce = self._wire.count("pending")
        for _ in range(_SEND_ATTEMPTS):
            kind = self._wire.post(letter, nonce, fees, from_quantity(head["number"]), self._clock())
            if kind is None:
                self._next_nonce = nonce + 1
                return
            if kind is Refusal.NONCE_LOW:
                nonce = max(nonce + 1, self._wire.count("pending"))
            elif kind is Refusal.OUTBID:
                nonce += 1
            elif kind is Refusal.FEE_LOW:
                higher = self._policy.raised(fees, fees)
                if higher is None:
                    self._complain(letter, self._at_ceiling(head))
                    break
                fees = higher
            else:
                self._complain(letter, f"the node does not take it now ({kind.name.lower().replace('_', ' ')})")
                break
        if not self._in_flight():
            self._next_nonce = 0

    # Looking after what was sent

    def _look_quietly(self) -> None:
        try:
            self._look()
        except ChainError as error:
            self._log_waiting(error.message)

    def _look(self) -> None:
        count = self._wire.count("latest")
        for letter in self._in_flight():
            if letter.nonce is not None and letter.nonce < count and letter.mined is None:
                self._settle(letter)
        now = self._clock()
        idle = not self._letters
        # What waits is looked after less often than receipts are looked for; an idle outbox only now and then.
        if now - self._looked < (5.0 if idle else 0.5) and self._looked >= 0:
            return
        self._looked = now
        head = self._chain.block("latest")
        self._watch_mined(head, count)
        self._push(head, count)
        self._fill(head, count)
        self._log_waiting(None)

    def _settle(self, letter: Letter) -> None:
        """Finds out what used the letter's nonce, and ends the letter if that was it."""
        answer = self._wire.find_receipt(letter)
        if answer is not None:
            if not letter.told:
                self._tell(letter, *self._wire.judge(letter, answer))
            letter.mined = (from_quantity(answer["blockNumber"]), str(answer["blockHash"]))
            self._newest_block = max(self._newest_block, letter.mined[0])
            if self._confirmations <= 1:
                self._letters.remove(letter)
            return
        user = self._wire.user_of(letter)
        if user in letter.sent:
            return  # mined, and the node will find the receipt sooner or later
        if user is not None or self._clock() - letter.patient_since[1] > FILL_AFTER[1]:
            who = f"transaction {to_hex(user)}" if user else "a transaction that the node no longer shows"
            log.info("%s: its nonce was used by %s of this account", letter.name, who)
            letter.returned()
            self._looked = -1.0
            if letter.ticket is None:
                self._letters.remove(letter)

    def _watch_mined(self, head: Mapping[str, Any], count: int) -> None:
        """Forgets what is deep enough; what has lost its block is looked for, and sent, again."""
        number = from_quantity(head["number"])
        for letter in [letter for letter in self._letters if letter.mined is not None]:
            assert letter.mined is not None
            block, block_hash = letter.mined
            if number < block:
                continue
            if self._chain.block(block)["hash"] != block_hash:
                log.warning("%s: the block in which it was mined has vanished", letter.name)
                letter.mined = None
                letter.first_block = min(letter.first_block, block)
                self._newest_block = min(self._newest_block, number)
            elif number - block + 1 >= self._confirmations:
                self._letters.remove(letter)

    def _push(self, head: Mapping[str, Any], count: int) -> None:
        """Sends again what waits: with higher fees if that is the reason, as it is otherwise."""
        number, now, base_fee = from_quantity(head["number"]), self._clock(), base_fee_of(head)
        for letter in sorted(self._in_flight(), key=lambda letter: letter.nonce or 0):
            assert letter.nonce is not None and letter.fees is not None  # noqa: PT018
            if letter.mined is not None or letter.nonce < count:
                continue
            if letter.nonce > count:
                # Its turn has not come: it is not its own price that holds it up.
                letter.patient_since = (number, now)
            too_low = base_fee is not None and letter.fees.limit < base_fee
            if too_low or _passed(letter.patient_since, number, now, RAISE_AFTER):
                self._raise_fees(letter, head)
            elif _passed(letter.repeated, number, now, (REPEAT_AFTER[0], min(2.0**letter.repeats, REPEAT_AFTER[1]))):
                letter.repeated, letter.repeats = (number, now), letter.repeats + 1
                self._transmit_quietly(letter, next(reversed(letter.sent)), letter.raw)
        for letter in [letter for letter in self._letters if letter.nonce is None]:
            try:
                try_call(self._chain, letter.message(self._account.address))
                self._deliver(letter, head)
                if letter.nonce is None:
                    break
            except UnreachableError:
                raise
            except ChainError as error:
                if letter.told:
                    log.warning("%s: mined once, its block vanished, and now: %s", letter.name, error.message)
                else:
                    self._tell(letter, None, error)
                self._letters.remove(letter)

    def _raise_fees(self, letter: Letter, head: Mapping[str, Any]) -> None:
        assert letter.fees is not None and letter.nonce is not None  # noqa: PT018
        fees = self._policy.raised(letter.fees, self._suggested(head))
        number, now = from_quantity(head["number"]), self._clock()
        letter.patient_since = (number, now)
        if fees is None:
            self._complain(letter, self._at_ceiling(head))
            return
        tx_hash, raw = self._wire.sign(letter, letter.nonce, fees)
        if self._transmit_quietly(letter, tx_hash, raw):
            log.info("%s: fees raised from %g to %g gwei", letter.name, letter.fees.limit / GWEI, fees.limit / GWEI)
            letter.left(letter.nonce, fees, tx_hash, raw, number, now)
            self._replaced += 1
        if fees.limit < (base_fee_of(head) or 0):
            self._complain(letter, self._at_ceiling(head))

    def _transmit_quietly(self, letter: Letter, tx_hash: bytes, raw: bytes) -> bool:
        """Whether the node may have the letter in this form, or has one of that nonce that pays about as much."""
        try:
            return self._wire.transmit(tx_hash, raw) in (None, Refusal.NO_ANSWER, Refusal.OUTBID)
        except ChainError as error:
            self._complain(letter, error.message)
            return False

    def _fill(self, head: Mapping[str, Any], count: int) -> None:
        """Uses up nonces that have blocked ours for long: lost ones, and those of transactions nobody looks after."""
        number, now = from_quantity(head["number"]), self._clock()
        if self._progress is None or self._progress[0] != count:
            self._progress = (count, number, now)
            return
        if not _passed(self._progress[1:], number, now, FILL_AFTER):
            return
        ours = {letter.nonce for letter in self._in_flight() if letter.nonce is not None}
        end = max([self._wire.count("pending"), *ours])
        if count >= end or count in ours:
            return
        self._progress = (count, number, now)
        log.warning("nonces from %d on are used by no transaction of ours: empty ones take their place", count)
        for nonce in sorted(set(range(count, end)) - ours):
            letter = Letter(None, "empty transaction", self._account.address, b"", 0, _TRANSFER_GAS, now)
            fees: Fees | None = self._suggested(head)
            while fees is not None:
                kind = self._wire.post(letter, nonce, fees, from_quantity(head["number"]), self._clock())
                if kind is not Refusal.OUTBID:
                    break
                fees = self._policy.raised(fees, fees)
            if letter.nonce is not None:
                self._letters.append(letter)
        self._next_nonce = max(self._next_nonce, end)

    # Common

    def _suggested(self, head: Mapping[str, Any]) -> Fees:
        """What the policy says after this block; asked once a block."""
        if self._suggestion is None or self._suggestion[0] != head["hash"]:
            self._suggestion = (head["hash"], self._policy.suggest(self._chain, head))
        return self._suggestion[1]

    def _in_flight(self) -> list[Letter]:
        return [letter for letter in self._letters if letter.nonce is not None]

    def _tell(self, letter: Letter, receipt: Receipt | None, error: ChainError | None) -> None:
        letter.told = True
        if letter.ticket is not None:
            self._outcomes[letter.ticket] = Outcome(letter.ticket, letter.label, receipt, error)

    def _at_ceiling(self, head: Mapping[str, Any]) -> str:
        base_fee = base_fee_of(head) or 0
        return (
            f"it may offer {self._policy.max_fee / GWEI:g} gwei at most (--max-fee), "
            f"and the base fee is {base_fee / GWEI:g} gwei"
        )

    def _complain(self, letter: Letter, trouble: str) -> None:
        """Keeps what holds a letter up, and logs it if it is something new."""
        if letter.trouble is None:
            log.warning("%s waits: %s", letter.name, trouble)
        letter.trouble = trouble

    def _log_waiting(self, trouble: str | None) -> None:
        waiting = [letter for letter in self._letters if not letter.told]
        now = self._clock()
        if not waiting or now - self._logged < _LOG_SECONDS:
            return
        first = min(waiting, key=lambda letter: letter.since)
        trouble = trouble or first.trouble
        if now - first.since >= _LOG_SECONDS:
            self._logged = now
            log.warning(
                "waiting since %.0f s for %s to be mined, %d more behind it%s",
                now - first.since,
                first.name,
                len(waiting) - 1,
                f": {trouble}" if trouble else "",
            )


def _passed(since: tuple[int, float], block: int, now: float, limit: tuple[int, float]) -> bool:
    return block - since[0] >= limit[0] or now - since[1] >= limit[1]
