"""The arithmetic of RV64IM on unsigned 64-bit numbers: every argument and result is 0 <= x < 2**64.

The Solidity verifier has functions of the same names. Source: RISC-V manual volume I, RV64I 2.1 and M 2.0
(table "Semantics for division by zero and division overflow").
"""

from collections.abc import Callable
from typing import Final

MASK32: Final = (1 << 32) - 1
MASK64: Final = (1 << 64) - 1


def signed(x: int) -> int:
    """The two's complement number that the 64 bits stand for."""
    return x - (1 << 64) if x >> 63 else x


def sign_extend(x: int, bits: int) -> int:
    """The low `bits` bits of x, sign-extended to 64."""
    x &= (1 << bits) - 1
    return x | (MASK64 ^ ((1 << bits) - 1)) if x >> (bits - 1) else x


def sext32(x: int) -> int:
    """The low 32 bits of x, sign-extended: what every *w instruction leaves."""
    return sign_extend(x, 32)


def add(x: int, y: int) -> int:
    """x + y modulo 2**64."""
    return (x + y) & MASK64


def sub(x: int, y: int) -> int:
    """x - y modulo 2**64."""
    return (x - y) & MASK64


def sll(x: int, y: int) -> int:
    """x shifted left by the low 6 bits of y."""
    return x << (y & 63) & MASK64


def srl(x: int, y: int) -> int:
    """x shifted right by the low 6 bits of y, zeros from the left."""
    return x >> (y & 63)


def sra(x: int, y: int) -> int:
    """x shifted right by the low 6 bits of y, copies of the sign from the left."""
    return signed(x) >> (y & 63) & MASK64


def slt(x: int, y: int) -> int:
    """1 if x < y as signed numbers, else 0."""
    return int(signed(x) < signed(y))


def sltu(x: int, y: int) -> int:
    """1 if x < y, else 0."""
    return int(x < y)


def xor(x: int, y: int) -> int:
    """Bitwise exclusive or."""
    return x ^ y


def or_(x: int, y: int) -> int:
    """Bitwise or."""
    return x | y


def and_(x: int, y: int) -> int:
    """Bitwise and."""
    return x & y


def addw(x: int, y: int) -> int:
    """x + y in 32 bits, sign-extended."""
    return sext32(x + y)


def subw(x: int, y: int) -> int:
    """x - y in 32 bits, sign-extended."""
    return sext32(x - y)


def sllw(x: int, y: int) -> int:
    """x shifted left in 32 bits by the low 5 bits of y, sign-extended."""
    return sext32(x << (y & 31))


def srlw(x: int, y: int) -> int:
    """The low 32 bits of x shifted right by the low 5 bits of y, zeros from the left, sign-extended."""
    return sext32((x & MASK32) >> (y & 31))


def sraw(x: int, y: int) -> int:
    """The low 32 bits of x shifted right by the low 5 bits of y, copies of bit 31 from the left."""
    return signed(sext32(x)) >> (y & 31) & MASK64


def mul(x: int, y: int) -> int:
    """The low 64 bits of x * y."""
    return x * y & MASK64


def mulh(x: int, y: int) -> int:
    """The high 64 bits of signed x times signed y."""
    return signed(x) * signed(y) >> 64 & MASK64


def mulhsu(x: int, y: int) -> int:
    """The high 64 bits of signed x times unsigned y."""
    return signed(x) * y >> 64 & MASK64


def mulhu(x: int, y: int) -> int:
    """The high 64 bits of x * y."""
    return x * y >> 64


def div(x: int, y: int) -> int:
    """Signed x / y, rounded towards zero; x / 0 is all ones, -2**63 / -1 is -2**63."""
    if y == 0:
        return MASK64
    a, b = signed(x), signed(y)
    quotient = abs(a) // abs(b)
    return (quotient if (a < 0) == (b < 0) else -quotient) & MASK64


def divu(x: int, y: int) -> int:
    """x / y; x / 0 is all ones."""
    return x // y if y else MASK64


def rem(x: int, y: int) -> int:
    """Signed x - y * div(x, y), the sign of x; x rem 0 is x, -2**63 rem -1 is 0."""
    if y == 0:
        return x
    a = signed(x)
    remainder = abs(a) % abs(signed(y))
    return (-remainder if a < 0 else remainder) & MASK64


def remu(x: int, y: int) -> int:
    """x modulo y; x modulo 0 is x."""
    return x % y if y else x


def mulw(x: int, y: int) -> int:
    """The low 32 bits of x * y, sign-extended."""
    return sext32(x * y)


def divw(x: int, y: int) -> int:
    """`div` of the low 32 bits as signed numbers; x / 0 is all ones, -2**31 / -1 is -2**31."""
    return sext32(div(sext32(x), sext32(y)))


def divuw(x: int, y: int) -> int:
    """`divu` of the low 32 bits, sign-extended; x / 0 is all ones."""
    return sext32(divu(x & MASK32, y & MASK32))


def remw(x: int, y: int) -> int:
    """`rem` of the low 32 bits as signed numbers; x rem 0 is the low 32 bits of x, sign-extended."""
    return sext32(rem(sext32(x), sext32(y)))


def remuw(x: int, y: int) -> int:
    """`remu` of the low 32 bits, sign-extended; x modulo 0 is the low 32 bits of x, sign-extended."""
    return sext32(remu(x & MASK32, y & MASK32))


# The register-register instructions by name.
OPERATIONS: Final[dict[str, Callable[[int, int], int]]] = {
    function.__name__.rstrip("_"): function
    for function in (
        *(add, sub, sll, slt, sltu, xor, srl, sra, or_, and_, addw, subw, sllw, srlw, sraw),
        *(mul, mulh, mulhsu, mulhu, div, divu, rem, remu, mulw, divw, divuw, remw, remuw),
    )
}

# The register-immediate instructions: the same operations on rs1 and the sign-extended immediate.
IMMEDIATE_OPERATIONS: Final = {
    "addi": add,
    "slti": slt,
    "sltiu": sltu,
    "xori": xor,
    "ori": or_,
    "andi": and_,
    "slli": sll,
    "srli": srl,
    "srai": sra,
    "addiw": addw,
    "slliw": sllw,
    "srliw": srlw,
    "sraiw": sraw,
}

# Whether a branch on rs1 and rs2 is taken.
BRANCHES: Final[dict[str, Callable[[int, int], bool]]] = {
    "beq": lambda x, y: x == y,
    "bne": lambda x, y: x != y,
    "blt": lambda x, y: signed(x) < signed(y),
    "bge": lambda x, y: signed(x) >= signed(y),
    "bltu": lambda x, y: x < y,
    "bgeu": lambda x, y: x >= y,
}
