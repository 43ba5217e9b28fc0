"""Einsum → diagonals, sums, transposes, products and matmuls; operands are contracted from left to right."""

from math import prod

from opml.errors import UnsupportedError
from opml.graph import DType
from opml.lowering.call import Call, lowers

# The axes of an ellipsis are letters of their own: digits, counted from the last axis.
ELLIPSIS = "..."
MOST_AXES = 10


@lowers("Einsum")
def einsum(c: Call) -> str:
    """Any equation: implicit outputs, ellipses, letters that an operand repeats, axes of size 1 that broadcast."""
    names = c.all_inputs()
    terms, result = _parse(c.text("equation", ""), [c.build.shape(name) for name in names])
    sizes: dict[str, int] = {}
    for term, name in zip(terms, names, strict=True):
        for letter, size in zip(term, c.build.shape(name), strict=True):
            if sizes.setdefault(letter, size) != size and 1 not in (size, sizes[letter]):
                raise UnsupportedError(f"axis {letter!r} has sizes {sizes[letter]} and {size}")
            sizes[letter] = max(sizes[letter], size)
    if missing := set(result) - set(sizes):
        raise UnsupportedError(f"no operand has the axis {min(missing)!r} of the result")

    x, term = _reduced(c, names[0], terms[0], sizes, {*result, *"".join(terms[1:])})
    for i in range(1, len(names)):
        needed = {*result, *"".join(terms[i + 1 :])}
        y, other = _reduced(c, names[i], terms[i], sizes, {*term, *needed})
        x, term = _reduced(c, x, term, sizes, {*other, *needed})
        x, term = _product(c, x, term, y, other, sizes, needed)
    x, term = _reduced(c, x, term, sizes, set(result))
    # An axis of size 1 that broadcasts was dropped; the result has it at its full size.
    for letter in result:
        if letter not in term:
            x, term = c.view(x, (1, *c.build.shape(x))), letter + term
    x = c.build.transpose(x, [term.index(letter) for letter in result])
    full = [sizes[letter] for letter in result]
    return x if list(c.build.shape(x)) == full else c.emit("expand", [x], shape=full)


def _parse(equation: str, shapes: list[tuple[int, ...]]) -> tuple[list[str], str]:
    """The letters of each operand and of the result."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    texts = left.split(",")
    if len(texts) != len(shapes):
        raise UnsupportedError(f"equation {equation!r} for {len(shapes)} operands")
    terms = [_letters(text, len(shape)) for text, shape in zip(texts, shapes, strict=True)]
    dots = max((term for term in ("".join(filter(str.isdigit, term)) for term in terms)), key=len)
    if arrow:
        if right.count(ELLIPSIS) > 1:
            raise UnsupportedError(f"the result {right!r} has two ellipses")
        result = right.replace(ELLIPSIS, dots)
    else:
        every = "".join(terms)
        result = dots + "".join(sorted(a for a in set(every) if every.count(a) == 1 and not a.isdigit()))
    if len(set(result)) != len(result) or not all(a.isalpha() or a in dots for a in result):
        raise UnsupportedError(f"the result {right!r}")
    return terms, result


def _letters(text: str, rank: int) -> str:
    named = text.replace(ELLIPSIS, "", 1)
    wide = rank - len(named)
    if not all(a.isascii() and a.isalpha() for a in named) or wide < 0 or (wide and ELLIPSIS not in text):
        raise UnsupportedError(f"operand {text!r} for a tensor of {rank} dimensions")
    if wide > MOST_AXES:
        raise UnsupportedError(f"an ellipsis of {wide} axes; opml has at most {MOST_AXES}")
    return text.replace(ELLIPSIS, "".join(str(i) for i in reversed(range(wide))))


def _reduced(c: Call, x: str, term: str, sizes: dict[str, int], needed: set[str]) -> tuple[str, str]:
    """Diagonals for repeated letters, no axes of size 1 that broadcast, and sums over what nobody needs any more."""
    for letter in sorted({a for a in term if term.count(a) > 1}):
        x, term = _diagonal(c, x, term, letter)
    narrow = [i for i, a in enumerate(term) if c.build.shape(x)[i] == 1 and (sizes[a] != 1 or a not in needed)]
    x = c.view(x, [n for i, n in enumerate(c.build.shape(x)) if i not in narrow])
    term = "".join(a for i, a in enumerate(term) if i not in narrow)
    gone = [i for i, a in enumerate(term) if a not in needed]
    if gone:
        kept = [i for i in range(len(term)) if i not in gone]
        x = c.build.transpose(x, [*kept, *gone])
        x = c.emit("reduce_sum", [x], axes=list(range(len(kept), len(term))), keepdims=0)
        term = "".join(term[i] for i in kept)
    return x, term


def _diagonal(c: Call, x: str, term: str, letter: str) -> tuple[str, str]:
    """Two axes of one letter become one: every (n + 1)-th of the n * n elements."""
    first = term.index(letter)
    second = term.index(letter, first + 1)
    rest = [i for i in range(len(term)) if i not in (first, second)]
    x = c.build.transpose(x, [*rest, first, second])
    *outer, rows, columns = c.build.shape(x)
    n = max(rows, columns)
    if rows != columns:
        x = c.emit("expand", [x], shape=[*outer, n, n])
    x = c.view(x, [*outer, n * n])
    starts, steps = [0] * (len(outer) + 1), [*[1] * len(outer), n + 1]
    return c.emit("slice", [x], starts=starts, steps=steps, sizes=[*outer, n]), "".join(term[i] for i in rest) + letter


def _product(
    c: Call, x: str, left: str, y: str, right: str, sizes: dict[str, int], needed: set[str]
) -> tuple[str, str]:
    """The product of two operands, summed over the letters of both that nobody needs after it."""
    batch = [a for a in left if a in right and a in needed]
    inner = [a for a in left if a in right and a not in needed]
    rows, columns = [a for a in left if a not in right], [a for a in right if a not in left]
    x = c.build.transpose(x, [left.index(a) for a in (*batch, *rows, *inner)])
    y = c.build.transpose(y, [right.index(a) for a in (*batch, *inner, *columns)])
    b, m, k, n = (prod(sizes[a] for a in letters) for letters in (batch, rows, inner, columns))
    shape, term = [sizes[a] for a in (*batch, *rows, *columns)], "".join((*batch, *rows, *columns))
    if inner and c.build.type(x).dtype is DType.FLOAT32:
        two = ((m, k), (k, n)) if b == 1 else ((b, m, k), (b, k, n))
        product = c.emit("matmul", [c.view(x, two[0]), c.view(y, two[1])], trans_a=0, trans_b=0)
    else:
        product = c.emit("mul", [c.view(x, (b, m, k, 1)), c.view(y, (b, 1, k, n))])
        if inner:
            product = c.emit("reduce_sum", [product], axes=[2], keepdims=0)
    return c.view(product, shape), term
