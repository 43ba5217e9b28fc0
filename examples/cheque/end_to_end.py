"""A cheque is read on a chain: by the digits CNN, through a market, past a prover who lies.

    cd examples/cheque
    npm install
    forge build --skip test
    python end_to_end.py

The chain is embedded in this process, its contracts and the model are the real ones.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

import opml
from opml.chain import OpmlClient, connect, deploy
from opml.chain.abi import Abi
from opml.chain.accounts import dev_accounts
from opml.chain.contract import Contract
from opml.chain.deploy import deploy_market
from opml.chain.market import MarketClient
from opml.dispute.game import ClaimStatus
from opml.serving import Server
from opml.watch.library import Library
from opml.watch.watcher import Watcher
from vm.merkle import subtree_root

HERE = Path(__file__).parent
MODELS = HERE.parent / "models"
ARTIFACT = HERE / "out" / "ChequeReader.sol" / "ChequeReader.json"
ETHER = 10**18
FEE = ETHER // 50


def main(artifact: Path = ARTIFACT, digit: int = 7) -> int:
    """Returns the wei that the payee was paid."""
    chain = connect()
    owner, author, drawer, payee, honest, liar, watching = dev_accounts()[:7]
    client = OpmlClient(chain, deploy(chain, owner).address)
    market = MarketClient(chain, deploy_market(chain, owner, client.address))

    # The author publishes the model; whoever relies on it compiles it himself and gets the same id.
    model = opml.load(MODELS / "cnn.onnx", window=600, clock=600)
    market.publish(model.header, "", 500, author)
    reader = deploy_reader(chain, artifact, owner, market.address, model.model_id)
    print(f"the reader trusts model 0x{model.model_id.hex()[:16]}… and nobody who runs it")

    # Who answers and who watches has the model, and needs no permission.
    library = Library()
    library.add(model)
    server = Server(market, honest, library, threads=0)
    watcher = Watcher(client, watching, library, threads=0)

    with np.load(MODELS / "digits.npz") as file:
        scan = file["images"][digit]
    cover = reader.read("COVER")
    reader.send(drawer, "present", scan.tobytes(), payee.address, value=cover + FEE)
    (view,) = market.requests()
    print(f"a cheque is presented: request 0x{view.request_id.hex()[:16]}…")

    # A liar is first: he claims that it says 9, and accepts the request with that.
    false = np.eye(10, dtype=np.float32)[9].tobytes()
    root = subtree_root(false, model.header.output_level)
    claim_id, _ = client.claim(model.model_id, scan.tobytes(), root, 0, liar)
    market.accept(view.request, client.claim_terms(claim_id), false, liar)
    print("a liar accepts it: nine units")

    # The watcher runs the claim again, disagrees, and challenges. The liar has nothing to say: his clock runs out.
    while client.claim_view(claim_id).status is not ClaimStatus.REJECTED:
        rest(watcher)
        chain.advance(model.header.clock + 1)
    print("the watcher has his claim rejected, and part of his bond")

    # Now the honest prover accepts; a window later the answer is final, delivered, and paid for.
    rest(server, watcher)
    chain.advance(model.header.window + 1)
    rest(server, watcher)
    owed, left = (int(reader.read("owed", account.address)) for account in (payee, drawer))
    print(f"delivered: the payee is owed {owed / ETHER} ether, the drawer {left / ETHER}")
    print(f"the prover has earned {market.earned(honest.address) / ETHER:.4f} ether")
    reader.send(payee, "withdraw")
    assert owed == digit * reader.read("UNIT")
    assert market.credit(liar.address) == 0
    return owed


def rest(*keepers: Any) -> None:
    """Everybody does what there is to do now."""
    while any([keeper.tick() for keeper in keepers]):
        pass


def deploy_reader(chain: Any, artifact: Path, account: Any, market: str, model_id: bytes) -> Contract:
    """ChequeReader as forge built it."""
    built = json.loads(artifact.read_text())
    abi, code = Abi(built["abi"]), bytes.fromhex(built["bytecode"]["object"][2:])
    receipt = chain.transact(account, None, code + abi.encode_constructor(market, model_id))
    return Contract(chain, receipt.contract, abi)


if __name__ == "__main__":
    main()
