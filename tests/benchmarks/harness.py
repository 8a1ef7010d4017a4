"""What a topic is given: how long to measure, and how to do it fairly.

def measure(bench: Bench) -> Iterator[Line]:
    samples = bench.alternate({"ours": one, "theirs": other})
    yield Line("it", ours=samples.median("ours"), peer=samples.median("theirs"),
               ratio=samples.ratio("ours", "theirs"))
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import statistics
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

from tests.benchmarks import topics
from tests.benchmarks.report import Line


@dataclass(frozen=True, slots=True)
class Bench:
    """One run. `quick` is for a look at the trend: fewer rounds, shorter loads."""

    quick: bool = False

    @property
    def rounds(self) -> int:
        return 3 if self.quick else 7

    @property
    def load_rounds(self) -> int:
        """Rounds of a load over sockets, each of which takes seconds."""
        return 2 if self.quick else 3

    @property
    def load_seconds(self) -> float:
        return 1.0 if self.quick else 3.0

    def alternate(
        self, contenders: Mapping[str, Callable[[], float]], rounds: int | None = None
    ) -> Samples:
        """Measure each contender once a round, in turn; the first round only warms up."""
        values: dict[str, list[float]] = {name: [] for name in contenders}
        for number in range((rounds or self.rounds) + 1):
            for name, contender in contenders.items():
                value = contender()
                if number:
                    values[name].append(value)
        return Samples(values)

    def progress(self, text: str) -> None:
        """Tell a person who waits what is going on; the table itself goes to standard output."""
        print(f"… {text}", file=sys.stderr, flush=True)


@dataclass(frozen=True, slots=True)
class Samples:
    """One figure for each contender and round."""

    values: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.values[name])

    def ratio(self, ours: str, peer: str) -> float:
        """The median over the rounds, each round's two figures being neighbours in time."""
        pairs = zip(self.values[ours], self.values[peer], strict=True)
        return statistics.median(a / b for a, b in pairs)

    def added(self, name: str, base: str) -> float:
        """What `name` costs more than `base`: the median of the rounds' differences."""
        pairs = zip(self.values[name], self.values[base], strict=True)
        return statistics.median(a - b for a, b in pairs)


class Topic(Protocol):
    """A module of `tests.benchmarks.topics`."""

    def measure(self, bench: Bench, /) -> Iterator[Line]: ...


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(topics.__path__))


def load(name: str) -> Topic:
    return cast("Topic", importlib.import_module(f"{topics.__name__}.{name}"))


def title(name: str) -> str:
    """The first line of a topic's docstring, read without importing what it measures."""
    [folder] = topics.__path__
    tree = ast.parse(Path(folder, f"{name}.py").read_text(encoding="utf-8"))
    return (ast.get_docstring(tree) or "").partition("\n")[0]
