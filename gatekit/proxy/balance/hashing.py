"""What a request is hashed by: the same key goes to the same destination.

    RingHash(on="header:x-tenant")
    RingHash(on=["cookie:cart", "client"])             # the address where there is no cart
    Maglev(on=lambda request: request.params.get("user"))

`"client"` is the client's address (IPv6 by its /64), `"identity"` the subject of who was
authenticated, `"path"` the decoded path; `"header:…"`, `"cookie:…"` and `"query:…"` name one; a
function of the request gives a string, or None where it has no key. The first in a list that has a
key is taken. A request without any goes to a destination drawn by weight.

The hash is BLAKE2b (RFC 7693), the same in every process and after a restart. It is not keyed: who
chooses keys can send them all to one destination.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import blake2b
from typing import TypeAlias, cast

from gatekit._core.messages import Request
from gatekit._core.options import function_problem, name_problem
from gatekit.limits import keys

Source: TypeAlias = "str | Callable[[Request], str | None]"
On: TypeAlias = "Source | Sequence[Source]"
KeyOf: TypeAlias = Callable[[Request], str | None]

_PLAIN: dict[str, KeyOf] = {
    "client": keys.address,
    "identity": keys.identity,
    "path": keys.path,
}
_NAMED: dict[str, Callable[[str], KeyOf]] = {
    "header": keys.header,
    "cookie": keys.cookie,
    "query": keys.query,
}


def key_of(on: On) -> KeyOf:
    """A function that finds the key of a request; `on` has no problem."""
    sources = [_source(source) for source in _listed(on)]
    if len(sources) == 1:
        return sources[0]

    def first(request: Request) -> str | None:
        for source in sources:
            key = source(request)
            if key:
                return key
        return None

    return first


def on_problem(on: object) -> str | None:
    """What is wrong with what to hash by."""
    listed = _listed(cast("On", on))
    if not listed:
        return "is empty: there is nothing to hash by"
    return "; ".join(what for source in listed if (what := _source_problem(source))) or None


def digest(text: str) -> int:
    """64 bits."""
    data = text.encode("utf-8", "surrogatepass")
    return int.from_bytes(blake2b(data, digest_size=8).digest(), "big")


def _listed(on: On) -> Sequence[Source]:
    return cast("Sequence[Source]", on if isinstance(on, list | tuple) else [on])


def _source(source: Source) -> KeyOf:
    if not isinstance(source, str):
        return source
    kind, _, name = source.partition(":")
    return _NAMED[kind](name) if name else _PLAIN[kind]


def _source_problem(source: object) -> str | None:
    if not isinstance(source, str):
        return "must be a string or a function" if source is None else function_problem(source)
    kind, colon, name = source.partition(":")
    if kind == "query" and name:
        return None
    if kind in _NAMED and name:
        return name_problem(name)
    if source in _PLAIN and not colon:
        return None
    return (
        f"{source!r} is none of 'client', 'identity', 'path', 'header:<name>', 'cookie:<name>', "
        "'query:<name>'"
    )
