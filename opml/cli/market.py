"""`opml market`: ask for inferences and pay for them, or answer and be paid."""

from pathlib import Path
from typing import Any

import click
import numpy as np

from opml.chain.market import BPS, NOBODY, MarketClient, RequestView, Status, Terms
from opml.chain.units import ETHER
from opml.cli.market_session import market_option, open_market
from opml.cli.numbers import BasisPoints, Ether
from opml.cli.options import (
    ADDRESS,
    console,
    emit,
    inputs_option,
    json_option,
    key_options,
    load_inputs,
    model_options,
    rpc_option,
)
from opml.cli.serve import serve_command
from opml.cli.session import parse_id, receipt_json
from opml.counts import cut_outputs
from opml.errors import ChainError
from opml.model import Model, load
from opml.model_memory import input_bytes, read_output
from opml.pins import Pins
from vm.merkle import subtree_root

UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


class Duration(click.ParamType):  # type: ignore[type-arg]
    """Seconds: 90, 90s, 5m, 2h, 1d."""

    name = "TIME"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value)
        number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
        if not number.isascii() or not number.isdigit() or int(number) == 0:
            self.fail(f"{value!r} is no time such as 90s, 5m, 2h or 1d", param, ctx)
        return int(number) * unit


def _paid(ctx: click.Context, param: click.Parameter, value: int) -> int:
    if value == 0:
        raise click.BadParameter("a price of nothing buys no answer", ctx, param)
    return value


@click.group("market")
def command() -> None:
    """Ask for inferences and pay for them once they are final, or answer requests and be paid.

    \b
    Examples:
      opml market publish cnn.opml --royalty 5 --rpc http://127.0.0.1:8545
      opml market request cnn.opml --input image.npy --price 0.01 --rpc http://127.0.0.1:8545
      opml market list --rpc http://127.0.0.1:8545
      opml market serve --model cnn.opml --rpc http://127.0.0.1:8545

    What a market is: docs/consumer.md.
    """


@command.command("publish")
@click.argument("model", type=click.Path(path_type=Path))
@rpc_option
@market_option
@key_options
@model_options
@click.option("--royalty", type=BasisPoints(5_000), required=True, help="Percent of each price; for good.")
@click.option("--uri", default="", help="Where the model can be had.")
@json_option
def publish(
    model: Path,
    rpc: str,
    market: str | None,
    key_env: str,
    keystore: Path | None,
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    royalty: int,
    uri: str,
    as_json: bool,
) -> None:
    """Register MODEL, and what its author earns of every request that names him.

    \b
    Examples:
      opml market publish cnn.opml --royalty 5 --uri ipfs://… --rpc http://127.0.0.1:8545
      opml market publish cnn.onnx --window 600 --clock 600 --royalty 2.5 --rpc http://127.0.0.1:8545
    """
    session = open_market(rpc, market, keystore, key_env)
    account, loaded = session.account(), load(model, window=window, clock=clock, one_phase=one_phase, dims=dims)
    receipt = session.market.publish(loaded.header, uri, royalty, account)
    if as_json:
        body = {"model_id": loaded.model_id, "registrant": account.address, "royalty_bps": royalty}
        emit(body | {"published": receipt_json(receipt)})
    else:
        click.echo(f"model 0x{loaded.model_id.hex()}")
        click.echo(f"registrant {account.address}, royalty {royalty / BPS:.2%}")


@command.command("request")
@click.argument("model", type=click.Path(path_type=Path))
@inputs_option
@rpc_option
@market_option
@key_options
@model_options
@click.option(
    "--price", type=Ether(), required=True, callback=_paid, help="The highest price; what is not spent comes back."
)
@click.option("--min-price", type=Ether(), help="Where the price begins to rise from; by default it does not rise.")
@click.option("--patience", type=Duration(), default="1h", show_default=True, help="Time for provers to accept.")
@click.option("--registrant", type=ADDRESS, default=NOBODY, help="Who published the model and gets the royalty.")
@click.option("--refund-to", type=ADDRESS, help="Who gets what is not spent; by default the sender.")
@click.option("--withhold", metavar="URI", help="Do not post the input's bytes, only their root, and where they are.")
@click.option("--accept-withheld", is_flag=True, help="A claim will do whose input is not on chain either.")
@json_option
def request(
    model: Path,
    input_files: tuple[str, ...],
    rpc: str,
    market: str | None,
    key_env: str,
    keystore: Path | None,
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    price: int,
    min_price: int | None,
    patience: int,
    registrant: str,
    refund_to: str | None,
    withhold: str | None,
    accept_withheld: bool,
    as_json: bool,
) -> None:
    """Ask what MODEL says about an input. The highest price is held by the market until the answer is final.

    \b
    Examples:
      opml market request cnn.opml --input image.npy --price 0.01 --rpc http://127.0.0.1:8545
      opml market request cnn.opml -i image.npy --min-price 0.001 --price 0.01 --patience 30m --registrant 0x… --rpc URL
    """
    session = open_market(rpc, market, keystore, key_env)
    account, loaded = session.account(), load(model, window=window, clock=clock, one_phase=one_phase, dims=dims)
    arrays = load_inputs(input_files, list(loaded.inputs))
    loaded.engine.check(arrays)
    data = input_bytes(loaded.image.program, arrays)
    terms = Terms(
        model_id=loaded.model_id,
        registrant=registrant,
        refund_to=refund_to or account.address,
        min_price=price if min_price is None else min_price,
        deadline=session.market.now() + patience,
        accept_withheld=accept_withheld,
    )
    if withhold is None:
        request_id, receipt = session.market.request(terms, data, price, account)
    else:
        root = subtree_root(data, loaded.header.input_level)
        request_id, receipt = session.market.request_by_root(terms, root, withhold, price, account)
    if as_json:
        emit({"request_id": request_id, "deadline": terms.deadline, "requested": receipt_json(receipt)})
    else:
        click.echo(f"request 0x{request_id.hex()}")


@command.command("list")
@click.argument("request", required=False)
@rpc_option
@market_option
@click.option("--model", "-m", type=click.Path(path_type=Path), help="The model, to read outputs by its names.")
@model_options
@json_option
def list_requests(
    request: str | None,
    rpc: str,
    market: str | None,
    model: Path | None,
    dims: Pins,
    window: int,
    clock: int,
    one_phase: bool,
    as_json: bool,
) -> None:
    """List the requests on a market, or show one REQUEST with its answer.

    \b
    Examples:
      opml market list --rpc http://127.0.0.1:8545
      opml market list 0x41f0… --model cnn.opml --rpc http://127.0.0.1:8545 --json
    """
    session = open_market(rpc, market)
    loaded = None
    if model is not None:
        loaded = load(model, window=window, clock=clock, one_phase=one_phase, dims=dims)
    views = session.market.requests() if request is None else [existing(session.market, request)]
    rows = [_row(session.market, view, loaded) for view in views]
    if as_json:
        emit({"market": session.market.address, "time": session.market.now(), "requests": rows})
        return
    if not rows:
        console.print(f"no requests at {session.market.address}")
    for row in rows:
        click.echo(f"0x{row['request_id'].hex()} {row['status']}")
        click.echo(f"  model 0x{row['model_id'].hex()}, requester {row['requester']}")
        click.echo(f"  {_price_in_words(row, session.market.now())}")
        if row["called"] is False:
            click.echo("  the requester's own contract failed when it was called; it can still read the answer")
        for name, value in (row["outputs"] or {}).items():
            click.echo(f"  {name} {np.array2string(value, threshold=20)}" + ("" if row["final"] else "  not final yet"))


@command.command("deliver")
@click.argument("request")
@rpc_option
@market_option
@key_options
@json_option
def deliver(request: str, rpc: str, market: str | None, key_env: str, keystore: Path | None, as_json: bool) -> None:
    """Deliver the answer of REQUEST, once its claim's window is over, and have everybody paid. Anyone may.

    \b
    Examples:
      opml market deliver 0x41f0… --rpc http://127.0.0.1:8545
    """
    session = open_market(rpc, market, keystore, key_env)
    view = existing(session.market, request)
    output = session.market.output(view.request_id)
    if output is None:
        raise ChainError("nobody has accepted the request yet", "wait for a prover, or be one: opml market serve")
    receipt = session.market.deliver(view.request, output, session.account())
    _report(as_json, view, "delivered", receipt)


@command.command("refund")
@click.argument("request")
@rpc_option
@market_option
@key_options
@json_option
def refund(request: str, rpc: str, market: str | None, key_env: str, keystore: Path | None, as_json: bool) -> None:
    """Close REQUEST, which nobody has answered in time: its price becomes credit. Anyone may.

    \b
    Examples:
      opml market refund 0x41f0… --rpc http://127.0.0.1:8545
    """
    session = open_market(rpc, market, keystore, key_env)
    view = existing(session.market, request)
    _report(as_json, view, "refunded", session.market.refund(view.request, session.account()))


@command.command("withdraw")
@rpc_option
@market_option
@key_options
@click.option("--to", type=ADDRESS, help="Who gets it; by default the account itself.")
@json_option
def withdraw(rpc: str, market: str | None, key_env: str, keystore: Path | None, to: str | None, as_json: bool) -> None:
    """Pay out what the market owes to the account.

    \b
    Examples:
      opml market withdraw --rpc http://127.0.0.1:8545
    """
    session = open_market(rpc, market, keystore, key_env)
    account = session.account()
    amount = session.market.credit(account.address)
    receipt = session.market.withdraw(to or account.address, account) if amount else None
    if as_json:
        emit({"account": account.address, "amount_wei": amount, "withdrawn": receipt_json(receipt)})
    elif receipt:
        click.echo(f"{amount / ETHER:.6f} ether")
    else:
        click.echo(f"there is nothing to be paid to {account.address}")


command.add_command(serve_command)


def existing(market: MarketClient, text: str) -> RequestView:
    """The request of this id. Raises InputError where it is no id, and ChainError where there is none."""
    view = market.view(parse_id(text, "request"))
    if view is None:
        raise ChainError(f"there is no request {text}", "`opml market list` without an id lists them")
    return view


def _report(as_json: bool, view: RequestView, what: str, receipt: Any) -> None:
    if as_json:
        emit({"request_id": view.request_id, what: receipt_json(receipt)})
    else:
        click.echo(f"{what} with {receipt.gas_used:,} gas")


def _row(market: MarketClient, view: RequestView, model: Model | None) -> dict[str, Any]:
    request, terms = view.request, view.request.terms
    output = market.output(view.request_id) if view.status in (Status.ACCEPTED, Status.DELIVERED) else None
    row: dict[str, Any] = {
        "request_id": view.request_id,
        "status": view.status.name.lower(),
        "model_id": terms.model_id,
        "requester": request.requester,
        "registrant": terms.registrant,
        "royalty_bps": request.royalty_bps,
        "min_price_wei": terms.min_price,
        "max_price_wei": request.max_price,
        "price_wei": view.price if view.status in (Status.ACCEPTED, Status.DELIVERED) else None,
        "deadline": terms.deadline,
        "claim_id": view.claim_id if output is not None else None,
        "final": view.status is Status.DELIVERED,
        "called": market.called(view.request_id) if view.status is Status.DELIVERED else None,
        "output": output,
        "outputs": None,
    }
    if model is not None and output is not None and model.model_id == terms.model_id:
        program = model.image.program
        row["outputs"] = cut_outputs(program.graph.counts, read_output(program, output))
    return row


def _price_in_words(row: dict[str, Any], now: int) -> str:
    low, high = row["min_price_wei"] / ETHER, row["max_price_wei"] / ETHER
    match row["status"]:
        case "open":
            left = row["deadline"] - now
            when = f"for {left} s more" if left >= 0 else f"until {-left} s ago: `opml market refund`"
            return f"{low:g} to {high:g} ether, {when}"
        case "refunded":
            return f"{high:g} ether given back"
        case status:
            return f"{row['price_wei'] / ETHER:g} ether, claim 0x{row['claim_id'].hex()}, {status}"
