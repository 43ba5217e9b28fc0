"""From a URL, or none, to a chain."""

from opml.chain.base import Chain
from opml.chain.fees import DEFAULT_MAX_FEE, FeePolicy
from opml.errors import ChainError


def connect(url: str | None = None, *, chain_id: int | None = None, max_fee: int = DEFAULT_MAX_FEE) -> Chain:
    """The chain at a JSON-RPC URL (http, https), or a new embedded one.

    `max_fee` is what a transaction may offer at most for a unit of gas, in wei.

    Raises ChainError where nobody answers, where it is no Ethereum node, or where its chain is not `chain_id`.
    """
    chain: Chain
    if url is None:
        from opml.chain.embedded import EmbeddedChain

        chain = EmbeddedChain()
    else:
        from opml.chain.rpc import RpcChain

        chain = RpcChain(url, fees=FeePolicy(max_fee))
    if chain_id is not None and chain.chain_id != chain_id:
        raise ChainError(f"the node serves chain {chain.chain_id}, not {chain_id}", "check the URL")
    return chain
