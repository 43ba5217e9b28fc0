"""The model header: what the contract knows of a model, and the identity made of it."""

from dataclasses import asdict, dataclass, fields
from typing import Any

from vm.constants import MODEL_LEVEL, SCRATCH_BASE
from vm.keccak import keccak256

# (field, bits) in the order of the contract's `struct Model`; roots are bytes32.
WIDTHS = {
    "entry": 64,
    "tiles": 64,
    "stride": 64,
    "max_steps": 64,
    "input_address": 64,
    "input_bytes": 64,
    "output_address": 64,
    "output_bytes": 64,
    "window": 32,
    "clock": 32,
    "input_level": 8,
    "output_level": 8,
}


@dataclass(frozen=True)
class ModelHeader:
    """All that `model_id` commits to, in the order and the widths of the contract's `struct Model`.

    model_root   root of the model half of memory; input region and all node outputs are zero
    guest_root   root of the guest's subtree at address 0
    entry        program counter at which the guest starts
    tiles        units of the tile phase
    stride       tiles that the guest runs per unit: 1, or all of them in one-phase mode (then `tiles` is 1)
    max_steps    bound of the guest's instructions per unit
    window       seconds in which a claim may be challenged
    clock        seconds each side has for all its moves in a game
    """

    model_root: bytes
    guest_root: bytes
    entry: int
    tiles: int
    stride: int
    max_steps: int
    input_address: int
    input_bytes: int
    output_address: int
    output_bytes: int
    window: int
    clock: int
    input_level: int
    output_level: int

    def __post_init__(self) -> None:
        for name in ("model_root", "guest_root"):
            value = getattr(self, name)
            if not isinstance(value, bytes) or len(value) != 32:
                raise ValueError(f"{name} is not 32 bytes")
        for name, bits in WIDTHS.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 <= value < 1 << bits:
                raise ValueError(f"{name} = {value!r} is no unsigned {bits}-bit number")
        if min(self.tiles, self.stride, self.max_steps, self.window, self.clock) < 1:
            raise ValueError("tiles, stride, maxSteps, window and clock must be at least 1")
        for side in ("input", "output"):
            address, nbytes, level = (getattr(self, f"{side}_{part}") for part in ("address", "bytes", "level"))
            if (
                level > MODEL_LEVEL
                or not 0 < nbytes <= 32 << level
                or address % (32 << level)
                or address >= SCRATCH_BASE
            ):
                raise ValueError(f"the {side} region is no aligned subtree of the model half")

    @property
    def abi_words(self) -> tuple[bytes, ...]:
        """The fields as the 14 words of `abi.encode`."""
        values = (getattr(self, field.name) for field in fields(self))
        return tuple(value if isinstance(value, bytes) else value.to_bytes(32, "big") for value in values)

    @property
    def model_id(self) -> bytes:
        """keccak256 of the ABI encoding: the name under which the contract knows the model."""
        return keccak256(b"".join(self.abi_words))

    @property
    def one_phase(self) -> bool:
        """Whether the whole inference is one unit, disputed by instructions alone."""
        return self.tiles == 1 and self.stride > 1

    def to_json(self) -> dict[str, Any]:
        """Plain values; roots as 0x-hex."""
        return {name: "0x" + value.hex() if isinstance(value, bytes) else value for name, value in asdict(self).items()}


__all__ = ["WIDTHS", "ModelHeader"]
