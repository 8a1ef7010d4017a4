"""A line of the table, its budget, and how both are printed.

Line("onion of 7", ours=5.1, peer=6.1, unit="µs", against="7 nested", budget=at_most(1.25))
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

Unit: TypeAlias = Literal["µs", "ms", "req/s", "msg/s", "KiB", "MiB"]


@dataclass(frozen=True, slots=True)
class Budget:
    """A bound for the ratio ours / peer, or for our own figure where `absolute` is set."""

    least: float | None = None
    most: float | None = None
    absolute: bool = False

    def is_met(self, ours: float, ratio: float | None) -> bool | None:
        """None where there is nothing to compare with."""
        figure = ours if self.absolute else ratio
        if figure is None:
            return None
        return (self.least is None or figure >= self.least) and (
            self.most is None or figure <= self.most
        )

    def text(self, unit: Unit) -> str:
        sign, bound = ("≥", self.least) if self.least is not None else ("≤", self.most)
        return f"{sign} {bound:.3g} {unit}" if self.absolute else f"{sign} {bound:.3g} ×"


@dataclass(frozen=True, slots=True)
class Line:
    """One comparison. `ratio` is given where it is not simply `ours / peer`."""

    name: str
    unit: Unit = "µs"
    ours: float | None = None
    peer: float | None = None
    against: str = ""
    ratio: float | None = None
    budget: Budget | None = None
    note: str = ""
    topic: str = field(default="", kw_only=True)

    @property
    def quotient(self) -> float | None:
        if self.ratio is not None or self.ours is None or not self.peer:
            return self.ratio
        return self.ours / self.peer

    @property
    def met(self) -> bool | None:
        """Whether the budget is kept; None without a budget or without a figure."""
        if self.budget is None or self.ours is None:
            return None
        return self.budget.is_met(self.ours, self.quotient)


def at_least(bound: float) -> Budget:
    return Budget(least=bound)


def at_most(bound: float) -> Budget:
    return Budget(most=bound)


def below(bound: float) -> Budget:
    """Our own figure, in the line's unit, whatever a peer's is."""
    return Budget(most=bound, absolute=True)


def table(lines: Iterable[Line]) -> str:
    """The lines in columns; figures are set to the right."""
    head = ("topic", "what", "ours", "peer", "against", "ratio", "budget", "met?")
    rows = [cells(line) for line in lines]
    widths = [max(len(row[column]) for row in [head, *rows]) for column in range(len(head))]
    rule = tuple("─" * width for width in widths)
    return "\n".join(layout(row, widths) for row in [head, rule, *rows])


def layout(row: Sequence[str], widths: Sequence[int]) -> str:
    numeric = {2, 3, 5, 6}
    cells = (
        text.rjust(width) if column in numeric else text.ljust(width)
        for column, (text, width) in enumerate(zip(row, widths, strict=True))
    )
    return "  ".join(cells).rstrip()


def cells(line: Line) -> tuple[str, ...]:
    quotient = line.quotient
    verdict = {True: "yes", False: "NO", None: ""}[line.met]
    return (
        line.topic,
        line.name,
        figure(line.ours, line.unit),
        figure(line.peer, line.unit),
        line.against,
        "" if quotient is None else f"{quotient:.3g} ×",
        line.budget.text(line.unit) if line.budget else "",
        "  ".join(filter(None, (verdict, line.note))),
    )


def figure(value: float | None, unit: Unit) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if abs(value) >= 1000 else f"{value:.3g} {unit}"


def write_json(path: Path, machine: str, lines: Iterable[Line]) -> None:
    """One object a line, with the same figures as the table in full precision."""
    document = {
        "machine": machine,
        "lines": [
            {
                "topic": line.topic,
                "name": line.name,
                "unit": line.unit,
                "ours": line.ours,
                "peer": line.peer,
                "against": line.against,
                "ratio": line.quotient,
                "budget": line.budget.text(line.unit) if line.budget else None,
                "met": line.met,
                "note": line.note,
            }
            for line in lines
        ],
    }
    path.write_text(json.dumps(document, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
