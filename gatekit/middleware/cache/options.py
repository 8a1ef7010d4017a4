"""What the options of `Cache` must look like."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

from gatekit._core.options import function_problem, name_problem
from gatekit.middleware.cache.key import CacheKey
from gatekit.middleware.cache.rules import CacheRule


def on_bytes(function: Callable[[str], str]) -> Callable[[bytes], bytes]:
    def normaliser(value: bytes) -> bytes:
        return function(value.decode("latin-1")).encode("utf-8", "surrogateescape")

    return normaliser


def key_problem(key: object) -> str | None:
    return (
        None if key is None or isinstance(key, CacheKey) else f"must be CacheKey(...), not {key!r}"
    )


def cookies_problem(value: object) -> str | None:
    if value in ("bypass", "strip", "store"):
        return None
    return f'must be "bypass", "strip" or "store", not {value!r}'


def rules_problem(rules: object) -> str | None:
    if not isinstance(rules, Sequence) or isinstance(rules, str):
        return f"must be a list of CacheRule(...), not {rules!r}"
    wrong = [
        repr(rule) for rule in cast("Sequence[object]", rules) if not isinstance(rule, CacheRule)
    ]
    return f"{', '.join(wrong)} is no CacheRule(...)" if wrong else None


def normalisers_problem(normalise: object) -> str | None:
    if normalise is None:
        return None
    if not isinstance(normalise, Mapping):
        return f"must map names of fields to functions, not {normalise!r}"
    found = [
        what
        for name, function in cast("Mapping[object, object]", normalise).items()
        if (what := name_problem(name) or function_problem(function))
    ]
    return "; ".join(found) or None
