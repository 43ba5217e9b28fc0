"""A game between two keepers, one of whom lies, from the claim to the winner's money."""

import time
from collections.abc import Callable
from contextlib import suppress

from dispute_tiny import INPUTS, tiny_header, tiny_trace
from eth_account.signers.local import LocalAccount

from opml.chain import OpmlClient, deploy
from opml.chain.rpc import RpcChain
from opml.dispute.game import ClaimStatus, Role
from opml.dispute.keeper import Keeper
from opml.dispute.liars import LIARS, Spot
from opml.dispute.player import player
from opml.errors import UnreachableError
from opml.watch.traces import OnePlayer

Accounts = tuple[LocalAccount, ...]
LOOKS = 4000


def tick(keeper: Keeper) -> None:
    """One look; a node that fails for longer than a request's patience is no matter."""
    with suppress(UnreachableError):
        keeper.tick()


def play(
    chain: RpcChain, direct: RpcChain, accounts: Accounts, liar: Role, each_look: Callable[[], None] = lambda: None
) -> OpmlClient:
    """A whole life of a claim with a game; the looks and transactions of both parties go through `chain`.

    Account 0 deploys, 1 is the prover, 2 the challenger. `each_look` is called after each round of looks.
    """
    address = deploy(direct, accounts[0], k=4).address
    for _ in range(3):
        direct.request("evm_mine")  # the contract is older than any backend's lag
    client = OpmlClient(chain, address)
    prover, challenger = accounts[1:3]
    traces = {liar: LIARS["register"].trace(tiny_trace(), Spot(4, 9)), liar.other: tiny_trace()}
    client.register_model(tiny_header(), "", prover)
    claimed = traces[Role.PROVER].output_root
    claim_id, _ = client.claim(tiny_header().model_id, INPUTS.tobytes(), claimed, 0, prover)
    client.challenge(claim_id, 0, challenger)
    keepers = {
        role: Keeper(client, account, OnePlayer(player(traces[role], role)), threads=0, poll=0.0)
        for role, account in ((Role.PROVER, prover), (Role.CHALLENGER, challenger))
    }
    honest = keepers[liar.other]
    for _ in range(LOOKS):
        for keeper in keepers.values():
            tick(keeper)
        each_look()
        time.sleep(0.02)
        claim = honest.ledger.claims.get(claim_id)
        if claim is not None and not claim.open_games and honest.idle:
            if honest.purse.settled and claim.status is not ClaimStatus.PENDING:
                return client
            if claim.status is ClaimStatus.PENDING and direct.time() <= claim.deadline:
                direct.advance(claim.deadline - direct.time() + 1)
    raise AssertionError("the game does not end")
