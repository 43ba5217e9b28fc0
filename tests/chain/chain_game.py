"""A claim and a game whose states are made up: the contract cannot tell until the last instruction."""

from eth_account.signers.local import LocalAccount

from opml.chain import OpmlClient
from opml.header import ModelHeader
from vm.constants import HALTED, MODEL_LEVEL, STATE_BYTES
from vm.keccak import keccak256
from vm.merkle import ZERO, encode_path, fold, subtree_root

# The model half is two subtrees: the input's and the output's.
HALF = MODEL_LEVEL - 1
INPUT = bytes(range(40))
INPUT_ROOT = subtree_root(INPUT, HALF)
OUTPUT_ROOT = subtree_root(b"a wrong answer", HALF)
FINAL_ROOT = keccak256(INPUT_ROOT + OUTPUT_ROOT)
INPUT_PATH = encode_path([ZERO[HALF]], HALF)
OUTPUT_PATH = encode_path([INPUT_ROOT], HALF)
S0 = fold(INPUT_ROOT, HALF, 0, [ZERO[HALF]], top=MODEL_LEVEL)
WINDOW, CLOCK, TILES, MAX_STEPS = 1000, 100, 5, 1 << 20
URI = "file:///model.opml"

HEADER = ModelHeader(
    model_root=ZERO[MODEL_LEVEL],
    guest_root=bytes(32),
    entry=0,
    tiles=TILES,
    stride=1,
    max_steps=MAX_STEPS,
    input_address=0,
    input_bytes=len(INPUT),
    output_address=32 << HALF,
    output_bytes=32,
    window=WINDOW,
    clock=CLOCK,
    input_level=HALF,
    output_level=HALF,
)


def states(name: str, count: int) -> tuple[bytes, ...]:
    return tuple(keccak256(f"{name} {i}".encode()) for i in range(count))


def end_state(hi: bytes, scratch_root: bytes) -> bytes:
    """A halted machine with a0 = 0 whose memory has these halves."""
    return keccak256(hi + scratch_root).ljust(STATE_BYTES - 1, b"\0") + bytes([HALTED])


def post_claim(client: OpmlClient, prover: LocalAccount, nonce: int = 0) -> bytes:
    """Registers the model and claims; returns the claim's id."""
    client.register_model(HEADER, URI, prover)
    return client.claim(HEADER.model_id, INPUT, OUTPUT_ROOT, nonce, prover)[0]
