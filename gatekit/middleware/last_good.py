"""The last good answer of each URL, for when there is no better one.

    CircuitBreaker(fallback=LastGood(), fallback_on_failure=True)
    CircuitBreaker(fallback=LastGood(max_age=600, otherwise=Response.json({"hits": []})))

It is no cache: as long as the service is well it is asked every time. It keeps what a shared cache
may keep (RFC 9111 §3), and nothing that was meant for one client: only answers to `GET` with 200
and a `Content-Length`, to requests that do not say who asks, and without `Set-Cookie`, `private`,
`no-store` or `must-revalidate`.

An old answer has an `Age`, and the `Proxy-Status` of a service that is not available.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import NamedTuple, TypeAlias

from gatekit._core.latch import Latch
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    integer_problem,
    known_keywords,
    name_problem,
    seconds_problem,
)
from gatekit.errors import BodyTooLarge, check
from gatekit.middleware._fallback import Fallback, as_fallback, fallback_problem
from gatekit.typing import RawHeaders

SAYS_WHO = ("Authorization", "Cookie", "Proxy-Authorization", "X-API-Key")

# What an answer may differ by and still be kept, one for each combination.
_VARIES = ("accept", "accept-encoding", "accept-language", "origin")

# RFC 9111 §5.2.2: must-revalidate and its kin forbid an answer that is no longer fresh.
_FORBIDDING = frozenset({"no-store", "private", "must-revalidate", "proxy-revalidate", "no-cache"})

_Key: TypeAlias = tuple[object, ...]


@known_keywords
class LastGood:
    """Keeps answers for `max_age` seconds, of at most `max_body` bytes each and `max_bytes` in all.

    A request with one of the fields in `says_who`, or with an identity, is neither remembered nor
    answered. `otherwise` answers where nothing was kept.
    """

    __slots__ = (
        "_answers", "_bytes", "_latch", "_max_age", "_max_body", "_max_bytes", "_otherwise",
        "_says_who",
    )  # fmt: skip

    def __init__(
        self,
        *,
        max_age: float = 86_400.0,
        max_body: int = 65_536,
        max_bytes: int = 16 * 1024 * 1024,
        says_who: Collection[str] = SAYS_WHO,
        otherwise: Response | Fallback | None = None,
    ) -> None:
        check(
            "LastGood",
            max_age=seconds_problem(max_age),
            max_body=integer_problem(max_body, 1),
            max_bytes=integer_problem(max_bytes, 1),
            says_who=each_problem(says_who, name_problem),
            otherwise=fallback_problem(otherwise),
        )
        self._max_age = max_age
        self._max_body = max_body
        self._max_bytes = max_bytes
        self._says_who = frozenset(name.lower().encode("ascii") for name in says_who) | {b"range"}
        self._otherwise = as_fallback(otherwise)
        self._latch = Latch()
        self._answers: dict[_Key, _Answer] = {}
        self._bytes = 0

    async def __call__(self, request: Request) -> Response | None:
        answer = self._answers.get(_key(request)) if self._serves(request) else None
        if answer is not None:
            age = request.io.now() - answer.since
            if age <= self._max_age:
                return _old(answer, age)
        return None if self._otherwise is None else await self._otherwise(request)

    async def remember(self, request: Request, response: Response) -> None:
        """Keeps a good answer, if it may; its body is read for that, up to `max_body` bytes."""
        if request.method != "GET" or response.status != 200 or not self._serves(request):
            return
        length = response.headers.get("content-length", "")
        if not length.isdecimal() or int(length) > self._max_body or not _may_be_kept(response):
            return
        try:
            body = await response.read(self._max_body)
        except BodyTooLarge:
            return
        fields = list(response.headers.raw)
        size = len(body) + sum(len(name) + len(value) for name, value in fields)
        self._keep(_key(request), _Answer(fields, body, request.io.now(), size))

    def clear(self) -> None:
        """Forgets everything."""
        lock = self._latch.take()
        try:
            self._answers.clear()
            self._bytes = 0
        finally:
            lock.release()

    def gatekit_parts(self) -> Iterable[object]:
        """What a door closes and inspects."""
        return () if self._otherwise is None else (self._otherwise,)

    def _serves(self, request: Request) -> bool:
        return (
            request.method in ("GET", "HEAD")
            and (request.identity is None or request.identity.is_anonymous)
            and not any(name in self._says_who for name, _ in request.headers.raw)
        )

    def _keep(self, key: _Key, answer: _Answer) -> None:
        lock = self._latch.take()
        try:
            before = self._answers.pop(key, None)
            self._bytes += answer.size - (before.size if before is not None else 0)
            self._answers[key] = answer
            while self._bytes > self._max_bytes:
                oldest = next(iter(self._answers))
                self._bytes -= self._answers.pop(oldest).size
        finally:
            lock.release()


class _Answer(NamedTuple):
    fields: RawHeaders
    body: bytes
    since: float
    size: int


def _key(request: Request) -> _Key:
    varying = (tuple(request.headers.getlist(name)) for name in _VARIES)
    return (request.host.lower(), request.root_path, request.raw_path, request.query, *varying)


def _may_be_kept(response: Response) -> bool:
    headers = response.headers
    directives = {
        directive.partition("=")[0].strip().lower()
        for value in headers.getlist("cache-control")
        for directive in value.split(",")
    }
    varies = {
        name.strip().lower() for value in headers.getlist("vary") for name in value.split(",")
    }
    return "set-cookie" not in headers and not directives & _FORBIDDING and varies <= {"", *_VARIES}


def _old(answer: _Answer, age: float) -> Response:
    response = Response(200, answer.fields, answer.body)
    before = response.headers.get("age", "")
    # RFC 9111 §5.1: whole seconds since the origin answered.
    seconds = int(age) + (int(before) if before.isdecimal() and len(before) < 11 else 0)
    response.headers["age"] = str(seconds)
    response.headers["proxy-status"] = "gatekit; error=destination_unavailable"
    return response
