"""Whom to count: functions of the request, and how several of them make one key.

    RateLimit("100/minute")                                            # by the client's address
    RateLimit("100/minute", key=keys.header("x-api-key"), missing="deny")
    RateLimit("100/minute", key=(keys.tenant, keys.identity, keys.route), missing="anonymous")

Any function of the request that gives a string will do; None means that the request has none, and
an empty string means it too. An IPv6 client is counted by its /64, which is what a subscriber has.

Behind a proxy the address is the proxy's unless a `ClientIP` further out finds the client's.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping
from inspect import isawaitable, iscoroutinefunction
from typing import Literal, TypeAlias, cast
from urllib.parse import parse_qs

from gatekit._core.addresses import network_key
from gatekit._core.messages import Request
from gatekit._core.options import function_problem, name_problem
from gatekit.errors import check
from gatekit.limits.secrecy import hashed

Extractor: TypeAlias = "Callable[[Request], str | Awaitable[str | None] | None]"
Key: TypeAlias = "Extractor | tuple[Extractor, ...]"
Missing: TypeAlias = Literal["anonymous", "skip", "deny"]

# A field is up to thousands of bytes long, and its sender chooses how many there are to remember.
_LONGEST = 64
# Begins the key of a request that has none. What a client sends and that begins so gets one more,
# so that nobody can name another one's bucket.
_ANONYMOUS = "\0"


def address(request: Request) -> str | None:
    """The client's address: IPv4 whole, IPv6 by its /64; None on a Unix socket."""
    found = request.client_ip
    if found is None and request.client is not None:
        found = request.client[0]
    if not found:
        return None
    return found if ":" not in found else network_key(found)


def identity(request: Request) -> str | None:
    """The subject of who was authenticated further out."""
    subject = cast("object", getattr(request.identity, "subject", None))
    return str(subject) if subject else None


def tenant(request: Request) -> str | None:
    """`request.tenant` where something sets it, or the `tenant` that the identity has."""
    found = cast("object", getattr(request, "tenant", None))
    if found is None:
        found = cast("object", getattr(request.identity, "tenant", None))
    return None if found is None else str(found)


def method(request: Request) -> str:
    """The method; a WebSocket's handshake is a GET."""
    return request.method


def path(request: Request) -> str:
    """The decoded path. Every path that a client invents is a key of its own."""
    return request.url_path


def route(request: Request) -> str:
    """The template of the route that matched, the same for all paths that match none."""
    return "" if request.route is None else request.route.path or "/"


def header(name: str) -> Callable[[Request], str | None]:
    """A header field, all its values together."""
    check("keys.header", name=name_problem(name))
    key = name.lower().encode("ascii")

    def extract(request: Request) -> str | None:
        values = [value for field, value in request.headers.raw if field == key]
        return b", ".join(values).decode("latin-1") or None

    return extract


def cookie(name: str) -> Callable[[Request], str | None]:
    """A cookie, the first of that name."""
    check("keys.cookie", name=name_problem(name))

    def extract(request: Request) -> str | None:
        for line in request.headers.getlist("cookie"):
            for pair in line.split(";"):
                found, _, value = pair.strip(" \t").partition("=")
                if found == name:
                    return value or None
        return None

    return extract


def query(name: str) -> Callable[[Request], str | None]:
    """A parameter of the query, the first of that name."""

    def extract(request: Request) -> str | None:
        if not request.query:
            return None
        values = parse_qs(request.query.decode("latin-1"), max_num_fields=100).get(name)
        return values[0] if values else None

    return extract


def claim(name: str) -> Callable[[Request], str | None]:
    """A claim of the verified token: `identity.claims[name]`."""

    def extract(request: Request) -> str | None:
        claims = cast("object", getattr(request.identity, "claims", None))
        if not isinstance(claims, Mapping):
            return None
        found = cast("Mapping[str, object]", claims).get(name)
        return None if found is None else str(found)

    return extract


class Keyring:
    """Makes the key of a request out of its parts.

    `missing` says what happens to a request that lacks one: `"anonymous"` counts it by its address
    in place of that part, among others of its kind only; `"skip"` does not count it; `"deny"`
    refuses it.
    """

    __slots__ = ("_parts", "_single", "missing", "plain")

    def __init__(self, key: Key, missing: Missing) -> None:
        self._parts: tuple[Extractor, ...] = key if isinstance(key, tuple) else (key,)
        self._single = self._parts[0] if len(self._parts) == 1 else None
        # What is known to give a short string or None, and not to mind being asked twice.
        self.plain = address if self._single is address else None
        self.missing: Missing = missing

    async def find(self, request: Request) -> str | None:
        """None where a part is missing and `missing` is not `"anonymous"`."""
        if self._single is not None:
            part = self._single(request)
            if not isinstance(part, str):
                part = await _settle(part)
            if part and len(part) <= _LONGEST and part[0] != _ANONYMOUS:
                return part
            return self._joined(request, [part])
        return self._joined(request, [await _settle(part(request)) for part in self._parts])

    def _joined(self, request: Request, parts: Iterable[str | None]) -> str | None:
        whole: list[str] = []
        for part in parts:
            if part:
                whole.append(_ANONYMOUS + part if part[0] == _ANONYMOUS else part)
            elif self.missing == "anonymous":
                whole.append(f"{_ANONYMOUS}{address(request) or ''}")
            else:
                return None
        return join(whole)


async def _settle(part: object) -> str | None:
    if isawaitable(part):
        part = await cast("Awaitable[object]", part)
    return None if part is None else str(part)


def async_in(functions: object) -> object:
    """The first async one, for a WSGI door to find on whoever keeps it; it looks into no tuple."""
    several = (
        cast("tuple[object, ...]", functions) if isinstance(functions, tuple) else (functions,)
    )
    return next(filter(iscoroutinefunction, several), None)


def key_problem(key: object) -> str | None:
    """Of a key, or of a tuple of them."""
    if not isinstance(key, tuple):
        return "must be a function of the request" if key is None else _part_problem(key)
    parts = cast("tuple[object, ...]", key)
    if not parts:
        return "is empty; leave it out to count by address"
    return "; ".join(what for part in parts if (what := _part_problem(part))) or None


def _part_problem(part: object) -> str | None:
    return function_problem(part, takes_async=True) if part is not None else "None is no function"


def missing_problem(missing: object) -> str | None:
    if missing in ("anonymous", "skip", "deny"):
        return None
    return f"must be 'anonymous', 'skip' or 'deny', not {missing!r}"


def join(parts: Iterable[str]) -> str:
    """One text for several, such that no two lists make the same."""
    first, *others = parts
    text = "".join(f"{len(part)}:{part}" for part in (first, *others)) if others else first
    if len(text) > _LONGEST:
        return f"#{hashed(text, b'')}"
    return text
