"""Keeps a client at the destination that answered it first.

    Cluster("carts", destinations=[...], affinity=CookieAffinity(SECRET))
    Cluster("carts", destinations=[...], affinity=CookieAffinity(SECRET, on_failure="refuse"))
    Cluster("games", destinations=[...], affinity=HeaderAffinity(SECRET, header="x-session-home"))

The client is given a token with the first answer and brings it back with every request. A token is
made of the destination's name with the secret, so it tells nobody where it leads, holds in every
process that has the secret and after a restart, and cannot be made up. One that is unknown, forged
or of another cluster is ignored, and the client is given a new one.

**It binds to a name.** A destination whose name stays the same while its address changes keeps its
clients. Give destinations names of their own where addresses come and go.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from secrets import token_bytes
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias

from gatekit._core.messages import Request
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    hmac_key_problem,
    integer_problem,
    known_keywords,
    name_problem,
)
from gatekit.errors import check
from gatekit.proxy.clusters.affinity_tokens import (
    HashedTokens,
    SealedTokens,
    Tokens,
    sealing_problem,
)
from gatekit.typing import RawHeaders

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import ClusterState, Member

OnFailure: TypeAlias = Literal["redistribute", "refuse"]
SameSite: TypeAlias = Literal["lax", "strict", "none"]

_DOMAIN = re.compile(r"\.?[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*")
_PATH = re.compile(r"/[!-:<-~]*")
_SAME_SITE = {"lax": "Lax", "strict": "Strict", "none": "None"}


class Affinity(Protocol):
    """Finds the member that a client is bound to, and binds one that is bound to none.

    With `on_failure="refuse"` a request whose member cannot answer is a 503.
    """

    @property
    def on_failure(self) -> OnFailure: ...

    def find(self, request: Request, state: ClusterState, /) -> Member | None:
        """The member that the client is bound to, however it is doing."""
        ...

    def fields(self, request: Request, state: ClusterState, member: Member, /) -> RawHeaders:
        """What the answer of `member` needs so that its client comes back; most often nothing."""
        ...


@known_keywords
class CookieAffinity:
    """`secret` is at least 16 bytes, the same in every process; tokens of `previous` ones hold too.

    `cookie` is the cookie's name, `gatekit-` and the cluster's if None. It is a session cookie
    unless `max_age` (seconds) says otherwise, and `secure` where the request came by https if None.
    `encrypted` puts the name itself in it, with AES-GCM, instead of a hash that every destination
    of the cluster is compared with; it needs the extra `crypto`. With `on_failure="redistribute"` a
    client whose destination cannot answer is given another; with `"refuse"` a 503.
    """

    __slots__ = ("_attributes", "_cookie", "_secure", "_tokens", "on_failure")

    def __init__(
        self,
        secret: bytes,
        *,
        previous: Sequence[bytes] = (),
        cookie: str | None = None,
        on_failure: OnFailure = "redistribute",
        encrypted: bool = False,
        max_age: int | None = None,
        domain: str | None = None,
        path: str = "/",
        secure: bool | None = None,
        http_only: bool = True,
        same_site: SameSite = "lax",
        partitioned: bool = False,
        entropy: Callable[[int], bytes] = token_bytes,
    ) -> None:
        check(
            "CookieAffinity",
            secret=hmac_key_problem(secret),
            previous=_each_key_problem(previous),
            cookie=None if cookie is None else name_problem(cookie),
            on_failure=_failure_problem(on_failure),
            encrypted=flag_problem(encrypted) or (sealing_problem() if encrypted else None),
            max_age=None if max_age is None else integer_problem(max_age, 1),
            domain=_text_problem(_DOMAIN, domain) if domain is not None else None,
            path=_text_problem(_PATH, path),
            secure=None if secure is None else flag_problem(secure),
            http_only=flag_problem(http_only),
            same_site=_same_site_problem(same_site, secure=secure),
            partitioned=flag_problem(partitioned)
            or ("needs secure=True" if partitioned and secure is not True else None),
            entropy=function_problem(entropy),
        )
        self.on_failure: OnFailure = on_failure
        self._tokens = _tokens_of(secret, previous, entropy if encrypted else None)
        self._cookie = cookie
        self._secure = secure
        attributes = [f"Path={path}"]
        if domain is not None:
            attributes.append(f"Domain={domain}")
        if max_age is not None:
            attributes.append(f"Max-Age={max_age}")
        if http_only:
            attributes.append("HttpOnly")
        attributes.append(f"SameSite={_SAME_SITE[same_site]}")
        if partitioned:
            attributes.append("Partitioned")
        self._attributes = "; ".join(attributes)

    def find(self, request: Request, state: ClusterState) -> Member | None:
        found = (self._tokens.read(state, token) for token in self._given(request, state))
        return next((bond.member for bond in found if bond is not None), None)

    def fields(self, request: Request, state: ClusterState, member: Member) -> RawHeaders:
        for token in self._given(request, state):
            bond = self._tokens.read(state, token)
            if bond is not None:
                if bond.member is member and bond.is_current:
                    return []
                break
        token = self._tokens.write(state, member)
        line = f"{self._name(state)}={token}; {self._attributes}"
        secure = self._secure
        if secure is None:
            secure = (request.forwarded_scheme or request.scheme) in ("https", "wss")
        return [(b"set-cookie", (f"{line}; Secure" if secure else line).encode("ascii"))]

    def _name(self, state: ClusterState) -> str:
        return f"gatekit-{state.name}" if self._cookie is None else self._cookie

    def _given(self, request: Request, state: ClusterState) -> Iterator[str]:
        # There may be several: a neighbour's cookie of the same name must not hide ours.
        name = self._name(state)
        for line in request.headers.getlist("cookie"):
            for pair in line.split(";"):
                found, _, value = pair.strip(" \t").partition("=")
                if found == name:
                    yield value

    def __repr__(self) -> str:
        return f"CookieAffinity(cookie={self._cookie!r}, on_failure={self.on_failure!r})"


@known_keywords
class HeaderAffinity:
    """The same for clients that are no browsers: the token travels in a header field, both ways."""

    __slots__ = ("_header", "_raw", "_tokens", "on_failure")

    def __init__(
        self,
        secret: bytes,
        *,
        previous: Sequence[bytes] = (),
        header: str = "x-gatekit-affinity",
        on_failure: OnFailure = "redistribute",
        encrypted: bool = False,
        entropy: Callable[[int], bytes] = token_bytes,
    ) -> None:
        check(
            "HeaderAffinity",
            secret=hmac_key_problem(secret),
            previous=_each_key_problem(previous),
            header=name_problem(header),
            on_failure=_failure_problem(on_failure),
            encrypted=flag_problem(encrypted) or (sealing_problem() if encrypted else None),
            entropy=function_problem(entropy),
        )
        self.on_failure: OnFailure = on_failure
        self._tokens = _tokens_of(secret, previous, entropy if encrypted else None)
        self._header = header.lower()
        self._raw = self._header.encode("ascii")

    def find(self, request: Request, state: ClusterState) -> Member | None:
        bond = self._tokens.read(state, request.headers.get(self._header, ""))
        return None if bond is None else bond.member

    def fields(self, request: Request, state: ClusterState, member: Member) -> RawHeaders:
        bond = self._tokens.read(state, request.headers.get(self._header, ""))
        if bond is not None and bond.member is member and bond.is_current:
            return []
        return [(self._raw, self._tokens.write(state, member).encode("ascii"))]

    def __repr__(self) -> str:
        return f"HeaderAffinity(header={self._header!r}, on_failure={self.on_failure!r})"


def _tokens_of(
    secret: bytes, previous: Sequence[bytes], entropy: Callable[[int], bytes] | None
) -> Tokens:
    secrets = [secret, *previous]
    return HashedTokens(secrets) if entropy is None else SealedTokens(secrets, entropy)


def _each_key_problem(secrets: object) -> str | None:
    if isinstance(secrets, bytes | str):
        return "must be a list of secrets, not one"
    return each_problem(secrets, hmac_key_problem)


def _failure_problem(on_failure: object) -> str | None:
    if on_failure in ("redistribute", "refuse"):
        return None
    return f"must be 'redistribute' or 'refuse', not {on_failure!r}"


def _same_site_problem(same_site: object, *, secure: object) -> str | None:
    if not isinstance(same_site, str) or same_site not in _SAME_SITE:
        return f"must be 'lax', 'strict' or 'none', not {same_site!r}"
    if same_site == "none" and secure is False:
        return "'none' is refused by browsers without secure"
    return None


def _text_problem(pattern: re.Pattern[str], text: object) -> str | None:
    if isinstance(text, str) and pattern.fullmatch(text):
        return None
    return f"{text!r} cannot stand in a cookie"
