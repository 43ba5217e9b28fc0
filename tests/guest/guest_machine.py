"""A guest run by unicorn, an RV64 emulator that shares nothing with our machine."""

from collections.abc import Mapping
from dataclasses import dataclass

from unicorn import UC_ARCH_RISCV, UC_HOOK_CODE, UC_MODE_RISCV64, UC_PROT_ALL, Uc, UcError
from unicorn.riscv_const import UC_RISCV_REG_A0, UC_RISCV_REG_A1, UC_RISCV_REG_A7, UC_RISCV_REG_PC

from vm.constants import SCRATCH_BASE, SYSCALL_EXIT
from vm.guest.link import STACK_LOG2

ECALL = (0x73).to_bytes(4, "little")
PAGE = 4096


@dataclass
class Outcome:
    """a0 at the halting ecall, and the number of instructions if they were counted (else -1)."""

    a0: int
    steps: int
    machine: Uc

    def read(self, address: int, size: int) -> bytes:
        return bytes(self.machine.mem_read(address, size))


def run_guest(memory: Mapping[int, bytes], first: int, count: int, counted: bool = False) -> Outcome:
    """Runs from pc 0 until the ecall; `memory` maps page-aligned addresses to bytes (the guest at 0 among them)."""
    machine = Uc(UC_ARCH_RISCV, UC_MODE_RISCV64)
    for address, data in memory.items():
        machine.mem_map(address, max(PAGE, -(-len(data) // PAGE) * PAGE), UC_PROT_ALL)
        machine.mem_write(address, bytes(data))
    machine.mem_map(SCRATCH_BASE, 1 << STACK_LOG2, UC_PROT_ALL)
    machine.reg_write(UC_RISCV_REG_A0, first)
    machine.reg_write(UC_RISCV_REG_A1, count)
    steps = -1
    if counted:
        steps = 0

        def tick(*_: object) -> None:
            nonlocal steps
            steps += 1

        machine.hook_add(UC_HOOK_CODE, tick)
    end = bytes(memory[0]).index(ECALL)
    assert end % 4 == 0
    try:
        machine.emu_start(0, end)
    except UcError as error:
        raise AssertionError(f"{error} at pc {machine.reg_read(UC_RISCV_REG_PC):#x}") from error
    assert machine.reg_read(UC_RISCV_REG_PC) == end
    assert machine.reg_read(UC_RISCV_REG_A7) == SYSCALL_EXIT
    return Outcome(machine.reg_read(UC_RISCV_REG_A0), steps + 1 if counted else -1, machine)
