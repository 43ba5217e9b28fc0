import pytest
from contracts_compiler import build, harness
from contracts_evm import Evm, address_of, artifact

__all__ = ["build", "harness"]


@pytest.fixture(scope="module")
def evm():
    machine = Evm()
    machine.fund(address_of("deployer"))
    return machine


@pytest.fixture
def deploy(evm, harness):
    """Deploys a contract of contracts/test and makes its interface known."""

    def deploy(name: str) -> bytes:
        built = harness(name)
        evm.learn(built)
        return evm.deploy(address_of("deployer"), built)

    return deploy


@pytest.fixture(scope="module")
def verifier(evm):
    return evm.deploy(address_of("deployer"), artifact("StepVerifier"))
