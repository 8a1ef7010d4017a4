"""Which of the media types that can be offered a client would rather have (RFC 9110 §12.5.1).

ranges = accepted(request.headers.getlist("accept"))
quality(ranges, "text/html")                                  # 0.0 … 1.0
preferred(ranges, ["application/json", "text/html"])          # of equals the first; or None
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from gatekit._core.weights import weights


def accepted(lines: Iterable[str]) -> Mapping[str, float]:
    """Weights by range. A range with a parameter of its own counts as one without."""
    wished = weights(",".join(lines))
    return {kind: weight for kind, weight in wished.items() if "/" in kind}


def quality(ranges: Mapping[str, float], kind: str) -> float:
    """What the most specific range that fits says; no ranges at all accept everything."""
    if not ranges:
        return 1.0
    major = kind.partition("/")[0]
    for fitting in (kind, f"{major}/*", "*/*"):
        if fitting in ranges:
            return ranges[fitting]
    return 0.0


def preferred(ranges: Mapping[str, float], offered: Sequence[str]) -> str | None:
    """The one with the highest weight; None if the client takes none of them."""
    best = max(offered, key=lambda kind: quality(ranges, kind))
    return best if quality(ranges, best) > 0 else None
