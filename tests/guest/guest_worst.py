"""The dearest inputs found for primitives that index, sort and select: ties, duplicates, subnormal and odd numbers."""

from collections.abc import Callable

import numpy as np

from opml.graph import Array
from opml.ops.base import Attrs

Case = tuple[list[Array | None], Attrs]
SMALLEST = np.uint32(1).view(np.float32)
NAN = np.uint32(0xFFFFFFFF).view(np.float32)
FAR = np.iinfo(np.int64).min


def chance(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def filled(value: float | np.floating, *shape: int, dtype: str = "float32") -> Array:
    return np.full(shape, value, dtype)


# What a row to be sorted is filled with: n numbers.
ROWS: dict[str, Callable[[int], Array]] = {
    "equal": lambda n: filled(-1.5, n),
    "ties": lambda n: chance(1).integers(0, 3, n).astype(np.float32),
    "sorted": lambda n: np.arange(n, dtype=np.float32),
    "reversed": lambda n: -np.arange(n, dtype=np.float32),
    "subnormal": lambda n: np.arange(1, n + 1, dtype=np.uint32).view(np.float32),
    "nan": lambda n: filled(NAN, n),
    "odd": lambda n: chance(2).integers(0, 1 << 32, n, np.uint32).view(np.float32),
    "bytes": lambda n: filled(255, n, dtype="uint8"),
    "words": lambda n: filled(-1, n, dtype="int64").view(np.uint64),
}

BOXES: dict[str, Array] = {
    # With a threshold of one, not even equal boxes overlap too much: every box meets all before it.
    "equal": np.tile(np.float32([0, 0, 3, 5]), (40, 1)),
    "disjoint": np.arange(40, dtype=np.float32)[:, None] * 4 + np.float32([0, 0, 1, 1]),
    "nested": np.arange(1, 41, dtype=np.float32)[:, None] * np.float32([-1, -1, 1, 1]),
    "subnormal": np.tile(np.float32([0, 0, 2.0**-70, 3 * 2.0**-71]), (40, 1)),
    "smallest": np.tile(np.float32([SMALLEST, 1, 2 * SMALLEST, 2]), (40, 1)),
    "sum of subnormals": np.tile(np.float32([-(2.0**-70), 3 * SMALLEST, 2.0**-75, 2.0**-73]), (40, 1)),
    "huge": np.tile(np.float32([-3e38, -1e-38, 3e38, 1e-38]), (40, 1)),
    "nan": filled(NAN, 40, 4),
}

NUMBERS = ((SMALLEST, "float32"), (NAN, "float32"), (2.0**-75, "float32"), (-3, "int8"), (9, "uint64"))


def suppression(boxes: Array, center: int, limit: int, overlap: float = 1.0) -> Case:
    n = len(boxes)
    scores = filled(SMALLEST, 1, 2, n)
    order = np.tile(np.arange(n), (1, 2, 1))
    inputs = [boxes[None], scores, order, np.float32([overlap]), np.array([limit]), filled(-SMALLEST, 1)]
    return inputs, {"limit": min(limit, n), "center": center}


def scattered(reduction: str, value: float | np.floating, dtype: str, indices: Array) -> Case:
    """All updates at one place, or where `indices` lead."""
    x, updates = filled(value, 40, dtype=dtype), filled(value, indices.size, dtype=dtype)
    return [x, indices.reshape(-1, 1), updates], {"reduction": reduction}


def worst_cases() -> dict[str, Callable[[], Case]]:
    """By name: the primitive's, a dash, what is special."""
    cases: dict[str, Callable[[], Case]] = {}
    for kind, row in ROWS.items():
        for n, width in ((40, 1), (9, 30), (1, 40)):
            x = np.repeat(row(n), width).reshape(1, n, width)
            name = f"{kind}-{n}-{width}"
            cases[f"rank-{name}"] = lambda x=x: ([x], {"descending": 0})
            cases[f"rank-{name}-down"] = lambda x=x: ([x], {"descending": 1})
            cases[f"changes-{name}"] = lambda x=x: ([np.tile(x, (3, 1, 1))], {})
        cases[f"running_count-{kind}"] = lambda row=row: ([row(50)], {})
    for kind, boxes in BOXES.items():
        for center in (0, 1):
            for limit in (40, 7, 1):
                case = suppression(boxes, center, limit)
                cases[f"nms-{kind}-{center}-{limit}"] = lambda case=case: case
        cases[f"nms-{kind}-strict"] = lambda boxes=boxes: suppression(boxes, 0, 40, 0.0)
    places = {
        "one place": np.zeros(30, np.int64),
        "the end": filled(-1, 30, dtype="int32"),
        "far": filled(FAR, 30, dtype="int64"),
        "all": np.arange(40) - 40,
    }
    for where, indices in places.items():
        for reduction in ("none", "add", "mul", "min", "max"):
            for value, dtype in (
                (SMALLEST, "float32"),
                (NAN, "float32"),
                (2.0**-75, "float32"),
                (-3, "int8"),
                (9, "uint64"),
            ):
                made = scattered(reduction, value, dtype, indices)
                name = f"{where}-{reduction}-{dtype}-{value:.3g}"
                x, index, updates = made[0]
                attrs = made[1]
                cases[f"scatter_nd-{name}"] = lambda made=made: made
                flat: Case = ([x, np.ravel(index), updates], {**attrs, "axis": 0})
                cases[f"scatter_elements-{name}"] = lambda flat=flat: flat
        deep = np.tile(indices.reshape(-1, 1), (1, 8))
        cases[f"scatter_nd-{where}-deep"] = lambda deep=deep: (
            [filled(1, *(2,) * 8), deep, filled(1, len(deep))],
            {"reduction": "add"},
        )
        cases[f"gather_nd-{where}-deep"] = lambda deep=deep: (
            [filled(1, *(2,) * 8, dtype="uint8"), deep],
            {"batch_dims": 0},
        )
        cases[f"gather-{where}"] = lambda indices=indices: ([filled(1, 2, 40, 1, dtype="uint8"), indices], {"axis": 1})
        cases[f"gather-{where}-zeros"] = lambda indices=indices: (
            [filled(1, 2, 40, dtype="int8"), indices],
            {"axis": 1, "zeros": 1},
        )
        lines = np.tile(indices.reshape(-1, *(1,) * 5), (1, 2, 1, 2, 1, 2))
        cases[f"gather_elements-{where}"] = lambda lines=lines: (
            [filled(1, 40, 2, 3, 2, 3, 2, dtype="uint8"), lines],
            {"axis": 0},
        )
        many = lines[:9]
        cases[f"scatter_elements-{where}-deep"] = lambda many=many: (
            [filled(1, 9, 2, 3, 2, 3, 2, dtype="uint8"), many, filled(1, *many.shape, dtype="uint8")],
            {"axis": 0, "reduction": "max"},
        )
        cases[f"order-{where}"] = lambda indices=indices: ([indices.astype(np.int64)[None]], {"k": indices.size})
        cases[f"one_hot-{where}"] = lambda indices=indices: (
            [indices.astype(np.int64), np.array([1, 2], np.uint8)],
            {"depth": 5, "axis": 0},
        )
        cases[f"reverse_sequence-{where}"] = lambda indices=indices: (
            [filled(1, 7, indices.size, dtype="uint8"), indices],
            {"batch_axis": 1},
        )
        cases[f"tensor_scatter-{where}"] = lambda indices=indices: (
            [filled(1, indices.size, 7, 3, dtype="uint8"), filled(2, indices.size, 5, 3, dtype="uint8"), indices],
            {"axis": 1, "circular": 1},
        )
    counts = {"none": np.zeros(300, np.int64), "all": np.arange(1, 301), "last": np.eye(1, 300, 299, dtype=np.int64)[0]}
    counts["any"] = chance(5).integers(FAR, -(FAR + 1), 300)
    for kind, count in counts.items():
        deep_dims = [2, 3, 2, 5, 1, 5, 1, 1, 1]
        cases[f"positions-{kind}"] = lambda count=count, d=deep_dims: (
            [count],
            {"dims": d, "capacity": 300, "fill": -1},
        )
        cases[f"group_sizes-{kind}"] = lambda count=count: ([count], {})
        cases[f"nms_select-{kind}"] = lambda count=count: (
            [count.reshape(3, 4, 25), np.tile(np.arange(25), (3, 4, 1))],
            {"capacity": 300},
        )
    for k in (-(1 << 40), -7, 0, 7, 1 << 40):
        for upper in (0, 1):
            cases[f"trilu-{k}-{upper}"] = lambda k=k, u=upper: (
                [filled(1, 3, 9, 11, dtype="uint8")],
                {"k": k, "upper": u},
            )
    return cases
