"""The public keys of an issuer, fetched from its URL and kept fresh (RFC 7517 §5).

    keys = JWKS("https://id.example/jwks", timeout=2.0)
    keys = JWKS(issuer="https://id.example")          # the URL is in the issuer's metadata
    BearerAuth(jwks=keys, algorithms=["RS256"], issuer="https://id.example", audience="api")

                 ┌──────────── a good answer: all keys are replaced at once ────────────┐
    nothing ─▶ fetch, one for all that wait ─▶ keys ─▶ fetched anew beside the requests ─┘
                 └─ failed: 503, and nobody asks    └─ failed: these keys stay, for `stale_for`
                    again for `failure_cooldown`

**A key that is known never makes a request wait.** One that is not known is looked for at the
issuer, by one request for all, and then not again for `cooldown`: who invents ids of keys causes no
more than that. In the worst case a new key is known that much later.

**What is fetched is not trusted far.** An address comes from the configuration alone and never from
a token. No redirect is followed; an answer is bounded in time and size; one that holds no key that
could be used replaces nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Collection
from random import Random
from typing import NamedTuple

from gatekit._core.background import Background
from gatekit._core.flight import Flights
from gatekit._core.io import IO
from gatekit._core.latch import Latch
from gatekit._core.options import (
    each_problem,
    flag_problem,
    integer_problem,
    known_keywords,
    seconds_problem,
    string_problem,
)
from gatekit.errors import check
from gatekit.middleware.auth._challenges import AuthenticationUnavailable
from gatekit.middleware.auth._keys import Key, KeySet
from gatekit.middleware.auth._metadata import (
    BadAnswer,
    document_urls,
    freshness,
    read_keys,
    read_metadata,
    strict,
    url_problem,
)
from gatekit.proxy.fetch import Endpoint, Fetched, fetch
from gatekit.proxy.transport import HTTPTransport, Transport

logger = logging.getLogger("gatekit.auth")

# Ids that the issuer does not know, and how many seconds they are remembered for.
_UNKNOWN, _UNKNOWN_FOR = 1000, 60.0
# Seconds for which the URL of the keys, once discovered, is taken as known.
_DISCOVERED_FOR = 3600.0
# The keys of a fleet are fetched at different moments: this share of the time earlier, by chance.
_EARLIER = 0.1


class _Known(NamedTuple):
    """`ttl` and `fetched` are seconds, of the `io` clock."""

    keys: KeySet
    fetched: float
    ttl: float


@known_keywords
class JWKS:
    """The keys at `url`, or at the one that the metadata of `issuer` names. Durations are seconds.

    Freshness is what the answer says (RFC 9111 §4.2), within `min_ttl` and `max_ttl`, or `ttl` if
    it says nothing. `fingerprints` are thumbprints (RFC 7638) of the only keys that count.
    `dangerous_allow_http` lets whoever is on the path choose the keys.
    """

    def __init__(
        self,
        url: str | None = None,
        *,
        issuer: str | None = None,
        ttl: float = 600.0,
        min_ttl: float = 60.0,
        max_ttl: float = 3600.0,
        stale_for: float = 86_400.0,
        cooldown: float = 30.0,
        failure_cooldown: float = 5.0,
        timeout: float = 3.0,
        max_bytes: int = 262_144,
        max_keys: int = 100,
        fingerprints: Collection[str] | None = None,
        transport: Transport | None = None,
        dangerous_allow_http: bool = False,
        random: Random | None = None,
    ) -> None:
        one = None if (url is None) != (issuer is None) else "give this or `issuer`, one of them"
        check(
            "JWKS",
            url=one if one or url is None else url_problem(url, dangerous_allow_http),
            issuer=None if one or issuer is None else url_problem(issuer, dangerous_allow_http),
            ttl=seconds_problem(ttl),
            min_ttl=seconds_problem(min_ttl),
            max_ttl=seconds_problem(max_ttl)
            or (None if max_ttl >= min_ttl else "is below min_ttl"),
            stale_for=None if stale_for == 0 else seconds_problem(stale_for),
            cooldown=seconds_problem(cooldown),
            failure_cooldown=seconds_problem(failure_cooldown),
            timeout=seconds_problem(timeout),
            max_bytes=integer_problem(max_bytes, 1),
            max_keys=integer_problem(max_keys, 1),
            fingerprints=None
            if fingerprints is None
            else each_problem(fingerprints, string_problem),
            dangerous_allow_http=flag_problem(dangerous_allow_http),
        )
        self._url = None if url is None else Endpoint(url)
        self._issuer = issuer
        self._ttl, self._min_ttl, self._max_ttl = ttl, min_ttl, max_ttl
        self._stale_for = stale_for
        self._cooldown, self._failure_cooldown = cooldown, failure_cooldown
        self._timeout = timeout
        self._max_bytes, self._max_keys = max_bytes, max_keys
        self._fingerprints = None if fingerprints is None else frozenset(fingerprints)
        self._transport: Transport = (
            HTTPTransport(max_connections=4) if transport is None else transport
        )
        self._owns_transport = transport is None
        self._allows_http = dangerous_allow_http
        self._random = random or Random()  # noqa: S311 — spreads load, hides nothing
        self._flights: Flights[None] = Flights()
        self._background = Background("JWKS", threads=1)
        self._latch = Latch()
        self._known: _Known | None = None
        self._discovered: tuple[Endpoint, float] | None = None
        self._refetched = self._failed = float("-inf")
        self._unknown: dict[str, float] = {}
        self._is_down = False
        self.version = 0
        """Counts up whenever a key that was good is no longer."""

    async def find(self, io: IO, kid: str | None, algorithm: str) -> list[Key]:
        """The keys that a signature may be of; none if the issuer has none such.

        `AuthenticationUnavailable` where no keys are known and none can be had.
        """
        now = io.now()
        known = self._current(now)
        if known is None:
            known = await self._first(io, now)
            return known.keys.find(kid, algorithm)
        self._background.keep(io, self._watch)
        found = known.keys.find(kid, algorithm)
        if found or not self._may_look_for(kid, now):
            return found
        await self._flights.join(io, "new key", lambda: self._look_for_more(io))
        found = (self._known or known).keys.find(kid, algorithm)
        if not found and kid is not None:
            self._remember_unknown(kid, now)
        return found

    async def find_others(self, io: IO, algorithm: str, tried: list[Key]) -> list[Key]:
        """For a token without an id that none of `tried` has signed: perhaps there are new ones."""
        if not self._may_look_for(None, io.now()):
            return []
        await self._flights.join(io, "new key", lambda: self._look_for_more(io))
        known, before = self._known, {key.thumbprint for key in tried}
        found = known.keys.find(None, algorithm) if known is not None else []
        return [key for key in found if key.thumbprint not in before]

    def _current(self, now: float) -> _Known | None:
        known = self._known
        if known is None or now >= known.fetched + known.ttl + self._stale_for:
            return None
        return known

    async def _first(self, io: IO, now: float) -> _Known:
        wait = self._failed + self._failure_cooldown - now
        if wait > 0:
            raise AuthenticationUnavailable("the issuer is away", wait)
        await self._flights.join(io, "keys", lambda: self._load_first(io))
        known = self._current(io.now())
        if known is None:
            raise AuthenticationUnavailable("the issuer is away", self._failure_cooldown)
        self._background.keep(io, self._watch)
        return known

    async def _load_first(self, io: IO) -> None:
        # Another thread may have landed since this one found nothing.
        if self._current(io.now()) is None:
            await self._load(io)

    def _may_look_for(self, kid: str | None, now: float) -> bool:
        if kid is not None and self._unknown.get(kid, now) > now:
            return False
        return now >= self._refetched + self._cooldown or self._looking

    _looking = False

    async def _look_for_more(self, io: IO) -> None:
        # Asked again here: only who is in flight knows that no other has just landed.
        now = io.now()
        if now < self._refetched + self._cooldown or now < self._failed + self._failure_cooldown:
            return
        self._refetched, self._looking = now, True
        try:
            await self._flights.join(io, "keys", lambda: self._load(io))
        finally:
            self._looking = False

    async def _watch(self, io: IO) -> None:
        """Beside the requests: fetch anew before what is known grows old."""
        while True:
            known = self._known
            if known is None:
                return
            early = 1.0 - _EARLIER * self._random.random()
            await io.sleep(self._failure_cooldown if self._is_down else known.ttl * early)
            if self._known is known:
                await self._flights.join(io, "keys", lambda: self._load(io))

    async def _load(self, io: IO) -> None:
        """Fetches, and keeps what is good. It raises nothing: `_known` tells whether it worked."""
        try:
            keys, ttl = await self._fetch(io)
        except Exception as error:
            self._failed = io.now()
            self._discovered = None
            if not self._is_down:
                logger.warning("%r gives no keys: %s", self, error)
            self._is_down = True
            return
        if self._is_down:
            logger.info("%r gives keys again", self)
        self._is_down = False
        before = self._known
        self._known = _Known(keys, io.now(), ttl)
        if before is not None:
            good = {key.thumbprint for key in keys.keys}
            if any(key.thumbprint not in good for key in before.keys.keys):
                self.version += 1

    async def _fetch(self, io: IO) -> tuple[KeySet, float]:
        endpoint = self._url or await self._discover(io)
        answer = await self._get(io, endpoint)
        keys = read_keys(strict(answer.body), self._max_keys, self._fingerprints, repr(self))
        ttl = freshness(answer.headers)
        return keys, self._ttl if ttl is None else min(max(ttl, self._min_ttl), self._max_ttl)

    async def _discover(self, io: IO) -> Endpoint:
        now = io.now()
        if self._discovered is not None and now < self._discovered[1]:
            return self._discovered[0]
        assert self._issuer is not None
        error: BadAnswer | None = None
        for url in document_urls(self._issuer):
            try:
                answer = await self._get(io, Endpoint(url))
            except BadAnswer as wrong:
                error = wrong
                continue
            found = read_metadata(strict(answer.body), self._issuer)
            if what := url_problem(found, self._allows_http):
                raise BadAnswer(f"jwks_uri {what}")
            self._discovered = Endpoint(found), now + _DISCOVERED_FOR
            return self._discovered[0]
        raise error or BadAnswer("no metadata")

    async def _get(self, io: IO, endpoint: Endpoint) -> Fetched:
        answer = await fetch(
            io,
            self._transport,
            endpoint,
            headers=[(b"accept", b"application/json, application/jwk-set+json")],
            timeout=self._timeout,
            max_bytes=self._max_bytes,
        )
        if answer.status != 200:
            raise BadAnswer(f"status {answer.status}")
        return answer

    def _remember_unknown(self, kid: str, now: float) -> None:
        lock = self._latch.take()
        try:
            self._unknown.pop(kid, None)
            self._unknown[kid] = now + _UNKNOWN_FOR
            if len(self._unknown) > _UNKNOWN:
                del self._unknown[next(iter(self._unknown))]
        finally:
            lock.release()

    def close(self) -> None:
        self._background.close()
        if isinstance(self._transport, HTTPTransport) and self._owns_transport:
            self._transport.close()

    async def aclose(self) -> None:
        await self._background.aclose()
        if isinstance(self._transport, HTTPTransport) and self._owns_transport:
            await self._transport.aclose()

    def __repr__(self) -> str:
        where = self._issuer if self._url is None else self._url.url.partition("?")[0]
        return f"JWKS({where!r})"
