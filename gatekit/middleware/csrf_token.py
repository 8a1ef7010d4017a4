"""A token that a site's own pages repeat: a signed cookie, and the same text in a header field.

    CSRF(token=CSRFToken(SECRET, session=keys.identity))

A foreign page makes a browser send the cookie, but can read it nowhere, so it cannot repeat it. The
signature (HMAC-SHA256) keeps a neighbour, such as another subdomain, from planting a cookie that it
knows; `session` ties the token to one user, so that the neighbour's own token is of no use either.

A page reads the cookie by script, or gets the token from the app: `request.state["csrf_token"]`.
"""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Callable
from hashlib import sha256

from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    flag_problem,
    function_problem,
    hmac_key_problem,
    known_keywords,
    name_problem,
)
from gatekit.errors import check

_RANDOM = 16
_TOKEN = re.compile(r"[0-9a-f]{32}\.[0-9a-f]{64}")


@known_keywords
class CSRFToken:
    """`secret` is at least 16 bytes, the same in every worker.

    `session` gives what the token is tied to: a user's subject, or the id of a session. It is
    called with each request; for None the token is tied to nobody. `secure` is whether the cookie
    is for https only, as its `__Host-` demands. `entropy` gives random bytes.
    """

    __slots__ = ("_cookie", "_entropy", "_header", "_secret", "_secure", "_session")

    def __init__(
        self,
        secret: bytes,
        *,
        session: Callable[[Request], str | None] | None = None,
        cookie: str = "__Host-csrf",
        header: str = "X-CSRF-Token",
        secure: bool = True,
        entropy: Callable[[int], bytes] = secrets.token_bytes,
    ) -> None:
        check(
            "CSRFToken",
            secret=hmac_key_problem(secret),
            session=function_problem(session),
            cookie=name_problem(cookie) or _cookie_problem(cookie, secure=secure),
            header=name_problem(header),
            secure=flag_problem(secure),
            entropy=function_problem(entropy),
        )
        self._secret = secret
        self._session = session
        self._cookie = cookie
        self._header = header
        self._secure = secure
        self._entropy = entropy

    def prepare(self, request: Request) -> str | None:
        """Leaves the token for the app; gives it where the client has yet to be given one."""
        for token in cookies(request, self._cookie):
            if self._is_ours(request, token):
                request.state["csrf_token"] = token
                return None
        start = self._entropy(_RANDOM).hex()
        token = request.state["csrf_token"] = f"{start}.{self._sign(request, start)}"
        return token

    def judge(self, request: Request) -> str | None:
        """Why a request is refused, None if it is not."""
        sent = request.headers.getlist(self._header)
        if len(sent) != 1:
            return "no token in the header field" if not sent else "several tokens"
        given = cookies(request, self._cookie)
        if not given:
            return "no token in the cookie"
        value = sent[0].encode("latin-1")
        if not any(hmac.compare_digest(value, token.encode("latin-1")) for token in given):
            return "the token of the field is not that of the cookie"
        return None if self._is_ours(request, sent[0]) else "the token is not of this session"

    def hand_out(self, response: Response, token: str) -> None:
        attributes = "; Path=/; SameSite=Lax" + ("; Secure" if self._secure else "")
        response.headers.add("set-cookie", f"{self._cookie}={token}{attributes}")
        # A cache would hand one user's token to the next.
        response.headers.vary("Cookie")

    def _is_ours(self, request: Request, token: str) -> bool:
        if not _TOKEN.fullmatch(token):
            return False
        start, _, signature = token.partition(".")
        return hmac.compare_digest(self._sign(request, start), signature)

    def _sign(self, request: Request, start: str) -> str:
        session = None if self._session is None else self._session(request)
        tied = "" if session is None else f"{len(session)}:{session}"
        message = f"csrf\0{tied}\0{start}".encode("utf-8", "surrogatepass")
        return hmac.digest(self._secret, message, sha256).hex()

    def __repr__(self) -> str:
        return f"CSRFToken(cookie={self._cookie!r}, header={self._header!r})"


def cookies(request: Request, name: str) -> list[str]:
    """Every value of that name: a cookie of a parent domain may stand before the site's own."""
    found: list[str] = []
    for line in request.headers.getlist("cookie"):
        for pair in line.split(";"):
            key, _, value = pair.strip(" \t").partition("=")
            if key == name:
                found.append(value)
    return found


def _cookie_problem(cookie: str, *, secure: bool) -> str | None:
    if not secure and cookie.lower().startswith(("__host-", "__secure-")):
        return f"{cookie!r} is taken by browsers only if it is secure; give it another name"
    return None
