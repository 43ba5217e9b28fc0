"""Powers with constant exponents, and the norms made of them."""

from opml.lowering.call import Call


def power(c: Call, x: str, exponent: float) -> str:
    """x to a constant power."""
    match exponent:
        case 1:
            return x
        case 2:
            return c.emit("mul", [x, x])
        case 0.5:
            return c.emit("sqrt", [x])
        case 0.75:
            half = c.emit("sqrt", [x])
            return c.emit("mul", [half, c.emit("sqrt", [half])])
    return c.emit("pow", [x, c.build.scalar(exponent)])


def magnitude_power(c: Call, x: str, exponent: float) -> str:
    """|x| to a constant power."""
    return power(c, x if exponent == 2 else c.emit("abs", [x]), exponent)


def root(c: Call, x: str, degree: float) -> str:
    """The root of a number that is not negative."""
    return power(c, x, 1 / degree)
