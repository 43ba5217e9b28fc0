"""IEEE-754 binary32 on integers: what a multiply or an add *is* in the machine.

A value is an int64 that holds the 32 bits sign extended; of a result only the low 32 bits count. All operations round
to nearest even, keep subnormals and give NAN for every NaN result. There is no conversion to integers: LLVM leaves it
undefined out of range, so kernels have a total one of their own, on the bits.

The functions are written for few RV64IM instructions. An intermediate magnitude is a *significand* `s`, an unsigned
64-bit integer, with an exponent `e`: its value is `s * 2**(e - 189)`, so that the binary32 with biased exponent `e`
has its leading bit at bit 62. Bits shifted out at the bottom are kept as one sticky bit ("jammed").
"""

from vm.guest.intrinsics import likely, mulhi, shr, udiv, ult, wrap_add, wrap_sub
from vm.jit import jit

SIGN = 0x80000000
MAGNITUDE = 0x7FFFFFFF
FRACTION = 0x7FFFFF
INFINITY = 0x7F800000
NAN = 0x7FC00000
ONE = 0x3F800000

UNDECIDED = 1 << 40

_BIT63 = -(1 << 63)
_BIT62 = 1 << 62


@jit
def shift_jam(s, count):  # type: ignore[no-untyped-def]
    """A significand divided by 2**count, count >= 0, not zero where `s` is not."""
    if count > 63:
        return 1
    shifted = shr(s, count)
    return shifted | ((shifted << count) != s)


@jit
def round_significand(s):  # type: ignore[no-untyped-def]
    """s / 2**39 rounded to nearest even, for s < 2**63."""
    return shr(wrap_add(s, ((s >> 39) & 1) + ((1 << 38) - 1)), 39)


@jit
def pack(sign, e, s):  # type: ignore[no-untyped-def]
    """The binary32 nearest to s * 2**(e - 189), s > 0 as unsigned, with the sign of the 32-bit word `sign`."""
    if s < 0:
        s = shr(s, 1) | (s & 1)
        e += 1
    elif s < _BIT62:
        if s < 1 << 56:  # after a cancellation, or a small integer
            if s < 1 << 30:
                s <<= 32
                e -= 32
            if s < 1 << 46:
                s <<= 16
                e -= 16
            if s < 1 << 54:
                s <<= 8
                e -= 8
        while s < _BIT62:
            s <<= 1
            e -= 1
    sign &= SIGN
    if likely(ult(e - 1, 254)):
        return sign | (((e - 1) << 23) + round_significand(s))
    if e > 0:
        return sign | INFINITY
    return sign | round_significand(shift_jam(s, 1 - e))


@jit
def exponent(a):  # type: ignore[no-untyped-def]
    """The biased exponent field."""
    return (a >> 23) & 0xFF


@jit
def is_normal(e):  # type: ignore[no-untyped-def]
    """Whether a biased exponent is that of a normal number."""
    return ult(e - 1, 254)


@jit
def mantissa(a):  # type: ignore[no-untyped-def]
    """The 24 bits of a normal number's mantissa, at the top of the word."""
    return (a << 40) | _BIT63


@jit
def subnormal_exponent(a):  # type: ignore[no-untyped-def]
    """The exponent (at most 0) that a subnormal number other than zero would have, were there no bound."""
    e = 1
    a &= FRACTION
    while a <= FRACTION:
        a <<= 1
        e -= 1
    return e


@jit
def fma_near(a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once, in the common case of a long sum; otherwise UNDECIDED.

    There the product is mostly smaller than `c`, and the sum stays in the binade of `c`. Then the result is `c` plus
    or minus an integer, the product in units of c's last place, and nothing need be unpacked or normalised.
    """
    ea, eb, ec = exponent(a), exponent(b), exponent(c)
    # x is the product in units of 2**-41 ulp(c); for these counts no bit of it is lost. With the product's exponent
    # bound to c's, the middle condition excludes zeros, subnormals, infinities and NaNs from a and b.
    count = ec - (ea + eb) + 125
    if likely(ult(count, 17)) and likely(ult(ea - eb + 109, 219)) and likely(is_normal(ec)):
        x = shr(mulhi(mantissa(a), mantissa(b)), count)
        if likely((x << 23) != _BIT63):  # not a tie
            steps = (shr(x, 40) + 1) >> 1
            fraction = c << 41
            if (a ^ b ^ c) >= 0:
                if likely(not ult(wrap_add(fraction, x), x)):
                    return c + steps
            elif likely(not ult(fraction, x)):
                return c - steps
    elif count > 27 and ea != 255 and eb != 255 and is_normal(ec):
        return c  # the product is zero, or less than a quarter of a unit in the last place below c
    return UNDECIDED


@jit
def fma_any(a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once, for all operands."""
    ea, eb, ec = exponent(a), exponent(b), exponent(c)
    product_sign = a ^ b
    sa, sb, sc = mantissa(a), mantissa(b), mantissa(c)
    if not likely(is_normal(ea) and is_normal(eb)):
        ma, mb, mc = a & MAGNITUDE, b & MAGNITUDE, c & MAGNITUDE
        if ma >= INFINITY or mb >= INFINITY:
            if ma > INFINITY or mb > INFINITY or mc > INFINITY or ma == 0 or mb == 0:
                return NAN
            if mc == INFINITY and (product_sign ^ c) < 0:
                return NAN
            return (product_sign & SIGN) | INFINITY
        if ma == 0 or mb == 0:
            if mc > INFINITY:
                return NAN
            if mc == 0:
                return product_sign & c & SIGN
            return c
        if ea == 0:
            ea = subnormal_exponent(a)
            sa = a << (41 - ea)
        if eb == 0:
            eb = subnormal_exponent(b)
            sb = b << (41 - eb)
    s = shr(mulhi(sa, sb), 1)
    e = ea + eb - 126
    if not likely(is_normal(ec)):
        mc = c & MAGNITUDE
        if mc == 0:
            return pack(product_sign, e, s)
        if mc > INFINITY:
            return NAN
        if mc == INFINITY:
            return c
        ec = subnormal_exponent(c)
        sc = c << (41 - ec)
    sc = shr(sc, 1)
    if ec >= e:
        s = shift_jam(s, ec - e)
        e = ec
    else:
        sc = shift_jam(sc, e - ec)
    if (product_sign ^ c) >= 0:
        s = wrap_add(s, sc)
    else:
        s = sc - s
        if s < 0:
            s = -s
            c = product_sign
        elif s == 0:
            return 0
    return pack(c, e, s)


@jit
def fma(a, b, c):  # type: ignore[no-untyped-def]
    """a * b + c, rounded once."""
    result = fma_near(a, b, c)
    return fma_any(a, b, c) if result == UNDECIDED else result


@jit
def add(a, b):  # type: ignore[no-untyped-def]
    """a + b."""
    return fma_any(ONE, a, b)


@jit
def sub(a, b):  # type: ignore[no-untyped-def]
    """a - b."""
    return fma_any(ONE, a, b ^ -SIGN)


@jit
def mul(a, b):  # type: ignore[no-untyped-def]
    """a * b: the addend is the zero that keeps a zero product's sign."""
    return fma_any(a, b, (a ^ b) & -SIGN)


@jit
def div(a, b):  # type: ignore[no-untyped-def]
    """a / b."""
    sign = (a ^ b) & SIGN
    ma, mb = a & MAGNITUDE, b & MAGNITUDE
    if ma > INFINITY or mb > INFINITY:
        return NAN
    if ma == INFINITY:
        return NAN if mb == INFINITY else sign | INFINITY
    if mb == INFINITY:
        return sign
    if mb == 0:
        return NAN if ma == 0 else sign | INFINITY
    if ma == 0:
        return sign
    ea, eb = exponent(a), exponent(b)
    sa, sb = (a & FRACTION) | (FRACTION + 1), (b & FRACTION) | (FRACTION + 1)
    if ea == 0:
        ea = subnormal_exponent(a)
        sa = ma << (1 - ea)
    if eb == 0:
        eb = subnormal_exponent(b)
        sb = mb << (1 - eb)
    numerator = sa << 39
    quotient = udiv(numerator, sb)
    return pack(sign, ea - eb + 127, (quotient << 23) | (quotient * sb != numerator))


@jit
def sqrt(a):  # type: ignore[no-untyped-def]
    """The square root of a."""
    ma = a & MAGNITUDE
    if ma == 0:
        return a
    if a < 0 or ma > INFINITY:
        return NAN
    if ma == INFINITY:
        return a
    e = exponent(a)
    s = (a & FRACTION) | (FRACTION + 1)
    if e == 0:
        e = subnormal_exponent(a)
        s = ma << (1 - e)
    # a = s * 2**(e - 150); an even exponent, and as many bits as fit.
    square = s << (38 + (e & 1))
    # Newton's iteration from above, starting on a tangent; it stops at the floor of the root.
    root = (square >> 32) + (1 << 30) + 1
    while True:
        following = (root + udiv(square, root)) >> 1
        if following >= root:
            break
        root = following
    return pack(0, ((e - (e & 1) - 188) >> 1) + 158, (root << 31) | (root * root != square))


@jit
def is_nan(a):  # type: ignore[no-untyped-def]
    """Whether `a` is a NaN."""
    return (a & MAGNITUDE) > INFINITY


@jit
def unordered(a, b):  # type: ignore[no-untyped-def]
    """1 if an operand is a NaN, else 0."""
    return 1 if is_nan(a) or is_nan(b) else 0


@jit
def rank(a):  # type: ignore[no-untyped-def]
    """An integer that orders as the number does; both zeros have rank 0."""
    negative = a >> 63
    return ((a & MAGNITUDE) ^ negative) - negative


@jit
def order(a, b):  # type: ignore[no-untyped-def]
    """-1, 0 or 1 as a < b, a = b, a > b; 1 if unordered."""
    if is_nan(a) or is_nan(b):
        return 1
    return (rank(a) > rank(b)) - (rank(a) < rank(b))


@jit
def order_reversed(a, b):  # type: ignore[no-untyped-def]
    """`order`, but -1 if unordered."""
    return -order(b, a)


@jit
def from_i64(x):  # type: ignore[no-untyped-def]
    """The nearest binary32 to a signed integer."""
    if x == 0:
        return 0
    sign = x >> 63
    return pack(sign, 189, wrap_sub(x ^ sign, sign))


@jit
def from_u64(x):  # type: ignore[no-untyped-def]
    """The nearest binary32 to an unsigned integer."""
    if x == 0:
        return 0
    return pack(0, 189, x)
