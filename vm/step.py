"""One step of the machine: the definition, and its three accesses to a state (vm/SPEC.md, "Step" and "Witness").

`step` says what an instruction does and nothing of where the state lies. It runs directly on a `State`; recording, to
build the witness of a step; and replaying a witness, which is what the contract does.
"""

from typing import Final, Protocol

from vm import alu
from vm.constants import (
    HALTED,
    LEAF_BYTES,
    LEAF_LOG2,
    MEMORY_BYTES,
    REG_A7,
    RUNNING,
    STATE_BYTES,
    SYSCALL_EXIT,
    TRAPPED,
)
from vm.errors import WitnessLengthError, WitnessProofError
from vm.isa import ACCESS_BYTES, WORD_BYTES, Decoded, decode
from vm.proof import encode_proof, read_proof
from vm.state import State, StateHeader, decode_state

_OFFSET: Final = LEAF_BYTES - 1


class Access(Protocol):
    """What `step` needs of a state: the parts it may read and write, and at most one fetch and one load or store."""

    pc: int
    status: int
    registers: list[int]

    def fetch(self, address: int) -> int:
        """The word at a 4-aligned address in memory."""

    def load(self, address: int, size: int) -> int:
        """The unsigned little-endian number of `size` bytes at a naturally aligned address in memory."""

    def store(self, address: int, size: int, value: int) -> None:
        """Writes the low `size` bytes of `value` at a naturally aligned address in memory."""


class _Trap(Exception):
    """The instruction cannot be executed. Raised before it has changed anything."""


def step(access: Access) -> None:
    """Executes one instruction. A machine that is not running stays as it is; a trap changes the status only."""
    if access.status != RUNNING:
        return
    try:
        if access.pc % WORD_BYTES or access.pc > MEMORY_BYTES - WORD_BYTES:
            raise _Trap
        decoded = decode(access.fetch(access.pc))
        if decoded is None:
            raise _Trap
        _execute(access, decoded)
    except _Trap:
        access.status = TRAPPED


def _execute(access: Access, decoded: Decoded) -> None:
    """Everything that can trap comes before the first write."""
    (name, _, _), rd, rs1, rs2, imm = decoded
    x, y = access.registers[rs1], access.registers[rs2]
    pc_next, result = access.pc + WORD_BYTES, None

    if name in alu.OPERATIONS:
        result = alu.OPERATIONS[name](x, y)
    elif name in alu.IMMEDIATE_OPERATIONS:
        result = alu.IMMEDIATE_OPERATIONS[name](x, imm & alu.MASK64)
    elif name in ACCESS_BYTES:
        address, size = alu.add(x, imm & alu.MASK64), ACCESS_BYTES[name]
        if address % size or address >= MEMORY_BYTES:
            raise _Trap
        if name.startswith("s"):
            access.store(address, size, y)
        else:
            result = access.load(address, size)
            if not name.endswith("u"):
                result = alu.sign_extend(result, 8 * size)
    elif name in alu.BRANCHES:
        if alu.BRANCHES[name](x, y):
            pc_next = _target(alu.add(access.pc, imm & alu.MASK64))
    elif name == "lui":
        result = imm & alu.MASK64
    elif name == "auipc":
        result = alu.add(access.pc, imm & alu.MASK64)
    elif name == "jal":
        result, pc_next = pc_next, _target(alu.add(access.pc, imm & alu.MASK64))
    elif name == "jalr":
        result, pc_next = pc_next, _target(alu.add(x, imm & alu.MASK64) & ~1)
    elif name == "ecall":
        if access.registers[REG_A7] != SYSCALL_EXIT:
            raise _Trap
        access.status = HALTED
        return
    else:
        assert name == "fence", name

    if result is not None and rd:
        access.registers[rd] = result
    access.pc = pc_next


def _target(address: int) -> int:
    if address % WORD_BYTES:
        raise _Trap
    return address


class DirectAccess:
    """Steps a `State` in place."""

    def __init__(self, state: State) -> None:
        self._state = state
        self.registers = state.registers

    @property
    def pc(self) -> int:
        """The state's pc."""
        return self._state.pc

    @pc.setter
    def pc(self, value: int) -> None:
        self._state.pc = value

    @property
    def status(self) -> int:
        """The state's status."""
        return self._state.status

    @status.setter
    def status(self, value: int) -> None:
        self._state.status = value

    def fetch(self, address: int) -> int:
        """As Access.fetch."""
        return self._state.memory.load(address, WORD_BYTES)

    def load(self, address: int, size: int) -> int:
        """As Access.load."""
        return self._state.memory.load(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        """As Access.store."""
        self._state.memory.store(address, size, value)


class _RecordingAccess:
    """Steps a copy of a state's registers over its unchanged memory and notes the leaves that are touched."""

    def __init__(self, state: State) -> None:
        self._memory = state.memory
        self.pc, self.status, self.registers = state.pc, state.status, list(state.registers)
        self.indices: list[int] = []

    def fetch(self, address: int) -> int:
        return self.load(address, WORD_BYTES)

    def load(self, address: int, size: int) -> int:
        self._note(address)
        return self._memory.load(address, size)

    def store(self, address: int, size: int, value: int) -> None:
        self._note(address)

    def _note(self, address: int) -> None:
        index = address >> LEAF_LOG2
        if index not in self.indices:
            self.indices.append(index)


class _ReplayingAccess:
    """Steps a state header over the leaves that a witness brings, and notes what becomes of them.

    Nothing is proven yet: the leaves are what the witness says until `replay` has folded them to the root.
    """

    def __init__(self, header: StateHeader, witness: bytes) -> None:
        self.pc, self.status, self.registers = header.pc, header.status, list(header.registers)
        self._witness = witness
        self.consumed = STATE_BYTES
        self.pre: dict[int, bytes] = {}  # by index, in the order of their first use
        self.post: dict[int, bytes] = {}

    def fetch(self, address: int) -> int:
        return self.load(address, WORD_BYTES)

    def load(self, address: int, size: int) -> int:
        leaf = self._leaf(address)
        offset = address & _OFFSET
        return int.from_bytes(leaf[offset : offset + size], "little")

    def store(self, address: int, size: int, value: int) -> None:
        leaf = self._leaf(address)
        offset = address & _OFFSET
        data = (value & ((1 << 8 * size) - 1)).to_bytes(size, "little")
        self.post[address >> LEAF_LOG2] = leaf[:offset] + data + leaf[offset + size :]

    def _leaf(self, address: int) -> bytes:
        index = address >> LEAF_LOG2
        if index not in self.pre:
            start, self.consumed = self.consumed, self.consumed + LEAF_BYTES
            if self.consumed > len(self._witness):
                raise WitnessLengthError(f"the leaf at {address:#x} is missing")
            self.pre[index] = self.post[index] = self._witness[start : self.consumed]
        return self.pre[index]


def prove_step(state: State) -> bytes:
    """The witness of the step that `state` takes next. The state is not changed."""
    access = _RecordingAccess(state)
    step(access)
    witness = state.encode()
    if access.indices:
        witness += b"".join(state.memory.leaf(index) for index in access.indices)
        witness += encode_proof(access.indices, lambda index: state.memory.siblings(0, index))
    return witness


def replay(witness: bytes) -> tuple[bytes, bytes]:
    """The state hashes before and after the step that a witness proves.

    Raises WitnessError unless the witness is exactly what the step from its state needs; never because of what the
    guest does.
    """
    header = decode_state(witness[:STATE_BYTES])
    access = _ReplayingAccess(header, witness)
    step(access)
    root, end, proof = header.root, access.consumed, None
    if access.pre:
        proof, end = read_proof(witness, end, list(access.pre))
    if end != len(witness):
        raise WitnessLengthError(f"{len(witness) - end} bytes behind the witness")
    if proof is not None:
        if proof.root(list(access.pre.values())) != root:
            raise WitnessProofError("the leaves are not in the memory")
        root = proof.root(list(access.post.values()))
    return header.hash(), StateHeader(root, access.registers, access.pc, access.status).hash()
