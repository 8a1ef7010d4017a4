"""Where a token may stand in a request (RFC 6750 §2), and how it is taken off.

    sources = Sources(cookie="session", subprotocol="bearer")
    token = sources.find(request)           # bytes, or None
    sources.hide(request)

A request that holds tokens in two places, or one place twice, is refused: what stands behind might
read the other one. That is `TwoTokens`, and 400.

A browser can set no header field on a WebSocket. With `subprotocol="bearer"` it offers
`new WebSocket(url, ["bearer", token])`; the token is taken out of the offer, so that the app can
answer with nothing but `bearer` or another protocol of its own.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import unquote_to_bytes

from gatekit._core.messages import Request
from gatekit._core.options import name_problem, token_problem
from gatekit.typing import RawHeaders

_PROTOCOLS = b"sec-websocket-protocol"
_QUOTED = re.compile(rb'"(?:[^"\\]|\\.)*"')
_SECOND = re.compile(rb",[ \t]*[A-Za-z][A-Za-z0-9-]*(?: |$)")
_TOKEN68 = re.compile(rb"[A-Za-z0-9._~+/-]+=*")
_QUERY_NAME = re.compile(r"[A-Za-z0-9._~-]+")


class TwoTokens(Exception):
    """`reason` says where; the request is malformed."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class Sources:
    """`scheme` stands before the token in `header`, and is none where it is empty."""

    __slots__ = ("_cookie", "_extra", "_field", "_prefix", "_query", "_subprotocol")

    def __init__(
        self,
        *,
        header: str | None = "Authorization",
        scheme: str = "Bearer",
        cookie: str | None = None,
        query: str | None = None,
        subprotocol: str | None = None,
    ) -> None:
        self._field = header.lower().encode("ascii") if header else b""
        self._prefix = scheme.lower().encode("ascii")
        self._cookie = cookie.encode("ascii") if cookie else None
        self._query = query.encode("ascii") if query else None
        self._subprotocol = subprotocol.encode("ascii") if subprotocol else None
        self._extra = bool(cookie or query or subprotocol)

    def find(self, request: Request) -> bytes | None:
        """The token as it was sent, not empty; its characters are not looked at."""
        field = self._field
        values = [value for name, value in request.headers.raw if name == field]
        token = self._in_header(values) if values else None
        return self._elsewhere(request, token) if self._extra else token

    def _in_header(self, values: list[bytes]) -> bytes | None:
        if len(values) > 1:
            raise TwoTokens("the field occurs twice")
        value, prefix = values[0], self._prefix
        if not prefix:
            return value.strip(b" \t") or None
        size = len(prefix)
        after = value[size : size + 1]
        if value[:size].lower() != prefix or after not in (b" ", b"\t", b""):
            # A WSGI server joins the lines of a field, and ours may be the second of them.
            if b"," in value and _SECOND.search(_QUOTED.sub(b"", value)):
                raise TwoTokens("the field occurs twice")
            return None
        if after == b"\t":
            # Some take it for a space (RFC 9110 §11.4 does not).
            raise TwoTokens("a tab behind the scheme")
        token = value[size:].strip(b" ")
        if not token:
            raise TwoTokens("a scheme without a token")
        # No token holds a comma.
        if b"," in token and _SECOND.search(token):
            raise TwoTokens("the field occurs twice")
        return token

    def _elsewhere(self, request: Request, token: bytes | None) -> bytes | None:
        found = [] if token is None else [token]
        found += self._in_cookies(request.headers.raw)
        if self._query is not None and request.query:
            found += [value for name, value in _pairs(request.query) if name == self._query]
        if self._subprotocol is not None and request.is_websocket:
            found += self._offered(request)[0]
        if len(found) > 1:
            raise TwoTokens("two tokens")
        return found[0] if found and found[0] else None

    def _in_cookies(self, raw: RawHeaders) -> list[bytes]:
        if self._cookie is None:
            return []
        pairs = (pair.partition(b"=") for pair in _cookies(raw))
        return [
            value.strip(b' \t"') for name, _, value in pairs if name.strip(b" \t") == self._cookie
        ]

    def _offered(self, request: Request) -> tuple[list[bytes], list[bytes]]:
        """The tokens among the protocols that are offered, and the offer without them."""
        offers: list[bytes] = []
        tokens: list[bytes] = []
        for name, value in request.headers.raw:
            if name == _PROTOCOLS:
                offers += [offer.strip(b" \t") for offer in value.split(b",")]
        rest: list[bytes] = []
        expects = False
        for offer in offers:
            if expects:
                tokens.append(offer)
                expects = False
            else:
                rest.append(offer)
                expects = offer == self._subprotocol
        return tokens, rest

    def hide(self, request: Request) -> None:
        """Takes the token off, wherever it may stand; the app sees none of it."""
        field = self._field
        raw = [pair for pair in request.headers.raw if pair[0] != field or not self._is_ours(pair)]
        if self._cookie is not None:
            raw = list(_without_cookie(raw, self._cookie))
        request.headers.replace(raw)
        if self._query is not None and request.query:
            pieces = request.query.split(b"&")
            kept = [piece for piece in pieces if _name(piece) != self._query]
            request.query = b"&".join(kept)
        self.hide_offer(request)

    def hide_offer(self, request: Request) -> None:
        """Takes the token out of the offered protocols alone."""
        if self._subprotocol is None or not request.is_websocket:
            return
        tokens, rest = self._offered(request)
        if tokens:
            raw = [pair for pair in request.headers.raw if pair[0] != _PROTOCOLS]
            request.headers.replace([*raw, (_PROTOCOLS, b", ".join(rest))])

    def in_query(self, request: Request) -> bool:
        """Whether it came in the query, which answers have to be private for."""
        return self._query is not None and any(
            name == self._query for name, _ in _pairs(request.query)
        )

    def _is_ours(self, pair: tuple[bytes, bytes]) -> bool:
        return not self._prefix or pair[1][: len(self._prefix)].lower() == self._prefix


def is_token68(token: bytes) -> bool:
    """RFC 6750 §2.1, `b64token`: what may be passed on without a second look."""
    return _TOKEN68.fullmatch(token) is not None


def _pairs(query: bytes) -> Iterable[tuple[bytes, bytes]]:
    for piece in query.split(b"&"):
        _, _, value = piece.partition(b"=")
        yield _name(piece), unquote_to_bytes(value.replace(b"+", b" "))


def _name(piece: bytes) -> bytes:
    return unquote_to_bytes(piece.partition(b"=")[0].replace(b"+", b" "))


def _cookies(raw: RawHeaders) -> Iterable[bytes]:
    for name, value in raw:
        if name == b"cookie":
            yield from value.split(b";")


def _without_cookie(raw: RawHeaders, cookie: bytes) -> Iterable[tuple[bytes, bytes]]:
    for name, value in raw:
        if name != b"cookie":
            yield name, value
            continue
        pairs = [pair.strip(b" \t") for pair in value.split(b";")]
        kept = [pair for pair in pairs if pair.partition(b"=")[0].strip(b" \t") != cookie]
        if kept == pairs:
            yield name, value
        elif kept:
            yield name, b"; ".join(kept)


def source_problems(
    header: object, scheme: object, cookie: object, query: object, subprotocol: object
) -> dict[str, str | None]:
    """What is wrong with the options of `Sources`, for `check`."""
    nowhere = not (header or cookie or query or subprotocol)
    return {
        "header": "there is no place left for a token"
        if nowhere
        else None
        if header is None
        else name_problem(header),
        "scheme": None if scheme == "" else token_problem(scheme),
        "cookie": None if cookie is None else token_problem(cookie),
        "query": None if query is None else _query_problem(query),
        "subprotocol": None if subprotocol is None else token_problem(subprotocol),
    }


def _query_problem(name: object) -> str | None:
    if isinstance(name, str) and _QUERY_NAME.fullmatch(name):
        return None
    return f"{name!r} is not the plain name of a parameter"
