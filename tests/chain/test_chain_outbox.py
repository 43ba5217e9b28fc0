"""The outbox against a node on which everything happens that happens on real ones."""

import logging

import pytest
from chain_pool import BAD, BLOCK_SECONDS, Pool
from eth_account.signers.local import LocalAccount

from opml.chain.fees import FeePolicy
from opml.chain.outbox import Outbox, Outcome
from opml.chain.rpcoutbox import FILL_AFTER, RAISE_AFTER
from opml.chain.units import GWEI
from opml.errors import ChainError, RevertError

Accounts = tuple[LocalAccount, ...]


@pytest.fixture
def pool() -> Pool:
    return Pool()


@pytest.fixture
def outbox(pool: Pool, accounts: Accounts) -> Outbox:
    return pool.outbox(accounts[0])


def to(accounts: Accounts) -> str:
    return accounts[1].address


def values(pool: Pool, accounts: Accounts) -> list[int]:
    """What has arrived, in order."""
    return [tx.value for tx in pool.mined() if tx.to == accounts[1].address]


def run(pool: Pool, outbox: Outbox, blocks: int = 40) -> list[Outcome]:
    """Blocks are made and the outbox is looked after, until nothing is pending."""
    outcomes = outbox.poll()
    for _ in range(blocks):
        if not outbox.pending:
            break
        pool.mine()
        outcomes += outbox.poll()
    assert outbox.pending == 0
    return outcomes


def test_many_at_once_arrive_in_order(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    tickets = [outbox.send(to(accounts), value=value, label=f"number {value}") for value in range(50)]
    assert outbox.pending == 50
    assert outbox.poll() == []
    pool.mine()
    outcomes = outbox.poll()
    assert [outcome.ticket for outcome in outcomes] == tickets
    assert outcomes[7].label == "number 7"
    assert all(outcome.receipt is not None and outcome.error is None for outcome in outcomes)
    assert values(pool, accounts) == list(range(50))
    assert (outbox.pending, outbox.poll(), pool.replacements) == (0, [], 0)


def test_what_would_revert_is_not_sent(pool: Pool, outbox: Outbox) -> None:
    pool.refuses_from = 0
    with pytest.raises(RevertError, match="TooLate"):
        outbox.send(BAD)
    assert outbox.pending == 0
    assert pool.waiting == {}


def test_what_reverts_when_mined_is_an_outcome(pool: Pool, outbox: Outbox) -> None:
    ticket = outbox.send(BAD, label="late")
    pool.refuses_from = 1
    pool.mine()
    (outcome,) = outbox.poll()
    assert (outcome.ticket, outcome.label, outcome.receipt) == (ticket, "late", None)
    assert isinstance(outcome.error, RevertError)
    again = outbox.send(BAD) if pool.refuses_from > 9 else None
    assert again is None


def test_waiting_takes_the_outcome(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    pool.on_sleep = lambda: pool.mine() and None
    tickets = [outbox.send(to(accounts), value=value) for value in range(2)]
    assert outbox.wait(tickets[1]).gas_used == 21_000
    assert [outcome.ticket for outcome in outbox.poll()] == tickets[:1]
    with pytest.raises(ChainError, match="told already"):
        outbox.wait(tickets[0])
    with pytest.raises(ChainError, match="there is none"):
        outbox.wait(99)


def test_waiting_ends(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    ticket = outbox.send(to(accounts))
    with pytest.raises(ChainError, match="not mined within 5 s"):
        outbox.wait(ticket, 5)
    # It is not forgotten.
    assert [outcome.ticket for outcome in run(pool, outbox)] == [ticket]


# Fees


def test_fees_follow_a_rising_base_fee(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    for value in range(3):
        outbox.send(to(accounts), value=value)
    pool.base_fee = 40 * GWEI
    pool.mine()
    assert outbox.poll() == []
    assert pool.replacements == 3
    assert all(tx.limit >= 80 * GWEI for tx in pool.waiting[accounts[0].address].values())
    run(pool, outbox)
    assert values(pool, accounts) == [0, 1, 2]


def test_the_first_in_line_pays_more_where_price_is_not_the_base_fees(
    pool: Pool, outbox: Outbox, accounts: Accounts
) -> None:
    for value in range(2):
        outbox.send(to(accounts), value=value)
    old = dict(pool.waiting[accounts[0].address])
    for _ in range(RAISE_AFTER[0]):
        pool.mine(only=0)
        outbox.poll()
    new = pool.waiting[accounts[0].address]
    assert min(new[0].limit * 8 - old[0].limit * 9, new[0].tip * 8 - old[0].tip * 9) >= 0
    assert new[1] == old[1], "its turn has not come"
    run(pool, outbox)
    assert values(pool, accounts) == [0, 1]


def test_a_replaced_form_that_is_mined_counts(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    outbox.send(to(accounts), value=1)
    first = pool.waiting[accounts[0].address][0]
    for _ in range(RAISE_AFTER[0]):
        pool.mine(only=0)
        outbox.poll()
    assert pool.replacements == 1
    pool.waiting[accounts[0].address][0] = first  # a miner who had not heard of the new one
    (outcome,) = run(pool, outbox)
    assert outcome.receipt is not None
    assert outcome.receipt.tx_hash == bytes.fromhex(first.hash[2:])


def test_fees_stop_at_the_ceiling_and_wait_for_better_times(
    pool: Pool, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    pool.policy = FeePolicy(max_fee=5 * GWEI)
    outbox = pool.outbox(accounts[0])
    ticket = outbox.send(to(accounts), value=1)
    pool.base_fee = 50 * GWEI
    with caplog.at_level(logging.WARNING, "opml.chain"):
        for _ in range(30):
            pool.mine()
            outbox.poll()
    assert "at most (--max-fee), and the base fee is 50 gwei" in caplog.text
    assert outbox.pending == 1
    assert max(tx.limit for tx in pool.waiting[accounts[0].address].values()) <= 5 * GWEI
    with pytest.raises(ChainError, match=r"not mined within 1 s: .*--max-fee"):
        outbox.wait(ticket, 1)
    pool.base_fee = 2 * GWEI
    assert [outcome.ticket for outcome in run(pool, outbox)] == [ticket]


def test_it_says_what_it_waits_for_and_since_when(
    pool: Pool, outbox: Outbox, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    outbox.send(to(accounts), label="post")
    outbox.send(to(accounts))
    with caplog.at_level(logging.WARNING, "opml.chain"):
        for _ in range(4):
            pool.mine(only=0)
            outbox.poll()
    assert f"waiting since {3 * BLOCK_SECONDS} s for post (nonce 0) to be mined, 1 more behind it" in caplog.text


# Answers that are late, lost, or old


@pytest.mark.parametrize("fault", ["lose_request", "lose_answer", "pool_full", "hide_receipts", "away"])
def test_faults_that_pass(pool: Pool, outbox: Outbox, accounts: Accounts, fault: str) -> None:
    if fault in ("hide_receipts", "away"):
        outbox.send(to(accounts), value=1)
        setattr(pool.faults, fault, True)
    else:
        setattr(pool.faults, fault, True)
        outbox.send(to(accounts), value=1)
    outcomes = []
    for _ in range(5):
        pool.mine()
        outcomes += outbox.poll()
    assert len(outcomes) == (1 if fault == "lose_answer" else 0)
    if fault == "pool_full":
        outbox.send(to(accounts), value=2)
    setattr(pool.faults, fault, False)
    if fault != "pool_full":
        outbox.send(to(accounts), value=2)
    assert len(outcomes + run(pool, outbox)) == 2
    assert values(pool, accounts) == [1, 2]


def test_an_answer_lost_after_mining_is_no_second_transaction(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    pool.faults.lose_answer = True
    outbox.send(to(accounts), value=1)
    pool.mine()
    pool.faults.hide_receipts = True
    for _ in range(8):
        pool.mine()
        assert outbox.poll() == []
    pool.faults.hide_receipts = pool.faults.lose_answer = False
    assert len(run(pool, outbox)) == 1
    assert values(pool, accounts) == [1]


def test_a_node_away_sends_nothing(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    pool.faults.away = True
    with pytest.raises(ChainError, match="nobody answers"):
        outbox.send(to(accounts))
    assert (outbox.pending, outbox.poll()) == (0, [])


def test_a_node_that_lags(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    pool.on_sleep = lambda: pool.mine() and None
    outbox.wait(outbox.send(to(accounts), value=0))
    pool.faults.lag = 2
    pool.supports_pending = False
    for value in range(1, 4):
        outbox.wait(outbox.send(to(accounts), value=value))
    assert values(pool, accounts) == [0, 1, 2, 3]


def test_a_refusal_by_a_node_that_lags_is_not_believed(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    """What we have just done is not yet there for it."""
    pool.mine()
    outbox.send(to(accounts))
    pool.mine()
    outbox.poll()
    pool.faults.lag = 1
    original = pool.eth_estimateGas

    def estimate(message: dict[str, object], tag: str) -> str:
        if pool.faults.lag:
            raise RevertError("UnknownModel")
        return original(message, tag)

    pool.eth_estimateGas = estimate  # type: ignore[method-assign]
    with pytest.raises(RevertError):
        outbox.send(to(accounts))  # it never catches up
    naps = iter(range(3))

    def nap() -> None:
        if next(naps, None) is None:
            pool.faults.lag = 0

    pool.on_sleep = nap
    outbox.send(to(accounts))
    assert len(run(pool, outbox)) == 1


# Transactions that get lost, and blocks that vanish


def test_dropped_transactions_are_sent_again(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    for value in range(3):
        outbox.send(to(accounts), value=value)
    pool.drop()
    assert len(run(pool, outbox)) == 3
    assert values(pool, accounts) == [0, 1, 2]


@pytest.mark.parametrize("lose", [False, True])
def test_a_vanished_block(pool: Pool, accounts: Accounts, lose: bool) -> None:
    pool.confirmations = 3
    outbox = pool.outbox(accounts[0])
    outbox.send(to(accounts), value=1)
    pool.mine()
    assert len(outbox.poll()) == 1
    pool.reorganise(1, lose=lose)
    assert values(pool, accounts) == []
    for _ in range(6):
        assert outbox.poll() == [], "its outcome was told before"
        pool.mine()
    assert values(pool, accounts) == [1]


def test_a_vanished_block_of_one_that_is_settled(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    """One confirmation is all that was asked for: the transaction is gone, but the next one is not held up."""
    pool.mine()
    outbox.send(to(accounts), value=1)
    pool.mine()
    assert len(outbox.poll()) == 1
    pool.reorganise(1, lose=True)
    pool.mine()
    outbox.send(to(accounts), value=2)
    run(pool, outbox)
    assert values(pool, accounts) == [2]


# Others with the same key


def test_two_processes_with_one_key(pool: Pool, accounts: Accounts) -> None:
    ours, theirs = pool.client(accounts[0]), pool.client(accounts[0])
    for value in range(10):
        (ours, theirs)[value % 2].send(to(accounts), value=value)
    for _ in range(5):
        pool.mine()
        ours.poll()
        theirs.poll()
    assert (ours.pending, theirs.pending) == (0, 0)
    assert sorted(values(pool, accounts)) == list(range(10))


def test_a_nonce_that_somebody_else_used(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    ticket = outbox.send(to(accounts), value=1)
    pool.drop()
    pool.client(accounts[0]).send(to(accounts), value=2)
    (outcome,) = run(pool, outbox)
    assert outcome.ticket == ticket
    assert outcome.receipt is not None
    assert values(pool, accounts) == [2, 1]


def test_a_nonce_that_somebody_else_used_for_the_same_move(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    ticket = outbox.send(BAD, b"move")
    pool.drop()
    pool.client(accounts[0]).send(BAD, b"move", value=1)
    pool.refuses_from = 2
    (outcome,) = run(pool, outbox)
    assert outcome.ticket == ticket
    assert isinstance(outcome.error, RevertError)
    assert len(pool.mined()) == 1


def test_the_same_transaction_of_two_processes_is_one(pool: Pool, accounts: Accounts) -> None:
    pool.supports_pending = False
    ours, theirs = pool.client(accounts[0]), pool.client(accounts[0])
    for outbox in (ours, theirs):
        outbox.send(to(accounts), value=1)
    pool.mine()
    receipts = [outcome.receipt for outbox in (ours, theirs) for outcome in outbox.poll()]
    assert len(receipts) == 2
    assert receipts[0] == receipts[1]
    assert values(pool, accounts) == [1]


def test_what_a_killed_process_left_below_the_base_fee_does_not_block(
    pool: Pool, outbox: Outbox, accounts: Accounts, caplog: pytest.LogCaptureFixture
) -> None:
    for value in range(3):
        outbox.send(to(accounts), value=value)
    pool.base_fee = 100 * GWEI
    restarted = pool.client(accounts[0])
    restarted.send(to(accounts), value=9)
    with caplog.at_level(logging.WARNING, "opml.chain"):
        assert len(run(pool, restarted)) == 1
    assert values(pool, accounts) == [9]
    assert [tx.to for tx in pool.mined()] == [accounts[0].address] * 3 + [accounts[1].address]
    assert "nonces from 0 on are used by no transaction of ours" in caplog.text


def test_an_idle_outbox_clears_the_way_too(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    outbox.send(to(accounts), value=1)
    pool.base_fee = 100 * GWEI
    restarted = pool.client(accounts[0])
    for _ in range(FILL_AFTER[0] + 3):
        pool.mine()
        restarted.poll()
    assert [tx.to for tx in pool.mined()] == [accounts[0].address]


def test_what_a_killed_process_left_is_not_touched_while_it_moves(
    pool: Pool, outbox: Outbox, accounts: Accounts
) -> None:
    for value in range(FILL_AFTER[0] + 5):
        outbox.send(to(accounts), value=value)
    restarted = pool.client(accounts[0])
    for _ in range(FILL_AFTER[0] + 5):
        pool.mine(only=1)
        restarted.poll()
    assert values(pool, accounts) == list(range(FILL_AFTER[0] + 5))


def test_a_gap_is_filled(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    """Transactions of another process were dropped; ours wait behind their nonces."""
    for value in range(2):
        outbox.send(to(accounts), value=value)
    ours = pool.client(accounts[0])
    ours.send(to(accounts), value=9)
    del pool.waiting[accounts[0].address][0]
    del pool.waiting[accounts[0].address][1]
    run(pool, ours)
    assert values(pool, accounts) == [9]


# Sizes


def test_gas_limits(pool: Pool, outbox: Outbox, accounts: Accounts) -> None:
    with pytest.raises(ChainError, match=r"16,777,216 gas at most \(EIP-7825\), not 16,777,217"):
        outbox.send(to(accounts), gas=(1 << 24) + 1)
    outbox.send(to(accounts), gas=1 << 24)
    pool.eth_estimateGas = lambda *_: hex(1 << 24)  # type: ignore[method-assign]
    outbox.send(to(accounts))
    pool.eth_estimateGas = lambda *_: hex((1 << 24) + 1)  # type: ignore[method-assign]
    with pytest.raises(RevertError, match="more than 16,777,216 gas") as caught:
        outbox.send(to(accounts))
    assert caught.value.reason == "out of gas"
    assert "EIP-7825" in str(caught.value.hint)
