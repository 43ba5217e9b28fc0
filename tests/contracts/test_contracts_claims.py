"""Models, claims and challenges: ids, ranges, exact values and lengths, the input's place in the model."""

import pytest
from contracts_driver import CHALLENGER_BOND, INPUT, PROVER_BOND, Run, World
from contracts_evm import CHAIN_ID
from eth_abi import encode

from vm.constants import MODEL_LEVEL
from vm.keccak import keccak256
from vm.merkle import fold, subtree_root

RUN = Run(13)
NOBODY = bytes(32)


@pytest.fixture(scope="module")
def world():
    return World(4)


@pytest.fixture(autouse=True)
def undone(world):
    """Each test begins with the deployed contracts."""
    with world.undone():
        yield


def test_a_model_is_its_fields(world):
    model = RUN.model()
    model_id = world.register(RUN)
    assert world.view("models", model_id) == model
    assert world.register(RUN) == model_id
    assert world.view("models", model_id) == model
    receipt = world.send(world.challenger, "registerModel", tuple(model.values()), "elsewhere")
    ((name, event),) = receipt.events
    assert (name, event["modelId"], event["uri"]) == ("ModelRegistered", model_id, "elsewhere")
    assert receipt.output == model_id
    for field, value in model.items():
        other = RUN.model(**{field: bytes([value[0] ^ 1]) + value[1:] if isinstance(value, bytes) else value})
        if isinstance(value, bytes):
            assert world.send(world.other, "registerModel", tuple(other.values()), "").output != model_id


@pytest.mark.parametrize(
    "changes",
    [
        {"entry": 2},
        {"entry": 1 << 20},
        {"entry": 1 << 63},
        {"tiles": 0},
        {"stride": 0},
        {"tiles": (1 << 34) + 1},
        {"tiles": 1 << 20, "stride": (1 << 14) + 1},
        {"tiles": (1 << 64) - 1, "stride": (1 << 64) - 1},
        {"maxSteps": 0},
        {"window": 0},
        {"clock": 0},
        {"inputBytes": 0},
        {"inputBytes": 65},
        {"inputAddress": INPUT + 32},
        {"inputAddress": 1 << 39},
        {"inputAddress": (1 << 64) - 64},
        {"inputLevel": 35},
        {"inputLevel": 255},
        {"inputLevel": 34},
        {"outputBytes": 0},
        {"outputBytes": 32 * 16 + 1},
        {"outputAddress": (1 << 39) - 32},
        {"outputAddress": 1 << 39},
        {"outputLevel": 35},
    ],
    ids=str,
)
def test_fields_out_of_range_are_refused(world, changes):
    model = RUN.model(**changes)
    world.refuses("BadModel", world.other, "registerModel", tuple(model.values()), "")


def test_largest_fields_are_accepted(world):
    world.register(RUN, tiles=1 << 34, maxSteps=(1 << 64) - 1, window=(1 << 32) - 1, clock=(1 << 32) - 1)
    world.register(RUN, inputAddress=0, inputLevel=34, inputBytes=1 << 39)
    world.register(RUN, inputAddress=(1 << 39) - 32, inputLevel=0, inputBytes=1)


def test_a_claim_says_what_was_claimed(world):
    model_id = world.register(RUN)
    args = (model_id, RUN.data, RUN.output_root, 5, RUN.input_path())
    receipt = world.send(world.prover, "claim", *args, value=PROVER_BOND)
    types = ["uint256", "address", "bytes32", "bytes32", "bytes32", "address", "uint256"]
    fields = [CHAIN_ID, world.opml, model_id, RUN.input_root, RUN.output_root, world.prover, 5]
    claim_id = keccak256(encode(types, fields))
    assert receipt.output == claim_id
    (name, claimed), (posted, bytes_) = receipt.events
    assert (name, posted) == ("Claimed", "InputPosted")
    assert bytes_ == {"claimId": claim_id, "input": RUN.data}
    assert (claimed["s0"], claimed["inputRoot"]) == (RUN.unit(0), RUN.input_root)
    view = world.view("claims", claim_id)
    assert (view["s0"], view["status"], view["openGames"]) == (RUN.unit(0), 1, 0)
    assert view["deadline"] == claimed["deadline"] == world.evm.now + 1000
    world.refuses("ClaimExists", world.prover, "claim", *args, value=PROVER_BOND)


def test_nobody_can_take_anothers_claim(world):
    model_id = world.register(RUN)
    theirs = world.claim(RUN, model_id, sender=world.other)
    mine = world.claim(RUN, model_id)
    assert theirs != mine
    assert world.claim(RUN, model_id, nonce=1) not in (theirs, mine)


def test_claims_are_exact(world):
    model_id = world.register(RUN)
    path = RUN.input_path()
    good = [model_id, RUN.data, RUN.output_root, 0, path]

    def refuse(reason: str, value: int = PROVER_BOND, **changes) -> None:
        args = [
            changes.get(name, right)
            for name, right in zip(("model", "data", "root", "nonce", "path"), good, strict=True)
        ]
        world.refuses(reason, world.prover, "claim", *args, value=value)

    refuse("UnknownModel", model=NOBODY)
    for value in (0, PROVER_BOND - 1, PROVER_BOND + 1, CHALLENGER_BOND):
        refuse("WrongBond", value=value)
    for data in (b"", RUN.data[:-1], RUN.data + b"\0", bytes(64)):
        refuse("WrongLength", data=data)
    for forged in (b"", path[:-1], path[:-32], path + b"\0", path + bytes(32), b"\xff" + path[1:]):
        refuse("MalformedPath", path=forged)
    for place in range(5, len(path), 32):
        refuse("BadInputPath", path=path[:place] + bytes([path[place] ^ 1]) + path[place + 1 :])
    over_code = world.register(RUN, inputAddress=0)
    refuse("BadInputPath", model=over_code)


def test_the_input_region_must_be_empty_in_the_model(world):
    """A model whose root has something where the input goes has no claims at all."""
    filled = RUN.blank.fork()
    filled.write(INPUT + 63, b"\1")
    model_id = world.register(RUN, modelRoot=filled.node(MODEL_LEVEL, 0))
    args = (model_id, RUN.data, RUN.output_root, 0, RUN.input_path())
    world.refuses("BadInputPath", world.prover, "claim", *args, value=PROVER_BOND)


def test_a_challenge_is_exact(world):
    claim_id = world.claim(RUN, world.register(RUN))
    for value in (0, CHALLENGER_BOND - 1, CHALLENGER_BOND + 1, PROVER_BOND):
        world.refuses("WrongBond", world.challenger, "challenge", claim_id, 0, value=value)
    world.refuses("UnknownClaim", world.challenger, "challenge", NOBODY, 0, value=CHALLENGER_BOND)
    game_id = world.challenge(claim_id)
    address = "0x" + world.challenger.hex()
    assert game_id == keccak256(encode(["bytes32", "address", "uint256"], [claim_id, address, 0]))
    world.refuses("GameExists", world.challenger, "challenge", claim_id, 0, value=CHALLENGER_BOND)
    assert world.challenge(claim_id, salt=1) != world.challenge(claim_id, sender=world.other) != game_id
    assert world.view("claims", claim_id)["openGames"] == 3


def test_ether_is_taken_by_no_other_call(world):
    model = tuple(RUN.model().values())
    for name, args in (
        *(("registerModel", (model, "")), ("finalise", (NOBODY,)), ("timeout", (NOBODY,)), ("withdraw", ([],))),
        *(("step", (NOBODY, b"")), ("open", (NOBODY, NOBODY, b"", []))),
    ):
        world.refuses("empty", world.prover, name, *args, value=1)
    with pytest.raises(Exception, match="empty"):
        world.evm.transact(world.prover, world.opml, b"", 1)


def test_the_paths_of_the_driver_are_paths(world):
    """The helpers above prove what they say (a test of the tests)."""
    index = INPUT >> 6
    siblings = RUN.blank.siblings(1, index, MODEL_LEVEL)
    assert fold(subtree_root(RUN.data, 1), 1, index, siblings, MODEL_LEVEL) == RUN.unit(0)
