"""Cases of the primitives that move elements: any dtype, any bits."""

from hypothesis import strategies as st
from primitive_base import DTYPES, Draw, Sample, case, shape, values


def dtype(draw: Draw) -> str:
    return draw(st.sampled_from(DTYPES))


@case("transpose")
def transpose(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 5)
    return Sample([values(draw, dtype(draw), size)], {"perm": draw(st.permutations(range(len(size))))})


@case("concat")
def concat(draw: Draw, op: str) -> Sample:
    size, kind = shape(draw, 1, 3, 30), dtype(draw)
    axis = draw(st.integers(0, len(size) - 1))
    widths = draw(st.lists(st.integers(1, 5), min_size=2, max_size=4))
    parts = [values(draw, kind, (*size[:axis], width, *size[axis + 1 :])) for width in widths]
    return Sample(list(parts), {"axis": axis - draw(st.sampled_from((0, len(size))))})


@case("copy")
def copy(draw: Draw, op: str) -> Sample:
    x = values(draw, dtype(draw), shape(draw))
    return Sample([x], draw(st.sampled_from(({}, {"shape": [x.size]}, {"shape": [1, *x.shape, 1]}))))


@case("slice")
def slice_(draw: Draw, op: str) -> Sample:
    size = shape(draw, 1, 4, 150)
    starts, steps, sizes = [], [], []
    for extent in size:
        start = draw(st.integers(0, extent - 1))
        step = draw(st.sampled_from((1, 1, 2, 3, -1, -2)))
        room = (extent - 1 - start) // step if step > 0 else start // -step
        starts.append(start)
        steps.append(step)
        sizes.append(draw(st.integers(1, room + 1)))
    return Sample([values(draw, dtype(draw), size)], {"starts": starts, "steps": steps, "sizes": sizes})


@case("expand")
def expand(draw: Draw, op: str) -> Sample:
    target = shape(draw)
    source = tuple(1 if draw(st.booleans()) else size for size in target)
    return Sample([values(draw, dtype(draw), source)], {"shape": list(target)})


@case("pad")
def pad(draw: Draw, op: str) -> Sample:
    size, kind = shape(draw, 0, 3, 30), dtype(draw)
    pads = [draw(st.integers(0, 2)) for _ in range(2 * len(size))]
    value = values(draw, kind, (1,), odd=False)[0].item()
    given = {} if draw(st.booleans()) else {"value": int(value) if kind == "bool" else value}
    return Sample([values(draw, kind, size)], {"pads": pads, **given})
