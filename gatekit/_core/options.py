"""What the options of several middlewares must look like, said in the same words.

Each `…_problem` gives what is wrong with a value, or None. `known_keywords` makes a misspelt option
a `ConfigurationError` like any other.
"""

from __future__ import annotations

import difflib
import functools
import inspect
import re
from collections.abc import Callable, Collection, Mapping
from math import inf
from random import Random
from typing import Any, TypeVar, cast

from gatekit.errors import ConfigurationError

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]+")

T = TypeVar("T")


def known_keywords(owner: type[T]) -> type[T]:
    """A class decorator: reports an unknown keyword together with whatever else is wrong."""
    construct = cast("Any", owner).__init__
    parameters = inspect.signature(construct).parameters

    @functools.wraps(construct)
    def constructor(self: T, *args: object, **keywords: object) -> None:
        unknown = {name: value for name, value in keywords.items() if name not in parameters}
        if not unknown:
            construct(self, *args, **keywords)
            return
        problems = unknown_keywords(unknown, owner)
        known = {name: value for name, value in keywords.items() if name in parameters}
        try:
            construct(self, *args, **known)
        except ConfigurationError as error:
            problems |= error.problems
        except TypeError:
            pass  # an argument that is missing is most likely the misspelt one
        raise ConfigurationError(owner.__name__, problems)

    cast("Any", owner).__init__ = constructor
    return owner


def unknown_keywords(unknown: Mapping[str, object], owner: type) -> dict[str, str]:
    """A keyword that nobody knows, with the one that was probably meant."""
    if not unknown:
        return {}
    known = [
        name
        for name, parameter in inspect.signature(owner).parameters.items()
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD)
    ]
    problems: dict[str, str] = {}
    for name in unknown:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]}?" if close else f"; known are {', '.join(known)}"
        problems[name] = f"is not an option of {owner.__name__}{hint}"
    return problems


def flag_problem(value: object) -> str | None:
    """Of a switch: text such as "no" would count as true."""
    return None if isinstance(value, bool) else f"must be True or False, not {value!r}"


def name_problem(name: object) -> str | None:
    """Of a header field name (RFC 9110 §5.1)."""
    if not isinstance(name, str):
        return f"must be a string, not {name!r}"
    if not _TOKEN.fullmatch(name):
        return f"{name!r} is not a header field name"
    return None


def token_problem(token: object) -> str | None:
    """Of a token (RFC 9110 §5.6.2), such as a method."""
    if not isinstance(token, str) or not _TOKEN.fullmatch(token):
        return f"{token!r} is not a token"
    return None


def each_problem(values: object, problem: Callable[[object], str | None]) -> str | None:
    """Of a list: one string in place of the list is a mistake often made."""
    if isinstance(values, str | bytes):
        return f"must be a list of strings, not the string {values!r}"
    if not isinstance(values, Collection):  # an iterator would be used up by looking at it
        return f"must be a list of strings, not {values!r}"
    found = map(problem, cast("Collection[object]", values))
    return "; ".join(what for what in found if what) or None


def function_problem(value: object, *, takes_async: bool = False) -> str | None:
    """Of a callback that may be left out. An async one that nobody awaits is always true."""
    if value is None:
        return None
    if not callable(value) or isinstance(value, type):
        return f"must be a function, not {value!r}"
    if not takes_async and (
        inspect.iscoroutinefunction(value) or inspect.iscoroutinefunction(value.__call__)
    ):
        return "must be a plain function, not an async one"
    return None


def string_problem(value: object) -> str | None:
    return None if isinstance(value, str) else f"{value!r} is not a string"


def integer_problem(value: object, least: int = 0) -> str | None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        return f"must be a whole number of at least {least}, not {value!r}"
    return None


def number_problem(
    value: object, least: float = 0.0, most: float = inf, *, is_open: bool = False
) -> str | None:
    """Of a finite number from `least` to `most`; `least` itself is none where that end is open."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        is_high_enough = value > least if is_open else value >= least
        if is_high_enough and value <= most and value < inf:
            return None
    limit = f"{'above' if is_open else 'of at least'} {least:g}"
    limit += "" if most == inf else f" and at most {most:g}"
    return f"must be a number {limit}, not {value!r}"


def kind_problem(kind: type, value: object) -> str | None:
    """Of an option that may be left out."""
    if value is None or isinstance(value, kind):
        return None
    return f"must be {kind.__name__}(...), not {value!r}"


def chance_problem(value: object) -> str | None:
    """Of a source of chance that may be left out."""
    if value is None or isinstance(value, Random):
        return None
    return f"must be a random.Random, not {value!r}"


def seconds_problem(value: object) -> str | None:
    """Of a duration that has to be some."""
    if (
        not isinstance(value, int | float)
        or isinstance(value, bool)
        or not 0 < value < float("inf")
    ):
        return f"must be a number of seconds above 0, not {value!r}"
    return None


def value_problem(value: object) -> str | None:
    """Of a header field value: visible characters of Latin-1, spaces and tabs (RFC 9110 §5.5)."""
    if not isinstance(value, str):
        return f"must be a string, not {value!r}"
    if not _VALUE.fullmatch(value):
        return f"{value!r} cannot stand in a header field"
    return None


def hmac_key_problem(secret: object) -> str | None:
    """Of what an HMAC-SHA256 is keyed with; the value is never shown."""
    if not isinstance(secret, bytes):
        return f"must be bytes, not {type(secret).__name__}"
    if len(secret) < 16:  # half of what goes in: fewer would be the weakest part (RFC 2104 §3)
        return f"must be at least 16 bytes long, not {len(secret)}"
    return None
