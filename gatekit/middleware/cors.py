"""Cross-origin resource sharing: which other sites' pages may read what this app answers.

    CORS(allow_origins=["https://app.example", "https://*.example.com"], allow_credentials=True)

The keywords are those of Starlette's `CORSMiddleware`. Put it outside of whatever may refuse: a
browser shows a page nothing of a 401, 429 or 500 that lacks these header fields, only "CORS error".

A preflight is answered here and goes no further, admitted (204) or not (400). What the app or an
upstream says about CORS itself is taken out: two answers to that question are none to a browser.

A WebSocket is not subject to CORS, so no browser stops a foreign page from opening one with the
user's cookies. The same list is applied to it here: a handshake from elsewhere is a 403.
"""

from __future__ import annotations

import re
from collections.abc import Collection

from gatekit._core.compose import answered
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    integer_problem,
    known_keywords,
    name_problem,
    token_problem,
)
from gatekit._core.origins import (
    AskOrigin,
    OriginPolicy,
    ask_problem,
    origin_problem,
    own_origin,
    pattern_problem,
)
from gatekit.errors import Rejected, check
from gatekit.typing import Handler, RawHeaders

_METHODS = ("DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT", "QUERY")
# Fetch, "CORS-safelisted request-header": browsers may send these without being allowed to.
_HEADERS = ("Accept", "Accept-Language", "Content-Language", "Content-Type")
_VARY_BY_ORIGIN = (b"vary", b"Origin")


@known_keywords
class CORS:
    """One policy for everything behind it; `*` in `allow_origins` admits every site.

    `allow_origins` holds origins, `https://*.example.com` for subdomains, and `null` if pages
    without an origin are meant. `allow_origin_regex` must match the whole origin. `allow_origin` is
    asked last, with the origin or with the origin and the request.
    `*` in `allow_methods` stands for those in common use, in `allow_headers` for whatever is asked
    for. `max_age` is how many seconds a browser may remember a preflight's answer.
    `allow_private_network` admits public sites to a private network; `timing_allow_origin` shows
    detailed timings to whom is admitted.
    """

    __slots__ = (
        "_all_headers",
        "_allow_origin",
        "_fields",
        "_headers",
        "_methods",
        "_owned",
        "_permission",
        "_policy",
        "_preflight_vary",
        "_private_network",
        "_timing",
    )

    def __init__(
        self,
        *,
        allow_origins: Collection[str] = (),
        allow_methods: Collection[str] = ("GET",),
        allow_headers: Collection[str] = (),
        allow_credentials: bool = False,
        allow_origin_regex: str | re.Pattern[str] | None = None,
        allow_origin: AskOrigin | None = None,
        allow_private_network: bool = False,
        expose_headers: Collection[str] = (),
        max_age: int = 600,
        timing_allow_origin: bool = False,
    ) -> None:
        check(
            "CORS",
            allow_credentials=flag_problem(allow_credentials),
            allow_private_network=flag_problem(allow_private_network),
            timing_allow_origin=flag_problem(timing_allow_origin),
            allow_origins=each_problem(allow_origins, origin_problem)
            or _everybody_problem(
                allow_origins, allow_credentials, allow_origin_regex, allow_origin
            ),
            allow_methods=each_problem(allow_methods, _method_problem),
            allow_headers=each_problem(allow_headers, name_problem),
            allow_origin_regex=pattern_problem(allow_origin_regex),
            allow_origin=ask_problem(allow_origin),
            expose_headers=each_problem(expose_headers, name_problem)
            or _expose_problem(expose_headers, allow_credentials),
            max_age=integer_problem(max_age),
        )
        self._policy = OriginPolicy(allow_origins, allow_origin_regex, allow_origin)
        self._allow_origin = allow_origin  # kept by its name for the WSGI door to look at
        methods = _METHODS if "*" in allow_methods else tuple(allow_methods)
        names = sorted({*_HEADERS, *allow_headers} - {"*"})
        self._methods = frozenset(methods)
        self._headers = frozenset(name.lower() for name in names)
        self._all_headers = "*" in allow_headers
        self._private_network = allow_private_network
        self._timing = timing_allow_origin
        self._owned = (b"access-control-",) + (b"timing-allow-origin",) * timing_allow_origin

        credentials = {"access-control-allow-credentials": "true"} if allow_credentials else {}
        exposed = {"access-control-expose-headers": ", ".join(expose_headers)}
        self._fields = _pairs({**credentials, **(exposed if expose_headers else {})})
        headers = {"access-control-allow-headers": ", ".join(names)}
        self._permission = _pairs(
            {
                "access-control-allow-methods": ", ".join(methods),
                "access-control-max-age": str(max_age),
                **({} if self._all_headers else headers),
                **credentials,
            }
        )
        asked = ["Origin", "Access-Control-Request-Method", "Access-Control-Request-Headers"]
        if allow_private_network:
            asked.append("Access-Control-Request-Private-Network")
        self._preflight_vary = ", ".join(asked)

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        origins = [value for name, value in request.headers.raw if name == b"origin"]
        if origins and request.is_websocket:
            await self._check_handshake(request, origins)
        if request.is_websocket:
            return await call_next(request)
        if origins and request.method == "OPTIONS":
            method = request.headers.get("access-control-request-method")
            if method is not None:
                return await self._preflight(request, origins, method)

        everybody = self._policy.everybody
        admitted = b"*" if everybody else await self._admitted(request, origins)
        response = await answered(request, call_next)
        headers = response.headers
        raw = [field for field in headers.raw if not field[0].startswith(self._owned)]
        if admitted is not None:
            raw += self._admission(admitted)
            raw += self._fields
        headers.replace(raw)
        if everybody:
            return response
        # Fetch, "CORS protocol and HTTP caches": also where the origin is not admitted.
        if b"vary" in dict(raw):
            headers.vary("Origin")
        else:
            raw.append(_VARY_BY_ORIGIN)
        return response

    async def _admitted(self, request: Request, origins: list[bytes]) -> bytes | None:
        """The origin, if there is exactly one and it is admitted."""
        if len(origins) != 1:
            return None
        admitted = await self._policy.admits(origins[0].decode("latin-1"), request)
        return origins[0] if admitted else None

    async def _preflight(self, request: Request, origins: list[bytes], method: str) -> Response:
        admitted = await self._admitted(request, origins)
        if admitted is None:
            raise self._refused("origin")
        if method not in self._methods:
            raise self._refused("method")
        lines = request.headers.getlist("access-control-request-headers")
        asked = [name for part in ",".join(lines).split(",") if (name := part.strip(" \t"))]
        if not self._allows(asked):
            raise self._refused("header fields")
        raw = self._admission(b"*" if self._policy.everybody else admitted) + self._permission
        if self._all_headers and asked:
            raw.append((b"access-control-allow-headers", ", ".join(asked).encode("ascii")))
        if self._private_network and _asks_for_private_network(request):
            raw.append((b"access-control-allow-private-network", b"true"))
        raw.append((b"vary", self._preflight_vary.encode("ascii")))
        response = Response(204)
        response.headers.replace(raw)
        return response

    def _allows(self, names: list[str]) -> bool:
        if self._all_headers:
            # They are sent back, so they have to be names at least.
            return not any(map(name_problem, names))
        return all(name.lower() in self._headers for name in names)

    def _refused(self, what: str) -> Rejected:
        return Rejected(
            400,
            f"This cross-origin request is not allowed: its {what}.",
            type="urn:gatekit:cors-preflight",
            headers={"Vary": self._preflight_vary},
        )

    async def _check_handshake(self, request: Request, origins: list[bytes]) -> None:
        """One without an `Origin` never gets here: it is no browser's."""
        scheme = request.forwarded_scheme or request.scheme
        host = request.forwarded_host or request.host
        if len(origins) == 1 and own_origin(origins[0].decode("latin-1"), scheme, host):
            return
        if await self._admitted(request, origins) is None:
            raise Rejected(
                403, "This origin may not open a WebSocket here.", type="urn:gatekit:origin"
            )

    def _admission(self, origin: bytes) -> RawHeaders:
        allowed = [(b"access-control-allow-origin", origin)]
        return [*allowed, (b"timing-allow-origin", origin)] if self._timing else allowed


def _everybody_problem(
    entries: Collection[str], allow_credentials: bool, *others: object
) -> str | None:
    if "*" not in entries:
        return None
    if allow_credentials:
        return (
            "'*' and allow_credentials exclude each other: every site could act in the user's name;"
            " list the origins"
        )
    if len(entries) > 1 or any(other is not None for other in others):
        return "'*' admits every origin: leave the others out"
    return None


def _expose_problem(names: Collection[str], allow_credentials: bool) -> str | None:
    # Fetch, "CORS protocol and credentials": the field's `*` is then a name like any other.
    if allow_credentials and "*" in names:
        return "'*' means nothing to a browser with allow_credentials; list the names"
    return None


def _method_problem(method: object) -> str | None:
    if isinstance(method, str) and method != method.upper():
        return f"{method!r}: methods are case-sensitive, and the ones in use are in upper case"
    return token_problem(method)


def _asks_for_private_network(request: Request) -> bool:
    return request.headers.get("access-control-request-private-network") == "true"


def _pairs(fields: dict[str, str]) -> RawHeaders:
    return [(name.encode("ascii"), value.encode("ascii")) for name, value in fields.items()]
