"""Contract ABIs: calls, results, events and custom errors, encoded and decoded by name."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib import resources
from typing import Any

from opml.chain.hexa import checksum, from_hex
from opml.errors import ChainError

Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Event:
    """A decoded log: the event's name and its arguments by name."""

    name: str
    args: Mapping[str, Any]


def _type(parameter: Entry) -> str:
    """The canonical type of a parameter: tuples as their parenthesised members."""
    kind: str = parameter["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(_type, parameter['components']))}){kind[len('tuple') :]}"


def _named(parameter: Entry, value: Any) -> Any:
    """A decoded value with addresses checksummed, text as far as it is text, and struct members by name."""
    kind: str = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return tuple(_named(inner, item) for item in value)
    if kind == "tuple":
        return {part["name"]: _named(part, item) for part, item in zip(parameter["components"], value, strict=True)}
    if kind == "string":
        return value.decode(errors="replace")
    return checksum(value) if kind == "address" else value


class Abi:
    """One contract's interface.

    Results and event arguments come as Python values: integers, bytes, checksummed addresses, tuples for arrays,
    dicts for structs.
    """

    def __init__(self, entries: Sequence[Entry]) -> None:
        self._entries = tuple(entries)

    def _of_type(self, kind: str) -> list[Entry]:
        return [entry for entry in self._entries if entry["type"] == kind]

    @cached_property
    def _functions(self) -> dict[str, Entry]:
        return {entry["name"]: entry for entry in self._of_type("function")}

    @cached_property
    def _events(self) -> dict[bytes, Entry]:
        return {_hash(_signature(entry)): entry for entry in self._of_type("event")}

    @cached_property
    def _errors(self) -> dict[bytes, Entry]:
        return {_hash(_signature(entry))[:4]: entry for entry in self._of_type("error")}

    @property
    def event_names(self) -> frozenset[str]:
        """Names of the contract's events."""
        return frozenset(entry["name"] for entry in self._events.values())

    @property
    def error_names(self) -> frozenset[str]:
        """Names of the contract's custom errors."""
        return frozenset(entry["name"] for entry in self._errors.values())

    def has_function(self, name: str) -> bool:
        """Whether the contract has a function of this name."""
        return name in self._functions

    def topic(self, event: str) -> bytes:
        """The first topic (32 bytes) of an event. KeyError if there is no such event."""
        return next(topic for topic, entry in self._events.items() if entry["name"] == event)

    def encode_call(self, name: str, *args: Any) -> bytes:
        """Call data: selector and arguments."""
        entry = self._functions[name]
        return _hash(_signature(entry))[:4] + _encode(entry["inputs"], args)

    def encode_constructor(self, *args: Any) -> bytes:
        """The constructor's arguments, to be put after the creation code."""
        inputs: Sequence[Entry] = next((entry["inputs"] for entry in self._of_type("constructor")), [])
        return _encode(inputs, args)

    def decode_result(self, name: str, data: bytes) -> Any:
        """A function's result: the value if there is one, else a dict by name (or a tuple where they have no names)."""
        outputs = self._functions[name]["outputs"]
        values = _decode(outputs, data)
        if len(outputs) == 1:
            return values[0]
        names = [output["name"] for output in outputs]
        return dict(zip(names, values, strict=True)) if all(names) else values

    def decode_event(self, topics: Sequence[bytes], data: bytes) -> Event | None:
        """The event of a log; None if it is not one of this contract's."""
        entry = self._events.get(topics[0]) if topics else None
        if entry is None:
            return None
        plain = [part for part in entry["inputs"] if not part["indexed"]]
        values = dict(zip([part["name"] for part in plain], _decode(plain, data), strict=True))
        for part, topic in zip([part for part in entry["inputs"] if part["indexed"]], topics[1:], strict=True):
            # A dynamic value is indexed by its hash, which stays as it is.
            dynamic = part["type"] in ("string", "bytes") or part["type"].endswith("]") or part["type"] == "tuple"
            values[part["name"]] = topic if dynamic else _decode([part], topic)[0]
        return Event(entry["name"], {part["name"]: values[part["name"]] for part in entry["inputs"]})

    def decode_error(self, data: bytes) -> Event | None:
        """The custom error in revert data; None if it is not one of this contract's."""
        entry = self._errors.get(data[:4])
        if entry is None:
            return None
        try:
            values = _decode(entry["inputs"], data[4:])
        except ChainError:
            return None
        return Event(entry["name"], dict(zip([part["name"] for part in entry["inputs"]], values, strict=True)))


def _signature(entry: Entry) -> str:
    return f"{entry['name']}({','.join(map(_type, entry['inputs']))})"


@cache
def _hash(signature: str) -> bytes:
    from eth_utils.crypto import keccak

    return keccak(signature.encode())


def _encode(parameters: Sequence[Entry], args: Sequence[Any]) -> bytes:
    from eth_abi.abi import encode
    from eth_abi.exceptions import EncodingError

    try:
        values = [_positional(part, value) for part, value in zip(parameters, args, strict=True)]
        return encode([_type(part) for part in parameters], values)
    except (EncodingError, ValueError, TypeError, KeyError, OverflowError) as error:
        raise ChainError(f"cannot be encoded for the contract: {error}") from error


def _positional(parameter: Entry, value: Any) -> Any:
    """Structs given by name in their order; fixed bytes of exactly their length, which the library would pad."""
    kind: str = parameter["type"]
    if kind.endswith("]"):
        inner = {**parameter, "type": kind[: kind.rindex("[")]}
        return [_positional(inner, item) for item in value]
    if kind == "tuple":
        parts = parameter["components"]
        values = [value[part["name"]] for part in parts] if isinstance(value, Mapping) else value
        return tuple(_positional(part, item) for part, item in zip(parts, values, strict=True))
    if kind.startswith("bytes") and kind != "bytes" and (not isinstance(value, bytes) or len(value) != int(kind[5:])):
        raise ValueError(f"{parameter['name']} is no {kind}: {value!r}")
    return value


def _decode(parameters: Sequence[Entry], data: bytes) -> tuple[Any, ...]:
    from eth_abi.abi import decode
    from eth_abi.exceptions import DecodingError

    # Text is decoded by us: anybody may emit what is none, and one bad event must not hide the others.
    types = [_type(part).replace("string", "bytes") for part in parameters]
    try:
        values = decode(types, data)
    except (DecodingError, OverflowError) as error:
        raise ChainError(f"the contract answered something unexpected: {error}") from error
    return tuple(_named(part, value) for part, value in zip(parameters, values, strict=True))


@dataclass(frozen=True)
class Artifact:
    """A compiled contract of this package."""

    name: str
    abi: Abi
    bytecode: bytes


@cache
def artifact(name: str) -> Artifact:
    """A compiled contract by name. Raises ChainError where the package carries none."""
    file = resources.files("opml.chain") / "artifacts" / f"{name}.json"
    try:
        content = json.loads(file.read_text())
    except FileNotFoundError:
        raise ChainError(f"this installation has no compiled contract {name}", "reinstall opml") from None
    bytecode = content["bytecode"]
    text = bytecode["object"] if isinstance(bytecode, dict) else bytecode
    return Artifact(name, Abi(content["abi"]), from_hex(text if text.startswith("0x") else "0x" + text))


@cache
def known_abis() -> tuple[Abi, ...]:
    """The ABIs of all contracts that the package carries, for the names of their errors."""
    folder = resources.files("opml.chain") / "artifacts"
    if not folder.is_dir():
        return ()
    names = sorted(file.name.removesuffix(".json") for file in folder.iterdir() if file.name.endswith(".json"))
    return tuple(artifact(name).abi for name in names)
