"""The softfloat and the hardware side by side over arrays of operands, natively."""

from vm.guest import softfloat
from vm.guest.intrinsics import bits_f32, f32_bits, fma32, sqrt32
from vm.jit import jit

MASK = 0xFFFFFFFF
ADD, SUB, MUL, DIV = range(4)


@jit
def hardware(value):  # type: ignore[no-untyped-def]
    """The bits of a float, NaNs made the one we know."""
    return f32_bits(value) if value == value else softfloat.NAN


@jit
def first_wrong_fma(a, b, c):  # type: ignore[no-untyped-def]
    """Index of the first triple of int32 bits on which softfloat and hardware differ, or -1."""
    for i in range(len(a)):
        x, y, z = int(a[i]), int(b[i]), int(c[i])
        if softfloat.fma(x, y, z) & MASK != hardware(fma32(bits_f32(x), bits_f32(y), bits_f32(z))):
            return i
    return -1


@jit
def first_wrong_pair(operation, a, b):  # type: ignore[no-untyped-def]
    """The same for pairs and one of ADD, SUB, MUL, DIV."""
    for i in range(len(a)):
        x, y = int(a[i]), int(b[i])
        p, q = bits_f32(x), bits_f32(y)
        if operation == ADD:
            ours, theirs = softfloat.add(x, y), p + q
        elif operation == SUB:
            ours, theirs = softfloat.sub(x, y), p - q
        elif operation == MUL:
            ours, theirs = softfloat.mul(x, y), p * q
        else:
            ours, theirs = softfloat.div(x, y), p / q
        if ours & MASK != hardware(theirs):
            return i
    return -1


@jit
def first_wrong_order(a, b):  # type: ignore[no-untyped-def]
    """The same for the comparisons, as the code generator uses them."""
    for i in range(len(a)):
        x, y = int(a[i]), int(b[i])
        p, q = bits_f32(x), bits_f32(y)
        up, down = softfloat.order(x, y), softfloat.order_reversed(x, y)
        if (up == 0) != (p == q) or (up < 0) != (p < q) or (up <= 0) != (p <= q):
            return i
        if (down > 0) != (p > q) or (down >= 0) != (p >= q) or (softfloat.unordered(x, y) != 0) != (p != p or q != q):
            return i
    return -1


@jit
def first_wrong_sqrt(a):  # type: ignore[no-untyped-def]
    """The same for the square root."""
    for i in range(len(a)):
        x = int(a[i])
        if softfloat.sqrt(x) & MASK != hardware(sqrt32(bits_f32(x))):
            return i
    return -1
