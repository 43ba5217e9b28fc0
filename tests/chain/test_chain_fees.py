"""What is offered for gas, and what nodes say when they do not take a transaction."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from chain_pool import Pool
from click.testing import CliRunner
from eth_account.signers.local import LocalAccount
from hypothesis import given
from hypothesis import strategies as st

from opml.chain import Chain
from opml.chain.fees import DEFAULT_MAX_FEE, GWEI, FeePolicy, Fees
from opml.chain.reverts import Refusal, refusal_kind
from opml.errors import ChainError, RevertError

Accounts = tuple[LocalAccount, ...]
wei = st.integers(0, 10**13)


class Node:
    """Answers about fees only; what is not there is refused."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def request(self, method: str, *_: Any) -> Any:
        if method not in self.answers:
            raise ChainError(f"the method {method} does not exist")
        return self.answers[method]


def suggest(head: dict[str, Any], max_fee: int = DEFAULT_MAX_FEE, **answers: Any) -> Fees:
    return FeePolicy(max_fee).suggest(Node(**answers), head)  # type: ignore[arg-type]


HEAD = {"baseFeePerGas": hex(10 * GWEI)}


def test_the_tip_is_what_others_pay() -> None:
    paid = [[hex(tip)] for tip in (3, 0, 1, 9, 2)]
    assert suggest(HEAD, eth_feeHistory={"reward": paid}) == Fees(20 * GWEI + 3, 3)
    # Blocks without transactions say nothing.
    assert suggest(HEAD, eth_feeHistory={"reward": [["0x0"]] * 5}, eth_maxPriorityFeePerGas="0x7").tip == 7


@pytest.mark.parametrize("history", [{}, {"reward": None}, {"reward": []}, {"reward": [[]]}, [], None, {"reward": 5}])
def test_without_a_history_the_node_is_asked(history: Any) -> None:
    assert suggest(HEAD, eth_feeHistory=history, eth_maxPriorityFeePerGas="0x7") == Fees(20 * GWEI + 7, 7)
    assert suggest(HEAD, eth_feeHistory=history).tip == GWEI
    assert suggest(HEAD).tip == GWEI


def test_a_plain_gas_price_where_there_is_no_base_fee() -> None:
    fees = suggest({}, eth_gasPrice="0x64")
    assert fees.fields() == {"gasPrice": 100}
    assert FeePolicy().raised(fees, fees) == Fees(113, None)
    assert suggest({}, 50, eth_gasPrice="0x64") == Fees(50, None)


@given(wei, wei, wei, wei, st.integers(1, 10**13))
def test_a_replacement_offers_an_eighth_more_of_both(
    limit: int, tip: int, wanted: int, other: int, ceiling: int
) -> None:
    old = Fees(limit, min(limit, tip))
    new = FeePolicy(ceiling).raised(old, Fees(max(wanted, other), other))
    if new is None:
        assert limit * 9 > (ceiling - 1) * 8 or limit >= ceiling
        return
    assert new.tip is not None
    assert old.tip is not None
    assert new.tip <= new.limit <= ceiling
    assert new.limit * 8 >= limit * 9
    assert new.tip * 8 >= old.tip * 9
    assert new.limit > limit
    assert new.tip > old.tip


@given(wei, wei, st.integers(1, 10**13))
def test_nothing_is_above_the_ceiling(base_fee: int, tip: int, ceiling: int) -> None:
    fees = suggest({"baseFeePerGas": hex(base_fee)}, ceiling, eth_maxPriorityFeePerGas=hex(tip))
    assert fees.tip is not None
    assert fees.tip <= fees.limit <= ceiling


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("already known", Refusal.KNOWN),  # geth, reth, our devnet
        ("AlreadyKnown", Refusal.KNOWN),  # Nethermind
        ("Known transaction", Refusal.KNOWN),  # Besu
        ("transaction already imported", Refusal.KNOWN),  # anvil
        ("nonce too low: next nonce 5, tx nonce 4", Refusal.NONCE_LOW),
        ("OldNonce, Current nonce: 5, nonce of rejected tx: 4", Refusal.NONCE_LOW),
        ("nonce too high", Refusal.NONCE_HIGH),
        ("replacement transaction underpriced", Refusal.OUTBID),
        ("ReplacementNotAllowed", Refusal.OUTBID),
        ("could not replace existing tx", Refusal.OUTBID),
        ("transaction underpriced", Refusal.FEE_LOW),
        ("max fee per gas less than block base fee: address 0x…", Refusal.FEE_LOW),
        ("FeeTooLow, MaxFeePerGas too low", Refusal.FEE_LOW),
        ("Gas price below current base fee", Refusal.FEE_LOW),
        ("txpool is full", Refusal.POOL_FULL),
        ("insufficient funds for gas * price + value", None),
        ("exceeds block gas limit", None),
        ("invalid chain id for signer", None),
    ],
)
def test_what_nodes_say(words: str, kind: Refusal | None) -> None:
    assert refusal_kind(ChainError(f"the node refused: {words}")) is kind
    assert refusal_kind(RevertError("nonce too low")) is None


def test_gas_of_a_transaction_has_a_limit_on_every_chain(chain: Chain, accounts: Accounts) -> None:
    with pytest.raises(ChainError, match=r"16,777,216 gas at most \(EIP-7825\), not 16,777,217"):
        chain.transact(accounts[0], accounts[1].address, gas=(1 << 24) + 1)
    # PUSH4 0xffffffff, MLOAD: more memory than any gas buys.
    greedy = bytes.fromhex("63ffffffff51")
    with pytest.raises(RevertError) as caught:
        chain.transact(accounts[0], None, greedy)
    assert caught.value.reason == "out of gas"
    assert "more than 16,777,216 gas" in caught.value.message
    assert chain.nonce(accounts[0].address) == 0


@pytest.mark.parametrize(
    ("arguments", "variable", "gwei"),
    [
        ((), None, DEFAULT_MAX_FEE / GWEI),
        ((), "7.5", 7.5),
        (("--max-fee", "3"), "7.5", 3),
        (("--max-fee", "0.1"), None, 0.1),
    ],
)
def test_the_ceiling_of_a_command(arguments: tuple[str, ...], variable: str | None, gwei: float) -> None:
    import click

    from opml.cli.options import key_options, max_fee

    @click.command()
    @key_options
    def command(**_: Any) -> None:
        click.echo(max_fee())

    environment = {} if variable is None else {"OPML_MAX_FEE": variable}
    done = CliRunner().invoke(command, arguments, env=environment)
    assert int(done.output) == round(gwei * GWEI)


@pytest.mark.parametrize("value", ["0", "-1", "much", ""])
def test_a_ceiling_that_is_none(value: str) -> None:
    opml = Path(sys.executable).with_name("opml")
    command = [opml, "claims", "--rpc", "http://127.0.0.1:1"]
    assert subprocess.run(command, capture_output=True).returncode == 5
    command = [opml, "withdraw", "--rpc", "http://127.0.0.1:1", "--max-fee", value]
    assert subprocess.run(command, capture_output=True).returncode == 2


def test_a_toy_nodes_transactions_are_signed_as_offered(accounts: Accounts) -> None:
    pool = Pool(policy=FeePolicy(5 * GWEI))
    pool.outbox(accounts[0]).send(accounts[1].address)
    (tx,) = pool.waiting[accounts[0].address].values()
    assert (tx.limit, tx.tip) == (3 * GWEI, GWEI)
