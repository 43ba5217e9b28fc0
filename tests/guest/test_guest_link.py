"""The linker on small objects: what it links runs, and what a guest cannot have is refused by name."""

import llvmlite.binding as llvm
import pytest
from guest_machine import run_guest

from vm.guest.errors import GuestError
from vm.guest.link import link


def assemble(text: str) -> bytes:
    """An object from LLVM IR, by the code generator that the builder uses, with a section per function."""
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    machine = llvm.Target.from_triple("riscv64-unknown-none-elf").create_target_machine(
        "generic-rv64", "+m", 2, "static", "small"
    )
    return bytes(machine.emit_object(llvm.parse_assembly(text)))


def run(image: bytes, a0: int, a1: int) -> int:
    return run_guest({0: image}, a0, a1).a0


ADD = """
define i64 @entry(i64 %a, i64 %b) section ".text.entry" {
  %c = call i64 @helper(i64 %a)
  %d = add i64 %c, %b
  ret i64 %d
}
define i64 @helper(i64 %a) noinline section ".text.helper" {
  %b = mul i64 %a, 10
  ret i64 %b
}
define i64 @unused(i64 %a) section ".text.unused" {
  %b = call i64 @missing(i64 %a)
  ret i64 %b
}
declare i64 @missing(i64)
"""

TABLE = """
@table = internal constant [4 x i64] [i64 7, i64 70, i64 700, i64 7000]
define i64 @entry(i64 %a, i64 %b) {
  %p = getelementptr [4 x i64], ptr @table, i64 0, i64 %a
  %v = load i64, ptr %p
  %c = add i64 %v, %b
  ret i64 %c
}
"""

POINTERS = """
@one = internal constant i64 11
@two = internal constant i64 22
@pointers = internal constant [2 x ptr] [ptr @one, ptr @two]
define i64 @entry(i64 %a, i64 %b) {
  %p = getelementptr [2 x ptr], ptr @pointers, i64 0, i64 %a
  %q = load ptr, ptr %p
  %v = load i64, ptr %q
  ret i64 %v
}
"""

SWITCH = """
define i64 @entry(i64 %a, i64 %b) {
  switch i64 %a, label %other [
    i64 0, label %zero i64 1, label %one i64 2, label %two i64 3, label %three i64 4, label %four i64 5, label %five
  ]
zero:
  ret i64 100
one:
  %s = mul i64 %b, %b
  ret i64 %s
two:
  %t = add i64 %b, 3
  ret i64 %t
three:
  %u = sub i64 %b, 8
  ret i64 %u
four:
  %v = xor i64 %b, 99
  ret i64 %v
five:
  %w = udiv i64 %b, 3
  ret i64 %w
other:
  ret i64 7
}
"""


def test_calls_are_linked_and_the_unused_left_out() -> None:
    image = link(assemble(ADD), "entry")
    assert run(image, 4, 2) == 42
    assert len(image) == len(link(assemble(ADD[: ADD.index("define i64 @unused")]), "entry"))


def test_constants_and_pointers_to_them() -> None:
    assert [run(link(assemble(TABLE), "entry"), i, 5) for i in range(4)] == [12, 75, 705, 7005]
    assert [run(link(assemble(POINTERS), "entry"), i, 0) for i in range(2)] == [11, 22]


def test_jump_tables() -> None:
    image = link(assemble(SWITCH), "entry")
    assert [run(image, i, 12) for i in range(7)] == [100, 144, 15, 4, 12 ^ 99, 4, 7]


def test_linking_is_deterministic() -> None:
    assert link(assemble(ADD), "entry") == link(assemble(ADD), "entry")


REFUSED = {
    "undefined symbol missing": ADD.replace("@helper(i64 %a)\n", "@missing(i64 %a)\n"),
    "no function entry": ADD.replace("@entry", "@other"),
    "section .*: a guest has only code and constants": TABLE.replace("constant", "global"),
    "recursion": ADD.replace("%b = mul i64 %a, 10", "%b = call i64 @helper(i64 %a)\n  store i64 %b, ptr null"),
    "call through a pointer": ADD.replace("call i64 @helper(i64 %a)\n", "call i64 %p(i64 %a)\n").replace(
        "%c = call", "%p = inttoptr i64 %b to ptr\n  %c = call"
    ),
    "R_RISCV_TPREL_HI20": TABLE.replace("internal constant", "internal thread_local(localexec) global"),
    "stack frame of more than 2048 bytes": ADD.replace(
        "%b = mul i64 %a, 10",
        "%x = alloca [4096 x i8]\n %p = getelementptr i8, ptr %x, i64 %a\n store volatile i64 1, ptr %p\n"
        "  %b = load volatile i64, ptr %p",
    ),
    "there is room for 1048576": TABLE.replace("[4 x i64] [i64 7, i64 70, i64 700, i64 7000]", "[131073 x i64] undef"),
}


@pytest.mark.parametrize("message", REFUSED)
def test_refused_by_name(message: str) -> None:
    with pytest.raises(GuestError, match=message):
        link(assemble(REFUSED[message]), "entry")


def test_deep_chains_of_calls_are_counted() -> None:
    frame = "%x = alloca [1900 x i8]\n %p = getelementptr i8, ptr %x, i64 %a\n store volatile i8 1, ptr %p\n"
    functions = [
        f'define i64 @f{i}(i64 %a) noinline section ".text.f{i}" {{\n {frame}'
        f" %b = call i64 @f{i + 1}(i64 %a)\n %v = load volatile i8, ptr %p\n %w = zext i8 %v to i64\n"
        " %c = add i64 %b, %w\n ret i64 %c\n}\n"
        for i in range(40)
    ]
    last = 'define i64 @f{n}(i64 %a) noinline section ".text.f{n}" {{\n ret i64 %a\n}}\n'
    entry = "define i64 @entry(i64 %a, i64 %b) {\n %c = call i64 @f0(i64 %a)\n ret i64 %c\n}\n"
    assert run(link(assemble(entry + "".join(functions[:30]) + last.format(n=30)), "entry"), 5, 0) == 35
    with pytest.raises(GuestError, match="bytes of stack"):
        link(assemble(entry + "".join(functions) + last.format(n=40)), "entry")


def test_not_an_object() -> None:
    with pytest.raises(GuestError, match="relocatable"):
        link(b"\x7fELF" + bytes(100), "entry")
