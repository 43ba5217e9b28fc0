"""The deployed Opml contract, typed: every call and every view, and what its events tell."""

from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from opml.chain.abi import Event, artifact
from opml.chain.base import Chain, Log, Receipt, Topic
from opml.chain.hexa import checksum, to_hex
from opml.dispute.game import ClaimStatus, ClaimView, GameView, Phase, Stage
from opml.dispute.moves import Move
from opml.errors import ChainError

if TYPE_CHECKING:
    from eth_account.signers.local import LocalAccount

    from opml.header import ModelHeader


_EVENTS_HINT = "the node may have dropped old events: ask another one"


@dataclass(frozen=True)
class Entry:
    """One event of the contract, with its place in the chain."""

    name: str
    args: Mapping[str, Any]
    block: int
    tx_hash: bytes


class OpmlClient:
    """The contract at `address` on `chain`.

    It is a `Court`: the players' loop needs nothing else. Methods that send a transaction take the sender's account
    last, return after it was mined, and raise RevertError with the custom error's name if the contract refuses. Ids and
    roots are 32 bytes, amounts are wei. `from_block` is where events begin: the contract's first block, or 0.

    Raises ChainError if there is no contract of opml at the address.
    """

    def __init__(self, chain: Chain, address: str, from_block: int = 0) -> None:
        self.chain = chain
        try:
            self.address = checksum(address)
        except ValueError:
            raise ChainError(f"{address!r} is not an address", "20 bytes in hexadecimal, as 0x…") from None
        self.from_block = from_block
        self._abi = artifact("Opml").abi
        if not chain.code(self.address):
            raise ChainError(
                f"there is no contract at {self.address} on chain {chain.chain_id}", "check the address and the chain"
            )
        try:
            known = 2 <= self.k <= 64 and self.prover_bond > 0
        except ChainError:
            known = False
        if not known:
            raise ChainError(f"the contract at {self.address} is not opml's", "check the address")

    # The contract's own numbers

    @cached_property
    def k(self) -> int:
        """The largest number of parts into which one round divides a range."""
        return int(self._read("k"))

    @cached_property
    def prover_bond(self) -> int:
        """What a claim costs to post."""
        return int(self._read("proverBond"))

    @cached_property
    def challenger_bond(self) -> int:
        """What a challenge costs."""
        return int(self._read("challengerBond"))

    def burnt(self) -> int:
        """What nobody will ever get."""
        return int(self._read("burnt"))

    def credit(self, address: str) -> int:
        """What the contract owes to an account, without shares that it has not collected yet."""
        return int(self._read("credit", checksum(address)))

    def balance(self) -> int:
        """All that the contract holds."""
        return self.chain.balance(self.address)

    def now(self) -> int:
        """The chain's time in seconds, as the next transaction will meet it."""
        return self.chain.time()

    # Models

    def register_model(self, header: "ModelHeader", uri: str, account: "LocalAccount") -> Receipt:
        """Makes a model known; harmless if it is already."""
        return self._send(account, "registerModel", astuple(header), uri)

    def model(self, model_id: bytes) -> "ModelHeader | None":
        """A registered model's header; None if the contract does not know it."""
        from opml.header import ModelHeader

        fields = self._read("models", model_id)
        return ModelHeader(*fields.values()) if fields["tiles"] else None

    def model_uris(self, model_id: bytes) -> list[str]:
        """Where registrants say that the image can be had, oldest first; none of it is to be believed."""
        return [entry.args["uri"] for entry in self._entries("ModelRegistered", model_id)]

    # Claims

    def claim(
        self, model_id: bytes, data: bytes, output_root: bytes, nonce: int, input_path: bytes, account: "LocalAccount"
    ) -> tuple[bytes, Receipt]:
        """Posts a claim with its bond; returns its id. `data` is the whole input region, which goes on chain."""
        receipt = self._send(account, "claim", model_id, data, output_root, nonce, input_path, value=self.prover_bond)
        return self._id_from(receipt, "Claimed", "claimId"), receipt

    def finalise(self, claim_id: bytes, account: "LocalAccount") -> Receipt:
        """Makes a claim final whose window has passed without a game open or lost."""
        return self._send(account, "finalise", claim_id)

    def claim_view(self, claim_id: bytes) -> ClaimView:
        """The claim with its input; status NONE if there is none of that id."""
        state = self._read("claims", claim_id)
        if state["status"] == ClaimStatus.NONE:
            return _claim_view({"claimId": claim_id, "inputRoot": bytes(32)}, state, b"")
        entries = {entry.name: entry for entry in self._entries(("Claimed", "InputPosted"), claim_id)}
        if len(entries) != 2:
            raise ChainError("the node does not have the claim's events", _EVENTS_HINT)
        return _claim_view(entries["Claimed"].args, state, entries["InputPosted"].args["input"])

    def claims(self, model_id: bytes | None = None, prover: str | None = None) -> list[ClaimView]:
        """All claims, or those of a model or a prover, oldest first; without their inputs."""
        posted = self._entries("Claimed", None, model_id, _word(prover))
        return [_claim_view(entry.args, self._read("claims", entry.args["claimId"]), b"") for entry in posted]

    # Games

    def challenge(self, claim_id: bytes, salt: int, account: "LocalAccount") -> tuple[bytes, Receipt]:
        """Opens a game against a claim, with its bond; returns the game's id."""
        receipt = self._send(account, "challenge", claim_id, salt, value=self.challenger_bond)
        return self._id_from(receipt, "Challenged", "gameId"), receipt

    def move(self, game_id: bytes, move: Move, account: "LocalAccount") -> Receipt:
        """Makes a move of `opml.dispute.moves`."""
        return self._send(account, move.method, game_id, *move.args())

    def game_view(self, game_id: bytes) -> GameView:
        """The game with the last posted states; stage NONE if there is none of that id."""
        state = self._read("games", game_id)
        stage, phase = Stage(state["stage"]), Phase(state["phase"])
        tile: int = state["position"]
        states: tuple[bytes, ...] = ()
        if stage is Stage.CHOOSE or phase is Phase.INSTRUCTION:
            entries = {entry.name: entry.args for entry in self._entries(("Posted", "Entered"), game_id)}
            if phase is Phase.INSTRUCTION:
                tile = _present(entries, "Entered")["tile"]
            if stage is Stage.CHOOSE:
                post = _present(entries, "Posted")
                if any(post[name] != state[name] for name in ("phase", "position", "length")):
                    raise ChainError("the node's events are behind its state", "try again")
                states = post["states"]
        return GameView(
            game_id=game_id,
            claim_id=state["claimId"],
            challenger=state["challenger"],
            k=self.k,
            stage=stage,
            phase=phase,
            lo=state["lo"],
            hi=state["hi"],
            position=state["position"],
            length=state["length"],
            tile=tile,
            states=states,
            prover_clock=state["proverClock"],
            challenger_clock=state["challengerClock"],
            last_move=state["lastMove"],
            collected=state["collected"],
        )

    def claim_games(self, claim_id: bytes) -> list[bytes]:
        """The ids of all games against a claim, oldest first."""
        return [entry.args["gameId"] for entry in self._entries("Challenged", None, claim_id)]

    def history(self, item: bytes) -> list[Entry]:
        """All events of a claim (without those of its games) or of a game, in order."""
        return self._entries(None, item)

    # Money

    def collectable(self, address: str) -> list[bytes]:
        """Games whose share of the prover's bond the account may collect now: `withdraw` takes them."""
        games = [entry.args["gameId"] for entry in self._entries("Challenged", None, None, _word(address))]
        return [game for game in games if self._is_collectable(game)]

    def withdraw(self, games: Sequence[bytes], account: "LocalAccount") -> Receipt:
        """Collects the account's shares of these games, and pays out all its credit."""
        return self._send(account, "withdraw", list(games))

    # Common

    def _is_collectable(self, game_id: bytes) -> bool:
        game = self._read("games", game_id)
        if game["stage"] != Stage.CHALLENGER_WON or game["collected"]:
            return False
        return bool(self._read("claims", game["claimId"])["openGames"] == 0)

    def _read(self, name: str, *args: Any) -> Any:
        output = self.chain.call(self.address, self._abi.encode_call(name, *args))
        return self._abi.decode_result(name, output)

    def _send(self, account: "LocalAccount", name: str, *args: Any, value: int = 0) -> Receipt:
        return self.chain.transact(account, self.address, self._abi.encode_call(name, *args), value)

    def _entries(self, names: str | tuple[str, ...] | None, *topics: Topic) -> list[Entry]:
        """Events of these names (None: of all) with these indexed arguments, in order."""
        wanted: Topic = None
        if names is not None:
            wanted = [self._abi.topic(name) for name in ((names,) if isinstance(names, str) else names)]
        logs = self.chain.logs(self.address, [wanted, *topics], self.from_block)
        return [Entry(event.name, event.args, log.block, log.tx_hash) for log, event in self._decoded(logs)]

    def _decoded(self, logs: Sequence[Log]) -> list[tuple[Log, Event]]:
        pairs = [(log, self._abi.decode_event(log.topics, log.data)) for log in logs if log.address == self.address]
        return [(log, event) for log, event in pairs if event is not None]

    def _id_from(self, receipt: Receipt, event: str, argument: str) -> bytes:
        for _, found in self._decoded(receipt.logs):
            if found.name == event:
                return bytes(found.args[argument])
        raise ChainError(f"transaction {to_hex(receipt.tx_hash)} has no event {event}")


def _claim_view(event: Mapping[str, Any], state: Mapping[str, Any], data: bytes) -> ClaimView:
    return ClaimView(
        claim_id=event["claimId"],
        model_id=state["modelId"],
        prover=state["prover"],
        input_root=event["inputRoot"],
        output_root=state["outputRoot"],
        s0=state["s0"],
        deadline=state["deadline"],
        status=ClaimStatus(state["status"]),
        open_games=state["openGames"],
        lost_games=state["lostGames"],
        input=data,
    )


def _present(entries: Mapping[str, Mapping[str, Any]], name: str) -> Mapping[str, Any]:
    if name not in entries:
        raise ChainError("the node does not have the game's events", _EVENTS_HINT)
    return entries[name]


def _word(address: str | None) -> bytes | None:
    return None if address is None else bytes(12) + bytes.fromhex(checksum(address)[2:])
