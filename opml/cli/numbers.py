"""Numbers as they are typed: finite, and no finer than what they stand for."""

import math
from decimal import Decimal, InvalidOperation
from typing import Any

import click

from opml.chain.units import ETHER

UNITS = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}


class Finite(click.FloatRange):
    """A number within bounds; `nan`, which compares with none, and `inf` are none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if not math.isfinite(number):
            self.fail(f"{value!r} is not a number", param, ctx)
        return float(super().convert(number, param, ctx))


class BasisPoints(click.ParamType):  # type: ignore[type-arg]
    """Percent with two decimals at most, as basis points: 2.5 is 250."""

    name = "PERCENT"

    def __init__(self, most: int) -> None:
        self.most = most

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        try:
            points = Decimal(str(value)) * 100
        except InvalidOperation:
            points = Decimal("nan")
        if not points.is_finite() or not 0 <= points <= self.most:
            self.fail(f"{value!r} is no percentage from 0 to {self.most / 100:g}", param, ctx)
        if points != int(points):
            self.fail(f"{value!r} is finer than a basis point: write two decimals at most", param, ctx)
        return int(points)


class Size(click.ParamType):  # type: ignore[type-arg]
    """Bytes: 500M, 4G, or a plain number."""

    name = "SIZE"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        text = str(value).upper().removesuffix("B").removesuffix("I")
        number, unit = (text[:-1], UNITS[text[-1]]) if text[-1:] in UNITS else (text, 1)
        if not number.isascii() or not number.isdigit():
            self.fail(f"{value!r} is no size such as 500M or 4G", param, ctx)
        return int(number) * unit


class Ether(click.ParamType):  # type: ignore[type-arg]
    """An amount of ether, as wei."""

    name = "ETHER"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        if isinstance(value, int):
            return value
        try:
            wei = Decimal(str(value)) * ETHER
        except InvalidOperation:
            wei = Decimal(-1)
        if not wei.is_finite() or wei < 0 or wei != int(wei):
            self.fail(f"{value!r} is no amount of ether such as 0.5", param, ctx)
        return int(wei)
