"""Keeps other sites' pages from acting in a user's name: cross-site request forgery.

    CSRF()                                            # by what browsers say of themselves
    CSRF(trusted_origins=["https://app.example"])     # and this other site of ours
    CSRF(header="X-CSRF")                             # and our scripts must send this field
    CSRF(token=CSRFToken(SECRET))                     # and a token that our pages have been given

A browser sends cookies along with whatever a foreign page makes it send. It also says where the
page came from, which the page cannot change, and that is what is looked at:

    a safe method (GET, HEAD, OPTIONS)                 passes; a WebSocket's handshake is looked at
    `Origin` is among `trusted_origins`                passes
    `Sec-Fetch-Site` is there                          `same-origin` and `none` pass, others do not
    only `Origin` is there                             passes if it is the host that was asked
    neither is there: not a browser of this decade     passes unless it brings what browsers send by
                                                       themselves: cookies, HTTP authentication

So no handler may change anything for a GET.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from typing import Literal, TypeAlias, get_args

from gatekit._core.compose import answered
from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem, flag_problem, known_keywords, name_problem
from gatekit._core.origins import OriginPolicy, origin_problem, own_origin
from gatekit._core.templates import PathSet
from gatekit.errors import Rejected, check
from gatekit.middleware.csrf_token import CSRFToken
from gatekit.typing import Handler

__all__ = ["CSRF", "CSRFToken"]

Unmarked: TypeAlias = Literal["without-credentials", "allow", "deny"]

logger = logging.getLogger("gatekit.csrf")

_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
# Schemes whose credentials a browser repeats by itself once its user has given them.
_AMBIENT = ("basic", "digest", "negotiate", "ntlm")


@known_keywords
class CSRF:
    """One policy for all that changes something behind it.

    `trusted_origins` are other sites that may act here: origins, or `https://*.example.com`.
    `exempt` are path templates whose requests are authenticated by themselves, such as webhooks.
    `unmarked` says what becomes of a request that has neither `Origin` nor `Sec-Fetch-Site`.
    `shadow` notes and logs what it would refuse, and lets it pass.
    """

    __slots__ = ("_exempt", "_header", "_policy", "_shadow", "_token", "_unmarked")

    def __init__(
        self,
        *,
        trusted_origins: Collection[str] = (),
        header: str | None = None,
        token: CSRFToken | None = None,
        exempt: Collection[str] = (),
        unmarked: Unmarked = "without-credentials",
        shadow: bool = False,
    ) -> None:
        check(
            "CSRF",
            trusted_origins=each_problem(trusted_origins, _trusted_problem),
            header=None if header is None else name_problem(header),
            token=_token_problem(token),
            unmarked=None if unmarked in get_args(Unmarked) else _unmarked_problem(unmarked),
            shadow=flag_problem(shadow),
        )
        self._policy = OriginPolicy(trusted_origins)
        self._header = header
        self._token = token
        self._exempt = PathSet("CSRF", "exempt", exempt) if exempt else None
        self._unmarked: Unmarked = unmarked
        self._shadow = shadow

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        if request.method not in _SAFE or request.is_websocket:
            self._settle(request, await self._judge(request))
        if self._token is None or request.is_websocket:
            return await call_next(request)
        fresh = self._token.prepare(request)
        if fresh is None:
            return await call_next(request)
        response = await answered(request, call_next)
        self._token.hand_out(response, fresh)
        return response

    async def _judge(self, request: Request) -> str | None:
        """Why it is refused, None if it is not."""
        if self._exempt is not None and request in self._exempt:
            return None
        why = await self._judge_source(request)
        if why is not None or request.is_websocket:
            # A page cannot add fields to a WebSocket's handshake.
            return why
        if self._header is not None and self._header not in request.headers:
            return "the header field is missing"
        return None if self._token is None else self._token.judge(request)

    async def _judge_source(self, request: Request) -> str | None:
        headers = request.headers
        origins = headers.getlist("origin")
        if len(origins) > 1:
            return "several origins"
        if origins and await self._policy.admits(origins[0], request):
            return None
        sites = headers.getlist("sec-fetch-site")
        if sites:
            # Fetch Metadata §2.1: any other value, a list of several too, is another site's.
            return None if sites in (["same-origin"], ["none"]) else "from another site"
        if origins:
            scheme = request.forwarded_scheme or request.scheme
            host = request.forwarded_host or request.host
            return None if own_origin(origins[0], scheme, host) else "from another origin"
        return self._judge_unmarked(request)

    def _judge_unmarked(self, request: Request) -> str | None:
        if self._unmarked == "allow" or (self._header is not None and not request.is_websocket):
            return None  # the field that is required is asked for next
        if self._unmarked == "deny":
            return "neither Origin nor Sec-Fetch-Site"
        return "credentials of a browser without its marks" if _is_ambient(request) else None

    def _settle(self, request: Request, why: str | None) -> None:
        if why is None:
            note(request, Decision("csrf", "allow", "ours"))
            return
        note(request, Decision("csrf", "shadow_deny" if self._shadow else "deny", why))
        logger.warning("%s a forged request: %s", "let pass" if self._shadow else "refused", why)
        if not self._shadow:
            raise Rejected(
                403,
                "This request came from another site, or does not show that it did not.",
                type="urn:gatekit:csrf",
            )

    def __repr__(self) -> str:
        return f"CSRF(header={self._header!r}, token={self._token!r})"


def _is_ambient(request: Request) -> bool:
    headers = request.headers
    if "cookie" in headers:
        return True
    schemes = (value.partition(" ")[0].lower() for value in headers.getlist("authorization"))
    return any(scheme in _AMBIENT for scheme in schemes)


def _trusted_problem(entry: object) -> str | None:
    if entry == "*":
        return "'*' would let every site act in the user's name; list the origins"
    if entry == "null":
        return "'null' is the origin of every sandboxed page, anybody's"
    return origin_problem(entry)


def _token_problem(token: object) -> str | None:
    if token is None or isinstance(token, CSRFToken):
        return None
    return f"must be a CSRFToken, not a {type(token).__name__}"


def _unmarked_problem(value: object) -> str:
    return f"must be one of {', '.join(map(repr, get_args(Unmarked)))}, not {value!r}"
