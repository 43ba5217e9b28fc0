"""Our ABI coding against web3's, forms of numbers and addresses, and every dialect of a refusal."""

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest
from chain_bytecode import error_string, panic, word
from eth_utils.crypto import keccak
from hypothesis import given
from hypothesis import strategies as st

from opml.chain.abi import Abi, artifact
from opml.chain.hexa import address_bytes, checksum, from_hex, from_quantity, quantity, to_hex
from opml.chain.reverts import HINTS, node_error, revert_error
from opml.errors import ChainError, RevertError

OPML = artifact("Opml").abi
words = st.binary(min_size=32, max_size=32)


@pytest.fixture(scope="module")
def web3_contract() -> Any:
    from web3 import Web3

    return Web3().eth.contract(abi=json.loads(json.dumps(list(OPML._entries))))


@given(words, st.binary(min_size=20, max_size=20), st.integers(0, 2**256 - 1), words, st.lists(words, max_size=5))
def test_calls_are_coded_as_web3_codes_them(
    web3_contract: Any, claim: bytes, player: bytes, salt: int, root: bytes, states: list[bytes]
) -> None:
    args = [(claim, checksum(player), salt), (1, 2, root, claim), states]
    assert to_hex(OPML.encode_call("post", *args)) == web3_contract.encode_abi("post", args=args)


@given(st.data())
def test_structs_go_in_by_order_or_by_name_and_come_out_by_name(web3_contract: Any, data: st.DataObject) -> None:
    parts = OPML._functions["registerModel"]["inputs"][0]["components"]
    bits = [None if part["type"] == "bytes32" else int(part["type"].removeprefix("uint")) for part in parts]
    values = tuple(data.draw(words if size is None else st.integers(0, 2**size - 1)) for size in bits)
    named = {part["name"]: value for part, value in zip(parts, values, strict=True)}
    coded = OPML.encode_call("registerModel", values, "uri")
    assert coded == OPML.encode_call("registerModel", named, "uri")
    assert to_hex(coded) == web3_contract.encode_abi("registerModel", args=[values, "uri"])
    # A struct of static members is its words.
    raw = b"".join(value if isinstance(value, bytes) else value.to_bytes(32, "big") for value in values)
    assert OPML.decode_result("models", raw) == named


def test_values_that_do_not_fit_are_refused() -> None:
    for args in ((bytes(31),), (b"\x01" * 33,), (5,), ("0x",), (None,)):
        with pytest.raises(ChainError, match="encoded"):
            OPML.encode_call("finalise", *args)
    with pytest.raises(ChainError, match="encoded"):
        OPML.encode_call("challenge", bytes(32), 1 << 256)
    for count in (0, 2):
        with pytest.raises(ChainError, match="encoded"):
            OPML.encode_call("finalise", *[bytes(32)] * count)


def test_results_that_are_no_results_are_refused() -> None:
    for data in (b"", bytes(31), b"\xff" * 31):
        with pytest.raises(ChainError, match="unexpected"):
            OPML.decode_result("k", data)
    with pytest.raises(ChainError, match="unexpected"):
        OPML.decode_result("games", bytes(64))


@given(words, words, st.integers(0, 2**160 - 1), st.integers(0, 2**256 - 1))
def test_events_come_out_in_their_order(game: bytes, claim: bytes, player: int, salt: int) -> None:
    address = checksum(player.to_bytes(20, "big"))
    topics = [OPML.topic("Challenged"), game, claim, word(player)]
    event = OPML.decode_event(topics, word(5) + word(salt))
    assert event is not None
    assert event.name == "Challenged"
    assert list(event.args.items()) == [
        ("gameId", game),
        ("claimId", claim),
        ("challenger", address),
        ("prover", checksum(word(5)[12:])),
        ("salt", salt),
    ]


def test_foreign_events_and_errors_are_none() -> None:
    assert OPML.decode_event([], b"") is None
    assert OPML.decode_event([bytes(32)], b"") is None
    assert OPML.decode_error(b"") is None
    assert OPML.decode_error(b"\xde\xad\xbe\xef") is None
    # A known selector with arguments that are cut off is no error of ours.
    assert OPML.decode_error(keccak(b"NotCollectable(bytes32)")[:4] + bytes(5)) is None
    with pytest.raises(KeyError):
        OPML.encode_call("noSuchFunction")
    with pytest.raises(StopIteration):
        OPML.topic("NoSuchEvent")


def test_nested_tuples_and_arrays() -> None:
    point = {
        "name": "p",
        "type": "tuple[2]",
        "components": [{"name": "x", "type": "uint8"}, {"name": "y", "type": "address[]"}],
    }
    abi = Abi([{"type": "function", "name": "f", "inputs": [point], "outputs": [{**point, "name": ""}]}])
    a, b = checksum(b"\x01" * 20), checksum(b"\x02" * 20)
    coded = abi.encode_call("f", [(1, [a, b]), (2, [])])
    assert coded[:4] == keccak(b"f((uint8,address[])[2])")[:4]
    assert abi.decode_result("f", coded[4:]) == ({"x": 1, "y": (a, b)}, {"x": 2, "y": ()})


def test_an_artifact_that_is_not_there() -> None:
    with pytest.raises(ChainError, match="no compiled contract Nothing"):
        artifact("Nothing")


# Forms


@given(st.binary(max_size=50), st.integers(0, 2**300))
def test_hexadecimal_forms(data: bytes, number: int) -> None:
    assert from_hex(to_hex(data)) == data
    assert from_quantity(quantity(number)) == from_quantity(number) == number
    assert quantity(number) == "0x" + format(number, "x")


@given(st.binary(min_size=20, max_size=20))
def test_addresses_in_any_letter_case(raw: bytes) -> None:
    from eth_utils.address import to_checksum_address

    address = checksum(raw)
    assert address == to_checksum_address(raw)
    assert checksum(address.lower()) == checksum("0x" + address[2:].upper()) == address
    assert address_bytes(address) == raw


def test_what_is_no_form_is_refused() -> None:
    for text in ("12", "", "0x1", "0xzz", None, 5, b"0x12"):
        with pytest.raises(ValueError, match="hex"):
            from_hex(text)  # type: ignore[arg-type]
    for value in (None, True, "x", "12", 1.5, -1, "-0x1", ""):
        with pytest.raises(ValueError, match="quantity"):
            from_quantity(value)
    for text in ("0x", "0x" + "11" * 19, "0x" + "11" * 21):
        with pytest.raises(ValueError, match="address"):
            address_bytes(text)


# Refusals

UNKNOWN_GAME = keccak(b"UnknownGame()")[:4]


@pytest.mark.parametrize(
    "error",
    [
        {"code": 3, "message": "execution reverted", "data": to_hex(UNKNOWN_GAME)},
        {"code": 3, "message": "execution reverted: custom error 0x85c4b4c1", "data": to_hex(UNKNOWN_GAME)},
        {"code": -32000, "message": "execution reverted", "data": to_hex(UNKNOWN_GAME)},
        {"code": -32015, "message": "VM execution error.", "data": "Reverted " + to_hex(UNKNOWN_GAME)},
        {
            "code": -32603,
            "message": "VM Exception while processing transaction",
            "data": {"message": "x", "data": to_hex(UNKNOWN_GAME)},
        },
        {
            "code": -32603,
            "message": "reverted",
            "data": {"txHash": "0x" + "11" * 32, "data": {"data": to_hex(UNKNOWN_GAME)}},
        },
    ],
)
def test_every_dialect_of_a_custom_error(error: dict[str, Any]) -> None:
    found = node_error(error)
    assert isinstance(found, RevertError)
    assert found.reason == "UnknownGame"
    assert found.message == "the contract refused: UnknownGame()"


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ({"code": 3, "message": "execution reverted", "data": "0x"}, "reverted"),
        ({"code": 3, "message": "execution reverted"}, "reverted"),
        ({"code": -32000, "message": "execution reverted"}, "reverted"),
        ({"code": -32000, "message": "out of gas"}, "reverted"),
        ({"code": 3, "message": "execution reverted", "data": to_hex(error_string("no, thanks"))}, "no, thanks"),
        ({"code": 3, "message": "execution reverted", "data": to_hex(panic(0x32))}, "Panic(0x32)"),
        ({"code": 3, "message": "execution reverted", "data": "0x01020304ff"}, "0x01020304"),
        ({"code": 3, "message": "execution reverted", "data": to_hex(error_string("cut")[:40])}, "0x08c379a0"),
        ({"code": 3, "message": "execution reverted", "data": to_hex(panic(1)[:20])}, "0x4e487b71"),
    ],
)
def test_other_reverts(error: dict[str, Any], reason: str) -> None:
    found = node_error(error)
    assert isinstance(found, RevertError)
    assert found.reason == reason


@pytest.mark.parametrize(
    ("error", "match"),
    [
        ({"code": -32000, "message": "insufficient funds for transfer"}, "insufficient funds"),
        ({"code": -32000, "message": "nonce too low"}, "nonce too low"),
        ({"code": -32005, "message": "limit exceeded", "data": {"see": "https://example"}}, "limit exceeded"),
        ({"code": -32005, "message": "limit exceeded", "data": 5}, "limit exceeded"),
        ({"code": -32005}, "no message"),
        ("just words", "just words"),
        (None, "None"),
    ],
)
def test_refusals_that_are_no_reverts(error: Any, match: str) -> None:
    found = node_error(error)
    assert type(found) is ChainError
    assert match in found.message


@given(st.binary(max_size=200))
def test_any_revert_data_has_a_reason(data: bytes) -> None:
    assert revert_error(data).reason
    for selector in (bytes.fromhex("08c379a0"), bytes.fromhex("4e487b71"), keccak(b"NotCollectable(bytes32)")[:4]):
        assert revert_error(selector + data).message


def test_arguments_of_errors_are_shown() -> None:
    found = revert_error(keccak(b"NotCollectable(bytes32)")[:4] + word(9))
    assert found.message == f"the contract refused: NotCollectable(gameId={to_hex(word(9))})"


def test_all_errors_of_both_contracts_are_known() -> None:
    for name in ("Opml", "StepVerifier"):
        abi = artifact(name).abi
        assert abi.error_names
        for selector, entry in abi._errors.items():
            zeros = bytes(32 * len(entry["inputs"]))
            assert revert_error(selector + zeros).reason == entry["name"]


def test_hints_are_for_errors_that_exist() -> None:
    assert set(HINTS) <= OPML.error_names | artifact("InferenceMarket").abi.error_names
    assert revert_error(UNKNOWN_GAME).hint == HINTS["UnknownGame"]
    assert revert_error(b"").hint is None


def test_importing_the_chain_is_light() -> None:
    heavy = ["web3", "eth", "eth_account", "eth_abi", "rlp", "requests", "numba", "numpy", "coincurve", "aiohttp"]
    code = f"import sys, opml.chain; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_fast_keccak_is_the_one_in_use() -> None:
    from eth_hash.auto import keccak as used

    import opml.chain.node  # noqa: F401

    assert used(b"") == keccak(b"")
    assert "pysha3" in inspect.getmodule(used.hasher).__name__  # type: ignore[union-attr]
