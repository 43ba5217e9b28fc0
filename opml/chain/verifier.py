"""The deployed step verifier's code in a bare EVM: no blocks, transactions, signatures or fees around it.

For tools that put many steps through the contract. py-evm under Prague's rules, as in the embedded chain.
"""

from typing import Any, Final

from eth.chains.base import MiningChain
from eth.consensus.applier import ConsensusApplier
from eth.consensus.noproof import NoProofConsensus
from eth.db.atomic import AtomicDB
from eth.db.backends.memory import MemoryDB
from eth.exceptions import Revert
from eth.vm.forks.prague import PragueVM
from eth.vm.message import Message
from eth_typing import Address

from opml.chain.abi import artifact
from opml.chain.records import BLOCK_GAS, Computation
from opml.errors import RevertError

_CALLER: Final = Address(bytes(19) + b"\1")
_VERIFIER: Final = Address(bytes(19) + b"\xff")


class EvmVerifier:
    """The contract `StepVerifier` as `vm.step.replay` is used: witness in, state hashes before and after out."""

    def __init__(self) -> None:
        applier = ConsensusApplier(NoProofConsensus)
        configuration = applier.amend_vm_configuration(((0, PragueVM),))
        kind: Any = type("VerifierChain", (MiningChain,), {"chain_id": 1, "vm_configuration": configuration})
        genesis = {"difficulty": 0, "gas_limit": BLOCK_GAS, "timestamp": 0, "nonce": bytes(8)}
        chain = kind.from_genesis(AtomicDB(MemoryDB()), genesis, {})
        header = chain.get_block().header.copy(base_fee_per_gas=0)
        self._state: Any = chain.get_vm(header).state
        self._context = self._state.get_transaction_context_class()(gas_price=0, origin=_CALLER)
        self._contract = artifact("StepVerifier")
        created = self._execute(b"", self._contract.bytecode)
        self._code: bytes = created.output
        self.gas = 0
        """Gas of the last step's execution, without what a transaction would pay for its data."""

    def step(self, witness: bytes) -> tuple[bytes, bytes]:
        """What `StepVerifier.step` answers. Raises RevertError, by the name of its error, for a malformed witness."""
        abi = self._contract.abi
        computation = self._execute(abi.encode_call("step", witness), self._code)
        if computation.is_error:
            event = abi.decode_error(computation.output) if isinstance(computation.error, Revert) else None
            raise RevertError(event.name if event else repr(computation.error))
        self.gas = computation.get_gas_used()
        result = abi.decode_result("step", computation.output)
        return result["pre"], result["post"]

    def _execute(self, data: bytes, code: bytes) -> Computation:
        message = Message(gas=BLOCK_GAS, to=_VERIFIER, sender=_CALLER, value=0, data=data, code=code)
        kind = self._state.computation_class
        return kind.apply_computation(self._state, message, self._context)
