"""A strict reader of what Prometheus is told, in either of its formats; written apart from ours."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_NAME = r"[a-zA-Z_:][a-zA-Z0-9_:]*"
_SAMPLE = re.compile(rf"({_NAME})(?:\{{(.*)\}})? (\S+)(?: (-?\d+(?:\.\d+)?))?")
_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
_NUMBER = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf|NaN)")
_SUFFIXES = {
    "counter": ("_total", "_created", ""),
    "gauge": ("",),
    "histogram": ("_bucket", "_sum", "_count", "_created"),
}

Labels = frozenset[tuple[str, str]]


@dataclass
class Family:
    kind: str
    samples: dict[tuple[str, Labels], float] = field(default_factory=dict)


def read(text: str, *, is_open: bool = False) -> dict[str, Family]:
    """The families by name; AssertionError for whatever a scraper might stumble over."""
    assert text.endswith("\n")
    lines = text.split("\n")[:-1]
    if is_open:
        assert lines.pop() == "# EOF"
    assert "# EOF" not in lines and "" not in lines
    families: dict[str, Family] = {}
    helped: set[str] = set()
    current = ""
    for line in lines:
        if line.startswith("# HELP "):
            name = line.split(" ")[2]
            assert name not in helped, f"two HELP of {name}"
            helped.add(name)
        elif line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert re.fullmatch(_NAME, name) and kind in _SUFFIXES, line
            assert name not in families and name in helped, line
            families[name] = Family(kind)
            current = name
        else:
            assert not line.startswith("#"), line
            _sample(line, current, families[current])
    for name, family in families.items():
        if family.kind == "histogram":
            _histogram(name, family)
    return families


def _sample(line: str, name: str, family: Family) -> None:
    found = _SAMPLE.fullmatch(line)
    assert found is not None, line
    assert found[1].removeprefix(name) in _SUFFIXES[family.kind], f"{line} stands below {name}"
    assert _NUMBER.fullmatch(found[3]), line
    labels = _labels(found[2] or "")
    assert (found[1], labels) not in family.samples, f"twice: {line}"
    value = float(found[3].replace("Inf", "inf"))
    assert family.kind == "gauge" or value >= 0, line
    family.samples[(found[1], labels)] = value


def _labels(text: str) -> Labels:
    labels: list[tuple[str, str]] = []
    at = 0
    while at < len(text):
        found = _LABEL.match(text, at)
        assert found is not None, text
        labels.append((found[1], found[2]))
        at = found.end()
    assert len({name for name, _ in labels}) == len(labels), text
    return frozenset(labels)


def _histogram(name: str, family: Family) -> None:
    buckets: dict[Labels, list[tuple[float, float]]] = {}
    for (sample, labels), value in family.samples.items():
        if sample == f"{name}_bucket":
            (bound,) = (float(each) for key, each in labels if key == "le")
            rest = frozenset(pair for pair in labels if pair[0] != "le")
            buckets.setdefault(rest, []).append((bound, value))
    for labels, found in buckets.items():
        counts = [value for _, value in sorted(found)]
        assert counts == sorted(counts), f"{name} goes down"
        assert max(found)[0] == float("inf")
        assert counts[-1] == family.samples[(f"{name}_count", labels)]
        assert (f"{name}_sum", labels) in family.samples


def value(families: dict[str, Family], sample: str, **labels: str) -> float:
    """The sum of the samples that have these labels, whatever others they have."""
    wanted = set(labels.items())
    found = [
        number
        for family in families.values()
        for (name, given), number in family.samples.items()
        if name == sample and wanted <= given
    ]
    assert found, f"there is no {sample} {labels}"
    return sum(found)


def series(families: dict[str, Family], sample: str) -> int:
    """How many there are."""
    return sum(name == sample for family in families.values() for name, _ in family.samples)
