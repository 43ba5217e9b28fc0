"""Every number of the step machine, typed once.

The Solidity constants and the tables of `vm/SPEC.md` are generated from this module; tests compare them.
"""

from typing import Final

# Memory: 2**40 bytes in raw 32-byte leaves under a keccak-256 tree of fixed depth (vm/SPEC.md, "Memory").
MEMORY_LOG2: Final = 40
LEAF_LOG2: Final = 5
PAGE_LOG2: Final = 12
LEAF_BYTES: Final = 1 << LEAF_LOG2
PAGE_BYTES: Final = 1 << PAGE_LOG2
DEPTH: Final = MEMORY_LOG2 - LEAF_LOG2
PAGE_LEVEL: Final = PAGE_LOG2 - LEAF_LOG2
MEMORY_BYTES: Final = 1 << MEMORY_LOG2

# The lower half holds the model, the upper half the guest's stack.
MODEL_LEVEL: Final = DEPTH - 1
SCRATCH_BASE: Final = 1 << (MEMORY_LOG2 - 1)

# Machine status, one byte of the state encoding.
RUNNING: Final = 0
HALTED: Final = 1
TRAPPED: Final = 2

# State encoding: root, x1..x31 and pc big endian, status; hashed with keccak-256.
ROOT_BYTES: Final = 32
REGISTER_BYTES: Final = 8
REGISTERS: Final = 32
STATE_BYTES: Final = ROOT_BYTES + (REGISTERS - 1) * REGISTER_BYTES + REGISTER_BYTES + 1

# Environment calls (a7 = x17, a0 = x10).
SYSCALL_EXIT: Final = 93
REG_A0: Final = 10
REG_A1: Final = 11
REG_A7: Final = 17
