"""What is no number, no address or no block is refused as bad usage, before anything is signed."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from opml.chain import Chain, connect, ensure_dev_contract
from opml.chain.accounts import dev_accounts
from opml.chain.deploy import ensure_dev_market
from opml.chain.devnet import background
from opml.cli import COMMANDS, main
from opml.cli.numbers import BasisPoints, Finite

NOWHERE = ("--rpc", "http://127.0.0.1:1")
MODEL = str(Path(__file__).parents[2] / "examples" / "models" / "mlp.onnx")
ANN = dev_accounts()[5]
KEY = {"OPML_KEY": "0x" + bytes(ANN.key).hex()}


def opml(*arguments: str, **environment: str) -> Result:
    return CliRunner().invoke(main, list(arguments), env={"OPML_KEY": None, "OPML_MAX_FEE": None, **environment})


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chain]:
    with background(tmp_path_factory.mktemp("chain"), clock=lambda: 0) as devnet, connect(devnet.url) as chain:
        ensure_dev_contract(chain)
        ensure_dev_market(chain)
        chain.url = devnet.url  # type: ignore[attr-defined]
        yield chain


def params(group: click.Group, context: click.Context) -> Iterator[click.Parameter]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield from command.params
        if isinstance(command, click.Group):
            yield from params(command, context)


def test_no_command_takes_a_number_that_is_not_finite() -> None:
    found = list(params(main, click.Context(main)))
    assert len(found) > len(COMMANDS)
    for param in found:
        assert not isinstance(param.type, click.types.FloatParamType) or isinstance(param.type, Finite), param


@pytest.mark.parametrize("text", ["nan", "inf", "-inf", "1e400", "NaN", "abc", "", "0", "-1", "1e300"])
def test_a_fee_is_a_positive_number(text: str) -> None:
    for result in (opml("withdraw", "--max-fee", text, *NOWHERE), opml("withdraw", *NOWHERE, OPML_MAX_FEE=text)):
        # An empty variable is as good as none.
        if text or "OPML_MAX_FEE" in result.output:
            assert result.exit_code == 2, result.output


def test_the_variable_is_named_where_it_is_wrong() -> None:
    result = opml("withdraw", *NOWHERE, OPML_MAX_FEE="abc")
    assert result.exit_code == 2
    assert "OPML_MAX_FEE" in result.stderr
    assert "'abc' is not a number" in result.stderr
    assert opml("withdraw", *NOWHERE, OPML_MAX_FEE="2.5").exit_code == 5, "no node there"


@pytest.mark.parametrize(
    "command",
    [("prove", "m"), ("challenge", "0x00", "-m", "m"), ("watch", "-m", MODEL), ("market", "serve", "-m", MODEL)],
)
@pytest.mark.parametrize("text", ["nan", "inf", "0", "1e30"])
def test_the_time_between_two_looks_is_a_number(command: tuple[str, ...], text: str) -> None:
    result = opml(*command, "--poll", text, *NOWHERE)
    assert result.exit_code == 2
    assert "--poll" in result.stderr


@given(st.integers(0, 5_000))
def test_every_basis_point_can_be_said(points: int) -> None:
    kind = BasisPoints(5_000)
    assert kind.convert(f"{points // 100}.{points % 100:02}", None, None) == points
    with pytest.raises(click.BadParameter, match=r"finer than a basis point|no percentage"):
        kind.convert(f"{points // 100}.{points % 100:02}5", None, None)


@pytest.mark.parametrize("text", ["nan", "inf", "-0.01", "50.01", "5.005", "5%", "1e-9"])
def test_a_royalty_is_whole_basis_points(text: str) -> None:
    result = opml("market", "publish", MODEL, "--royalty", text, *NOWHERE)
    assert result.exit_code == 2
    assert "--royalty" in result.stderr


@pytest.mark.parametrize(
    "words",
    [
        ("withdraw", "--to", "0x12"),
        ("request", MODEL, "--price", "1", "--registrant", "0x12"),
        ("request", MODEL, "--price", "1", "--refund-to", "zz"),
    ],
)
def test_an_account_of_the_market_is_an_address(words: tuple[str, ...]) -> None:
    result = opml("market", *words, *NOWHERE, **KEY)
    assert result.exit_code == 2
    assert "is not an address" in result.stderr


def test_an_answer_has_a_price() -> None:
    result = opml("market", "request", MODEL, "--price", "0", *NOWHERE, **KEY)
    assert result.exit_code == 2
    assert "a price of nothing" in result.stderr


@pytest.mark.parametrize("command", [("claims", "--contract"), ("market", "list", "--market")])
def test_a_first_block_is_one_that_the_chain_has(chain: Chain, command: tuple[str, ...]) -> None:
    address, rpc = "0x" + "11" * 20, ("--rpc", chain.url)  # type: ignore[attr-defined]
    head = chain.block_number()
    result = opml(*command, f"{address}@999999", *rpc)
    assert result.exit_code == 2
    assert f"block 999999 is beyond the chain's head ({head})" in result.stderr
    assert opml(*command, f"@{head + 1}", *rpc).exit_code == 2
    assert opml(*command, f"@{head}", *rpc).exit_code == 0
    for wrong in ("0x12", "0x12@1", "zz"):
        result = opml(*command, wrong, *rpc)
        assert result.exit_code == 2
        assert "is not an address" in result.stderr


def test_nobody_is_his_own_delegate(chain: Chain) -> None:
    rpc: Any = ("--rpc", chain.url)  # type: ignore[attr-defined]
    result = opml("delegate", ANN.address.lower(), *rpc, **KEY)
    assert result.exit_code == 2
    assert "the key's own account" in result.stderr
    assert opml("delegate", dev_accounts()[6].address, *rpc, **KEY).exit_code == 0
