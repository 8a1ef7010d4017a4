"""What a client prefers: the lists with weights of RFC 9110 §12.4.2.

    weights("gzip;q=0.5, br, *;q=0")          # {"gzip": 0.5, "br": 1.0, "*": 0.0}

Names are in lower case, and of two alike the greater weight counts. A weight that is none is 0:
what cannot be understood is not wished for.
"""

from __future__ import annotations

import re
from functools import lru_cache
from types import MappingProxyType

_WEIGHT = re.compile(r"0(\.[0-9]{0,3})?|1(\.0{0,3})?")

# A list that is longer was not written by a client that means it.
_MEMBERS = 64


@lru_cache(maxsize=256)
def weights(text: str) -> MappingProxyType[str, float]:
    """By name; parameters other than the weight are no part of it."""
    found: dict[str, float] = {}
    for member in text.split(",", _MEMBERS)[:_MEMBERS]:
        name, *parameters = (part.strip(" \t") for part in member.split(";"))
        if name:
            name = name.lower()
            found[name] = max(found.get(name, 0.0), _weight(parameters))
    return MappingProxyType(found)


def _weight(parameters: list[str]) -> float:
    for parameter in parameters:
        key, _, value = parameter.partition("=")
        if key.strip(" \t").lower() == "q":
            value = value.strip(" \t")
            return float(value) if _WEIGHT.fullmatch(value) else 0.0
    return 1.0
