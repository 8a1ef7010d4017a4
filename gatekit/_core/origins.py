"""Web origins: which of them a policy admits, and whether one is a request's own (RFC 6454).

    policy = OriginPolicy(["https://app.example", "https://*.example.com"])
    await policy.admits("https://eu.api.example.com", request)

An origin is `scheme://host`, with `:port` where that is not the scheme's own, or the word `null`,
which browsers send for pages that have none: from a file, or in a sandboxed frame of anybody's.
They are compared whole: scheme, host and port.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Awaitable, Callable, Collection
from typing import TypeAlias

from gatekit._core.io import resolve
from gatekit._core.messages import Request
from gatekit._core.options import function_problem

AskOrigin: TypeAlias = (
    Callable[[str], bool | Awaitable[bool]] | Callable[[str, Request], bool | Awaitable[bool]]
)

_ORIGIN = re.compile(r"([a-z][a-z0-9+.-]*)://(\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
_SUBDOMAINS = r"(?:[a-z0-9_-]+\.)+"
_DEFAULT_PORTS = {"http": ":80", "https": ":443", "ws": ":80", "wss": ":443"}


class OriginPolicy:
    """Exact origins, `https://*.example.com` for one or more labels before a name, `*` for all.

    `pattern` must match the whole origin. `ask` has the last word, given the origin or the origin
    and the request. Neither is asked about `null`, which only the list can admit.
    """

    __slots__ = ("_ask", "_exact", "_pattern", "_wants_request", "_wild", "everybody")

    def __init__(
        self,
        entries: Collection[str],
        pattern: str | re.Pattern[str] | None = None,
        ask: AskOrigin | None = None,
    ) -> None:
        """With options in which the functions below find nothing wrong."""
        self.everybody = "*" in entries
        normal = [_normal(entry) for entry in entries if entry != "*"]
        self._exact = frozenset(entry for entry in normal if "*" not in entry)
        wild = [
            re.escape(entry).replace(r"\*\.", _SUBDOMAINS, 1) for entry in normal if "*" in entry
        ]
        self._wild = re.compile("|".join(wild)) if wild else None
        self._pattern = None if pattern is None else re.compile(pattern)
        self._ask = ask
        self._wants_request = ask is not None and not _callable_with(ask, 1)

    async def admits(self, origin: str, request: Request) -> bool:
        if self.everybody or origin in self._exact:
            return True
        if origin == "null":
            return False
        if self._wild is not None and self._wild.fullmatch(origin):
            return True
        if self._pattern is not None and self._pattern.fullmatch(origin):
            return True
        ask: Callable[..., bool | Awaitable[bool]] | None = self._ask
        if ask is None:
            return False
        return await resolve(ask(origin, request) if self._wants_request else ask(origin))


def origin_problem(entry: object) -> str | None:
    """What is wrong with an entry of the list."""
    if not isinstance(entry, str):
        return f"{entry!r} is not a string"
    if entry in ("*", "null"):
        return None
    scheme, mark, host = entry.partition("://")
    match = _ORIGIN.fullmatch(f"{scheme}{mark}{host.removeprefix('*.')}".lower())
    if match is None:
        return (
            f"{entry!r} is not an origin; write scheme://host or scheme://host:port, without a path"
            " or a slash at the end, with *. in front of the host for its subdomains"
        )
    if host.startswith("*.") and "." not in match[2] and match[2] != "localhost":
        return f"{entry!r} would admit every name below a top-level domain"
    return None


def pattern_problem(pattern: object) -> str | None:
    if pattern is None or isinstance(pattern, re.Pattern):
        return None
    if not isinstance(pattern, str):
        return f"must be a regular expression, not {pattern!r}"
    try:
        re.compile(pattern)
    except re.error as error:
        return f"{pattern!r} is not a regular expression: {error}"
    return None


def ask_problem(ask: object) -> str | None:
    problem = function_problem(ask, takes_async=True)
    if problem or not callable(ask) or _callable_with(ask, 1) or _callable_with(ask, 2):
        return problem
    return "must take the origin, or the origin and the request"


def own_origin(origin: str, scheme: str, host: str) -> bool:
    """Whether a page of this origin talks to the very host that it came from.

    Where the connection is not known to be encrypted, a proxy may have ended TLS in front of it:
    the page's scheme then says nothing and only its host counts.
    """
    page_scheme, mark, page_host = origin.partition("://")
    if not mark or page_host != host.lower() or page_scheme not in ("http", "https"):
        return False
    return page_scheme == "https" or scheme not in ("https", "wss")


def _normal(entry: str) -> str:
    """As browsers write it: in lower case, without the scheme's own port."""
    origin = entry.lower()
    default = _DEFAULT_PORTS.get(origin.partition("://")[0])
    return origin.removesuffix(default) if default else origin


def _callable_with(function: Callable[..., object], count: int) -> bool:
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError:
        return False
    except ValueError:  # a builtin that does not tell
        return count == 1
    return True
