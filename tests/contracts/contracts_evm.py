"""A bare EVM for the contract tests: py-evm's Prague state with neither blocks, signatures nor fees.

Time is a number that a test sets; `rollback` undoes everything inside it, so that one position serves many attempts.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import eth_abi
from eth.chains.base import MiningChain
from eth.consensus import ConsensusApplier, NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert
from eth.vm.forks import PragueVM
from eth.vm.spoof import SpoofTransaction

from vm.keccak import keccak256

ARTIFACTS = Path(__file__).parents[2] / "opml" / "chain" / "artifacts"
CHAIN_ID = 31337
GENESIS_TIME = 1_800_000_000
TX_GAS = 1 << 24  # EIP-7825: no transaction may have more
ETHER = 10**18


def type_of(item: dict[str, Any]) -> str:
    """The ABI type of a parameter, tuples spelt out."""
    kind: str = item["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(map(type_of, item['components']))}){kind[5:]}"


def plain(item: dict[str, Any], value: Any) -> Any:
    """A decoded value with structs as dictionaries."""
    if item["type"] == "tuple":
        return {part["name"]: plain(part, one) for part, one in zip(item["components"], value, strict=True)}
    return value


class Abi:
    """Calls, results, errors and events of a set of artifacts, by name (and number of arguments)."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        self.functions = {(e["name"], len(e["inputs"])): e for e in entries if e["type"] == "function"}
        self.errors = {self._hash(e)[:4]: e for e in entries if e["type"] == "error"}
        self.events = {self._hash(e): e for e in entries if e["type"] == "event"}

    @staticmethod
    def _hash(entry: dict[str, Any]) -> bytes:
        return keccak256(f"{entry['name']}({','.join(map(type_of, entry['inputs']))})".encode())

    def encode(self, name: str, args: Sequence[Any]) -> bytes:
        entry = self.functions[name, len(args)]
        return self._hash(entry)[:4] + eth_abi.encode([type_of(i) for i in entry["inputs"]], args)

    def decode(self, name: str, arity: int, output: bytes) -> Any:
        outputs = self.functions[name, arity]["outputs"]
        values = eth_abi.decode([type_of(o) for o in outputs], output)
        result = tuple(plain(o, v) for o, v in zip(outputs, values, strict=True))
        return result[0] if len(result) == 1 else result

    def error(self, output: bytes) -> str:
        """The name of a custom error; `Panic` or `empty` for what no contract of ours should answer."""
        if not output:
            return "empty"
        entry = self.errors.get(output[:4])
        return entry["name"] if entry else {"4e487b71": "Panic"}.get(output[:4].hex(), output.hex())

    def event(self, topics: Sequence[bytes], data: bytes) -> tuple[str, dict[str, Any]]:
        entry = self.events[topics[0]]
        indexed = [i for i in entry["inputs"] if i["indexed"]]
        rest = [i for i in entry["inputs"] if not i["indexed"]]
        args = {i["name"]: eth_abi.decode([type_of(i)], t)[0] for i, t in zip(indexed, topics[1:], strict=True)}
        values = eth_abi.decode([type_of(i) for i in rest], data)
        return entry["name"], args | {i["name"]: plain(i, v) for i, v in zip(rest, values, strict=True)}


def artifact(name: str, folder: Path = ARTIFACTS) -> dict[str, Any]:
    """A compiled contract as the build wrote it."""
    return json.loads((folder / f"{name}.json").read_text())  # type: ignore[no-any-return]


class Reverted(Exception):
    """A transaction or call that reverted; `name` is the custom error's."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


@dataclass(frozen=True)
class Receipt:
    """What a transaction used and left: gas as a block counts it (refunds and EIP-7623's floor included)."""

    gas: int
    output: bytes
    events: list[tuple[str, dict[str, Any]]]


class Evm:
    """Accounts, code and time. Every address has ETHER * 1000 after `fund`."""

    def __init__(self) -> None:
        kind = type(
            "Chain",
            (MiningChain,),
            {
                "chain_id": CHAIN_ID,
                "vm_configuration": ConsensusApplier(NoProofConsensus).amend_vm_configuration(((0, PragueVM),)),
            },
        )
        genesis = {"difficulty": 0, "gas_limit": 30_000_000, "timestamp": GENESIS_TIME, "nonce": bytes(8)}
        self._chain: Any = kind.from_genesis(AtomicDB(MemoryDB()), genesis, {})  # type: ignore[attr-defined]
        self._header = self._chain.get_block().header.copy(base_fee_per_gas=0)
        self.state: Any = self._chain.get_vm(self._header).state
        self.now = GENESIS_TIME
        self.fund(bytes(20))  # the coinbase and who calls: an empty account would be deleted after each transaction
        self._attempts = 0
        self._entries = [e for name in ("Opml", "StepVerifier") for e in artifact(name)["abi"]]
        self.abi = Abi(*self._entries)

    def learn(self, built: dict[str, Any]) -> None:
        """Makes another artifact's functions, events and errors known."""
        self._entries = [*(e for e in built["abi"] if e["type"] != "constructor"), *self._entries]
        self.abi = Abi(*self._entries)

    @property
    def now(self) -> int:
        """The time of all that follows, in seconds."""
        return int(self.state.execution_context.timestamp)

    @now.setter
    def now(self, seconds: int) -> None:
        self.state.execution_context._timestamp = seconds

    def fund(self, *addresses: bytes) -> None:
        for address in addresses:
            self.state.set_balance(address, 1000 * ETHER)

    def balance(self, address: bytes) -> int:
        return int(self.state.get_balance(address))

    @contextmanager
    def rollback(self) -> Iterator[None]:
        """Forgets, at its end, all that happened inside."""
        saved, now = self.state.snapshot(), self.now
        self._attempts += 1
        try:
            yield
        finally:
            self._attempts -= 1
            self.state.revert(saved)
            self.now = now

    def transact(self, sender: bytes, to: bytes, data: bytes, value: int = 0, gas: int = TX_GAS) -> Receipt:
        """Runs a transaction at gas price zero. Raises Reverted; the state is then as before, but for the nonce."""
        unsigned = PragueVM.get_transaction_builder().new_unsigned_dynamic_fee_transaction(
            chain_id=CHAIN_ID,
            nonce=self.state.get_nonce(sender),
            max_priority_fee_per_gas=0,
            max_fee_per_gas=0,
            gas=gas,
            to=to,
            value=value,
            data=data,
            access_list=(),
        )
        transaction: Any = SpoofTransaction(unsigned, from_=sender)
        final = self.state.apply_transaction(transaction)
        gas_used = PragueVM.finalize_gas_used(transaction, final)
        if not self._attempts:  # what a block does between transactions: storage is cold, its values the original ones
            self.state.lock_changes()
            self.state._account_db._reset_access_counters()
        if final.is_error:
            raise Reverted(self.abi.error(final.output) if isinstance(final.error, Revert) else repr(final.error))
        logs = [
            self.abi.event([topic.to_bytes(32, "big") for topic in topics], data)
            for _, topics, data in final.get_log_entries()
        ]
        output = final.msg.storage_address if not to else final.output
        return Receipt(gas_used, output, logs)

    def deploy(self, sender: bytes, built: dict[str, Any], *args: Any) -> bytes:
        """Deploys an artifact and returns its address."""
        inputs = next((e["inputs"] for e in built["abi"] if e["type"] == "constructor"), [])
        data = bytes.fromhex(built["bytecode"][2:]) + eth_abi.encode([type_of(i) for i in inputs], args)
        return self.transact(sender, b"", data).output

    def call(self, to: bytes, name: str, *args: Any) -> Any:
        """Calls a function and forgets what it changed."""
        with self.rollback():
            return self.abi.decode(name, len(args), self.transact(bytes(20), to, self.abi.encode(name, args)).output)


def address_of(name: str) -> bytes:
    """An account by name."""
    return keccak256(name.encode())[-20:]
