"""Powers with constant exponents, and the norms made of them."""

from opml.lowering.call import Call


def power(c: Call, x: str, exponent: float) -> str:
    """x to a constant power."""
    if exponent == 1:
        return x
    if exponent == 2:
        return c.emit("mul", [x, x])
    if exponent == 0.5:
        return c.emit("sqrt", [x])
    return c.emit("pow", [x, c.build.scalar(exponent)])


def magnitude_power(c: Call, x: str, exponent: float) -> str:
    """|x| to a constant power."""
    return power(c, x if exponent == 2 else c.emit("abs", [x]), exponent)


def root(c: Call, x: str, degree: float) -> str:
    """The root of a number that is not negative."""
    return power(c, x, 1 / degree)
