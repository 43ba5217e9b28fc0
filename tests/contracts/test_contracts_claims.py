"""Models, claims and challenges: ids (I12), ranges (I4), exact values and lengths, preimages."""

import pytest
from contracts_driver import CHALLENGER_BOND, PROVER_BOND, World
from contracts_evm import CHAIN_ID
from contracts_runs import INPUT, Run
from eth_abi import encode

from vm.constants import MODEL_LEVEL
from vm.keccak import keccak256
from vm.merkle import fold, subtree_root

RUN = Run(13)
NOBODY = bytes(32)
NO_KEY = (NOBODY, bytes(20), 0)
NO_CLAIM = (NOBODY, NOBODY, NOBODY, bytes(20), 0, True)
NO_RANGE = (0, 1, NOBODY, NOBODY)
CLAIM_TYPES = ["bytes32", "bytes32", "bytes32", "address", "uint256", "bool"]


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


@pytest.mark.parametrize("field", RUN.model())
def test_i4_each_field_is_part_of_the_id(world, field):
    model_id = world.register(RUN)
    value = RUN.model()[field]
    if isinstance(value, bytes):
        other = bytes([value[0] ^ 1]) + value[1:]
    else:
        other = {"entry": 4, "inputBytes": 39, "inputLevel": 2, "outputLevel": 5}.get(field, value + 1)
        if field.endswith("Address"):
            other = value + (1 << 20)
        if field == "outputBytes":
            other = value - 1
    assert world.register(RUN, **{field: other}) != model_id
    assert world.view("models", model_id) == RUN.model()


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


def claim_id_of(world: World, *claim) -> bytes:
    return keccak256(encode(["uint256", "address", *CLAIM_TYPES], [CHAIN_ID, world.opml, *claim]))


def test_a_claim_says_what_was_claimed(world):
    model_id = world.register(RUN)
    args = (model_id, RUN.data, RUN.output_root, 5)
    receipt = world.send(world.prover, "claim", *args, value=PROVER_BOND)
    claim = (model_id, RUN.input_root, RUN.output_root, world.prover, 5, True)
    claim_id = claim_id_of(world, *claim)
    assert receipt.output == claim_id == world.view("claimIdOf", claim)
    (name, claimed), (posted, bytes_) = receipt.events
    assert (name, posted) == ("Claimed", "InputPosted")
    assert bytes_ == {"claimId": claim_id, "input": RUN.data}
    assert claimed == {
        "claimId": claim_id, "modelId": model_id, "prover": "0x" + world.prover.hex(), "inputRoot": RUN.input_root,
        "outputRoot": RUN.output_root, "nonce": 5, "inputPosted": True, "deadline": world.evm.now + 1000,
    }  # fmt: skip
    assert world.view("claims", claim_id) == {
        "prover": "0x" + world.prover.hex(), "deadline": world.evm.now + 1000, "openGames": 0, "lostGames": 0,
        "status": 1,
    }  # fmt: skip
    world.refuses("ClaimExists", world.prover, "claim", *args, value=PROVER_BOND)


def test_an_input_that_is_not_on_chain_is_another_claim(world):
    """Whether the bytes were posted is in the id: nobody can take the one for the other."""
    model_id = world.register(RUN)
    posted = world.claim(RUN, model_id)
    args = (model_id, RUN.input_root, RUN.output_root, 0, "ipfs://somewhere")
    receipt = world.send(world.prover, "claimByRoot", *args, value=PROVER_BOND)
    (_, claimed), (name, withheld) = receipt.events
    assert (name, withheld) == ("InputWithheld", {"claimId": receipt.output, "uri": "ipfs://somewhere"})
    assert claimed["inputPosted"] is False
    claim = (model_id, RUN.input_root, RUN.output_root, world.prover, 0, False)
    assert receipt.output == claim_id_of(world, *claim) == world.view("claimIdOf", claim) != posted
    world.refuses("ClaimExists", world.prover, "claimByRoot", *args, value=PROVER_BOND)
    world.refuses("UnknownModel", world.prover, "claimByRoot", NOBODY, *args[1:], value=PROVER_BOND)
    for value in (0, PROVER_BOND - 1, PROVER_BOND + 1):
        world.refuses("WrongBond", world.prover, "claimByRoot", *args, value=value)
    pretended = (*claim[:5], True)
    world.send(world.challenger, "challenge", claim, 0, value=CHALLENGER_BOND)
    world.send(world.challenger, "challenge", pretended, 1, value=CHALLENGER_BOND)
    assert [c["claimId"] for c in world.logged("Challenged")] == [receipt.output, posted]


def test_i12_nobody_can_take_anothers_claim(world):
    """The same content by two provers is two claims, each lost or kept by itself."""
    model_id = world.register(RUN)
    theirs = world.claim(RUN, model_id, sender=world.other)
    mine = world.claim(RUN, model_id)
    assert theirs != mine
    assert world.claim(RUN, model_id, nonce=1) not in (theirs, mine)
    world.challenge(theirs)
    world.evm.now += 1001
    world.timeout(world.logged("Challenged")[0]["gameId"])
    assert world.view("claims", theirs)["status"] == 3
    assert world.collect(world.prover, [mine]) == PROVER_BOND


def test_claims_are_exact(world):
    model_id = world.register(RUN)
    good = [model_id, RUN.data, RUN.output_root, 0]

    def refuse(reason: str, value: int = PROVER_BOND, **changes) -> None:
        args = [changes.get(name, right) for name, right in zip(("model", "data", "root", "nonce"), good, strict=True)]
        world.refuses(reason, world.prover, "claim", *args, value=value)

    refuse("UnknownModel", model=NOBODY)
    for value in (0, PROVER_BOND - 1, PROVER_BOND + 1, CHALLENGER_BOND):
        refuse("WrongBond", value=value)
    for data in (b"", RUN.data[:-1], RUN.data + b"\0", bytes(64)):
        refuse("WrongLength", data=data)


def test_a_challenge_is_exact(world):
    claim_id = world.claim(RUN, world.register(RUN))
    claim = world.claim_of(claim_id)
    for value in (0, CHALLENGER_BOND - 1, CHALLENGER_BOND + 1, PROVER_BOND):
        world.refuses("WrongBond", world.challenger, "challenge", claim, 0, value=value)
    game_id = world.challenge(claim_id)
    address = "0x" + world.challenger.hex()
    key = (claim_id, address, 0)
    assert game_id == keccak256(encode(["bytes32", "address", "uint256"], key)) == world.view("gameIdOf", key)
    world.refuses("GameExists", world.challenger, "challenge", claim, 0, value=CHALLENGER_BOND)
    assert world.challenge(claim_id, salt=1) != world.challenge(claim_id, sender=world.other) != game_id
    assert world.view("claims", claim_id)["openGames"] == 3


def test_a_challenge_brings_the_whole_claim(world):
    """Each field altered is a claim that nobody made."""
    claim = world.claim_of(world.claim(RUN, world.register(RUN)))
    for forged in altered(claim):
        world.refuses("UnknownClaim", world.challenger, "challenge", forged, 0, value=CHALLENGER_BOND)
    world.refuses("UnknownClaim", world.challenger, "challenge", NO_CLAIM, 0, value=CHALLENGER_BOND)


def altered(claim):
    """The claim with one field changed, for each field."""
    for i, value in enumerate(claim):
        if isinstance(value, bool):
            other = not value
        elif isinstance(value, int):
            other = value ^ 1
        else:
            raw = bytes.fromhex(value[2:]) if isinstance(value, str) else value
            other = bytes([raw[0] ^ 1]) + raw[1:]
        yield (*claim[:i], other, *claim[i + 1 :])


@pytest.mark.parametrize("place", ["prover", "flag", "challenger"])
def test_words_with_bits_too_many_are_refused(world, place):
    """An address of more than 20 bytes or a truth of 2 is no other name for anything."""
    claim_id, game_id = world.game_against(RUN)
    if place == "challenger":
        data = bytearray(world.evm.abi.encode("timeout", (world.key(game_id),)))
        data[4 + 32] ^= 1
        world.evm.now += 101
    else:
        data = bytearray(world.evm.abi.encode("challenge", (world.claim_of(claim_id), 1)))
        data[4 + 32 * 3] ^= place == "prover"
        data[4 + 32 * 6 - 1] ^= 2 * (place == "flag")
    reason = {"prover": "UnknownClaim", "flag": "UnknownClaim", "challenger": "UnknownGame"}[place]
    value = 0 if place == "challenger" else CHALLENGER_BOND
    with world.evm.rollback(), pytest.raises(Exception, match=reason):
        world.evm.transact(world.challenger, world.opml, bytes(data), value)


def test_ether_is_taken_by_no_other_call(world):
    model = tuple(RUN.model().values())
    for name, args in (
        *(("registerModel", (model, "")), ("finalise", (NOBODY,)), ("timeout", (NO_KEY,))),
        *(("withdraw", (world.prover, [], [])), ("setDelegate", (world.other, True)), ("step", (NO_KEY, NOBODY, b""))),
        *(("open", (NO_KEY, NO_CLAIM, b"", NOBODY, b"", [])), ("post", (NO_KEY, NO_RANGE, []))),
        *(("choose", (NO_KEY, NO_RANGE, 0, [])), ("enter", (NO_KEY, NO_CLAIM, NO_RANGE, 1, b"", NOBODY, []))),
    ):
        world.refuses("empty", world.prover, name, *args, value=1)
    with pytest.raises(Exception, match="empty"):
        world.evm.transact(world.prover, world.opml, b"", 1)


def test_the_paths_of_the_driver_are_paths(world):
    """The helpers above prove what they say (a test of the tests)."""
    index = INPUT >> 6
    siblings = RUN.blank.siblings(1, index, MODEL_LEVEL)
    assert fold(subtree_root(RUN.data, 1), 1, index, siblings, MODEL_LEVEL) == RUN.unit(0)
