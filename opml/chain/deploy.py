"""Putting the contracts on a chain, and finding them again on a development chain."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from opml.chain.abi import artifact
from opml.chain.accounts import dev_accounts
from opml.chain.base import Chain, Receipt
from opml.chain.hexa import address_bytes, checksum
from opml.chain.records import CHAIN_ID
from opml.chain.units import ETHER
from opml.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

DEFAULT_PROVER_BOND: Final = ETHER
DEFAULT_CHALLENGER_BOND: Final = ETHER // 10
DEFAULT_K: Final = 40


@dataclass(frozen=True)
class Deployment:
    """The addresses of the two contracts, the block of the second, and the gas of both transactions together."""

    address: str
    verifier: str
    block: int
    gas_used: int


def create(chain: Chain, account: "LocalAccount", name: str, *arguments: Any) -> Receipt:
    """Deploys one contract by its name, with its constructor's arguments; the receipt has its address."""
    contract = artifact(name)
    constructor = contract.abi.encode_constructor(*arguments) if arguments else b""
    return chain.transact(account, None, contract.bytecode + constructor)


def deploy(
    chain: Chain,
    account: "LocalAccount",
    prover_bond: int = DEFAULT_PROVER_BOND,
    challenger_bond: int = DEFAULT_CHALLENGER_BOND,
    k: int = DEFAULT_K,
) -> Deployment:
    """Deploys the step verifier and then Opml with these bonds (wei) and parts per round.

    Raises RevertError (BadParameters) where the contract refuses the numbers.
    """
    verifier = create(chain, account, "StepVerifier")
    assert verifier.contract is not None
    main = create(chain, account, "Opml", verifier.contract, prover_bond, challenger_bond, k)
    assert main.contract is not None
    return Deployment(main.contract, verifier.contract, main.block, verifier.gas_used + main.gas_used)


def dev_contract(chain: Chain) -> str | None:
    """The contract that `ensure_dev_contract` deployed on this chain; None where nobody has."""
    return _dev_address(chain, 1)


def ensure_dev_contract(
    chain: Chain,
    prover_bond: int = DEFAULT_PROVER_BOND,
    challenger_bond: int = DEFAULT_CHALLENGER_BOND,
    k: int = DEFAULT_K,
) -> str:
    """The address of opml on a development chain; the last development account deploys it if it is not there yet.

    The address is always the same, so that prover and challenger find it without being told.

    Raises ChainError where that account has been used for something else, or has no ether (not a development chain).
    """
    found = dev_contract(chain)
    if found is not None:
        return found
    account = dev_accounts()[-1]
    if chain.nonce(account.address) != 0:
        raise ChainError(
            f"there is no opml contract where a development chain has it, and {account.address} was used already",
            "name the contract, or begin a new chain",
        )
    return deploy(chain, account, prover_bond, challenger_bond, k).address


def deploy_market(chain: Chain, account: "LocalAccount", opml: str) -> str:
    """Deploys an InferenceMarket for the claims at `opml`; returns its address."""
    receipt = create(chain, account, "InferenceMarket", checksum(opml))
    assert receipt.contract is not None
    return receipt.contract


def dev_market(chain: Chain) -> str | None:
    """The market that `ensure_dev_market` deployed on this chain; None where nobody has."""
    return _dev_address(chain, 2)


def ensure_dev_market(chain: Chain) -> str:
    """The address of the market on a development chain, beside opml; always the same. Raises ChainError as above."""
    found = dev_market(chain)
    if found is not None:
        return found
    opml, account = ensure_dev_contract(chain), dev_accounts()[-1]
    if chain.nonce(account.address) != 2:
        raise ChainError(
            f"there is no market where a development chain has it, and {account.address} was used for something else",
            "name the market, or begin a new chain",
        )
    return deploy_market(chain, account, opml)


def _dev_address(chain: Chain, nonce: int) -> str | None:
    """Only on a development chain: everybody has the key of the account, and could put a trap there on any other."""
    if chain.chain_id != CHAIN_ID:
        return None
    address = create_address(dev_accounts()[-1].address, nonce)
    return address if chain.code(address) else None


def create_address(sender: str, nonce: int) -> str:
    """The address of the contract that an account creates with a transaction of this nonce."""
    from eth_utils.crypto import keccak

    number = nonce.to_bytes((nonce.bit_length() + 7) // 8, "big")
    encoded = number if nonce != 0 and nonce < 0x80 else bytes([0x80 + len(number)]) + number
    payload = b"\x94" + address_bytes(sender) + encoded
    return checksum(keccak(bytes([0xC0 + len(payload)]) + payload)[12:])
