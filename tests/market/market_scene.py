"""The market on a chain, by default an embedded one; a real model, its provers, and somebody who watches."""

from pathlib import Path
from typing import Any

import numpy as np

from opml.chain import Chain
from opml.chain.accounts import dev_accounts
from opml.chain.client import OpmlClient
from opml.chain.deploy import deploy, deploy_market
from opml.chain.embedded import EmbeddedChain
from opml.chain.market import MarketClient, Terms
from opml.model import Inference, Model, load
from opml.serving import Server
from opml.watch.library import Library
from opml.watch.watcher import Watcher

ETHER = 10**18
PRICE = ETHER // 20
ROYALTY = 500
MODELS = Path(__file__).parents[2] / "examples" / "models"
with np.load(MODELS / "digits.npz") as _scans:
    SCANS = _scans["images"]


class Scene:
    """Both contracts, accounts with ether, and the model published by its author."""

    def __init__(self, name: str = "mlp", chain: Chain | None = None) -> None:
        self.chain = chain or EmbeddedChain()
        accounts = dev_accounts()
        self.owner, self.author, self.requester, self.prover, self.liar, self.watcher = accounts[:6]
        self.opml = OpmlClient(self.chain, deploy(self.chain, self.owner).address)
        self.market = MarketClient(self.chain, deploy_market(self.chain, self.owner, self.opml.address))
        self.model: Model = load(MODELS / f"{name}.onnx", window=600, clock=600)
        self.market.publish(self.model.header, "", ROYALTY, self.author)

    def library(self) -> Library:
        library = Library()
        library.add(self.model)
        return library

    def server(self, account: Any = None, **options: Any) -> Server:
        """A prover who looks whenever he is asked to."""
        return Server(self.market, account or self.prover, self.library(), threads=0, sleep=self.pass_time, **options)

    def watch(self) -> Watcher:
        return Watcher(self.opml, self.watcher, self.library(), threads=0, sleep=self.pass_time)

    def pass_time(self, seconds: float) -> None:
        self.chain.advance(int(seconds) + 1)

    def infer(self, digit: int, touched: int = 0) -> Inference:
        """A scan of a digit; with its first pixel `touched` it is one that nobody has asked about before."""
        image = SCANS[digit].copy()
        image[0, 0, 0, 0] = touched
        return self.model.infer({"image": image})

    def terms(self, **changes: Any) -> Terms:
        terms = Terms(
            self.model.model_id, self.author.address, self.requester.address, PRICE // 2, self.market.now() + 3600
        )
        return terms._replace(**changes)

    def request(self, digit: int = 3, max_price: int = PRICE, touched: int = 0, **changes: Any) -> bytes:
        posted = self.infer(digit, touched).posted
        return self.market.request(self.terms(**changes), posted, max_price, self.requester)[0]


def settle(*keepers: Any, rounds: int = 60) -> None:
    """All of them look, in turn, until none of them has anything to do at this time."""
    for _ in range(rounds):
        if not any([keeper.tick() for keeper in keepers]) and all(keeper.idle for keeper in keepers):
            return
    raise AssertionError("they never come to rest")
