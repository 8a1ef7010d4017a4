"""A shared HTTP cache (RFC 9111): what may be used again is answered without asking anew.

    Cache()                                                     # in memory, 64 MiB
    Cache(store="redis://localhost", stale_while_revalidate=30) # shared by all workers
    Route("/orders/*", Proxy("http://orders:8002"), Cache(key=CacheKey(ignore=["utm_*"])))

It stands in front of a proxy or of the app's own views, and does what their `Cache-Control`, `Vary`
and validators say. What says nothing is asked for every time, unless a `CacheRule` is for it.

**Never stored**: `private`, `no-store`, a `Set-Cookie`, part of an answer, one that was cut short,
an event stream; and the answer to somebody known, by an `Authorization` field or by an identity
found further out, unless it says `public`, `s-maxage` or `must-revalidate`, or the cache keeps a
part for each of them (`vary_by_identity`, `partition`).

**One at a time.** Of requests for the same resource that nothing is known of, one asks; the others
read along from its first byte. What is not to be stored is remembered, so that nobody queues.

**A store that is slow or down is a miss**, never an error.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from random import Random
from typing import Literal, TypeAlias

from gatekit._core.background import Background
from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import (
    each_problem,
    flag_problem,
    function_problem,
    integer_problem,
    known_keywords,
    name_problem,
    seconds_problem,
    token_problem,
)
from gatekit._core.problems import problem
from gatekit.errors import check
from gatekit.middleware.cache.asking import Ask
from gatekit.middleware.cache.entry import Entry
from gatekit.middleware.cache.fetch import Fetcher
from gatekit.middleware.cache.key import CacheKey, digest_of
from gatekit.middleware.cache.lead import Leader, readable
from gatekit.middleware.cache.methods import after_head, after_unsafe, is_safe
from gatekit.middleware.cache.options import (
    cookies_problem,
    key_problem,
    normalisers_problem,
    on_bytes,
    rules_problem,
)
from gatekit.middleware.cache.policy import may_serve_while_validating, use_of
from gatekit.middleware.cache.purge import Purger, Purges, purge_problem
from gatekit.middleware.cache.recipe import Recipe
from gatekit.middleware.cache.rules import CacheRule, length_problem
from gatekit.middleware.cache.serve import Server
from gatekit.middleware.cache.shelf import Looked, Shelf
from gatekit.middleware.cache.stats import CacheStats
from gatekit.middleware.cache.store import CacheStore, open_store, store_problem
from gatekit.middleware.cache.vary import NORMALISERS
from gatekit.typing import Handler

Cookies: TypeAlias = Literal["bypass", "strip", "store"]
Partition: TypeAlias = Callable[[Request], str | None]
Purge: TypeAlias = "str | Callable[[Request], bool | Awaitable[bool]]"

_TARGETS = ("gatekit-cache-control", "cdn-cache-control")
_STRIP = ("gatekit-cache-control", "surrogate-key", "cache-tag")


@known_keywords
class Cache:
    """`max_bytes` bounds a store that a URL names, `max_object` one body. `keep` is how many
    seconds a stale answer stays to be validated; `stale_if_error` and `stale_while_revalidate` are
    what counts where an answer says nothing. `wait` is how long one request waits for another.
    `purge` is a secret or a function that admits `PURGE`. `timeout` is how long a store may take.
    """

    __slots__ = (
        "_background", "_clock", "_decisions", "_fetcher", "_heeds", "_key", "_leader", "_memory",
        "_partition", "_purge", "_purger", "_server", "_shelf", "_space", "_vary_by_identity",
        "name", "store",
    )  # fmt: skip

    def __init__(
        self,
        *,
        store: str | CacheStore = "memory://",
        max_bytes: int = 64 * 1024 * 1024,
        max_object: int = 8 * 1024 * 1024,
        key: CacheKey | None = None,
        ttl: Sequence[CacheRule] = (),
        vary_by_identity: bool = False,
        partition: Partition | None = None,
        stale_while_revalidate: float = 0.0,
        stale_if_error: float = 60.0,
        keep: float = 3600.0,
        client_directives: bool = True,
        set_cookie: Cookies = "bypass",
        targets: Sequence[str] = _TARGETS,
        strip: Collection[str] = _STRIP,
        normalise: Mapping[str, Callable[[str], str]] | None = None,
        max_variants: int = 64,
        coalesce: bool = True,
        wait: float = 5.0,
        pass_for: float = 10.0,
        purge: Purge | None = None,
        cache_status: bool = True,
        timeout: float | None = None,
        name: str = "gatekit",
        random: Random | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        check(
            "Cache",
            store=store_problem(store),
            max_bytes=integer_problem(max_bytes, 1),
            max_object=integer_problem(max_object, 1),
            key=key_problem(key),
            ttl=rules_problem(ttl),
            vary_by_identity=flag_problem(vary_by_identity),
            partition=function_problem(partition),
            stale_while_revalidate=length_problem(stale_while_revalidate),
            stale_if_error=length_problem(stale_if_error),
            keep=length_problem(keep),
            client_directives=flag_problem(client_directives),
            set_cookie=cookies_problem(set_cookie),
            targets=each_problem(targets, name_problem),
            strip=each_problem(strip, name_problem),
            normalise=normalisers_problem(normalise),
            max_variants=integer_problem(max_variants, 1),
            coalesce=flag_problem(coalesce),
            wait=seconds_problem(wait),
            pass_for=length_problem(pass_for),
            purge=purge_problem(purge),
            cache_status=flag_problem(cache_status),
            timeout=None if timeout is None else seconds_problem(timeout),
            name=token_problem(name),
            clock=function_problem(clock),
        )
        self.name = name
        self.store = open_store(store, max_bytes, timeout)
        normalisers = dict(NORMALISERS)
        for field, function in (normalise or {}).items():
            normalisers[field.lower().encode("ascii")] = on_bytes(function)
        self._shelf = Shelf(self.store, max_variants, normalisers, timeout)
        self._memory = self._shelf.memory
        self._server = Server(name, show=cache_status)
        self._background = Background(f"cache {name}")
        recipe = Recipe(
            rules=ttl,
            targets=tuple(targets),
            strip=tuple(strip),
            cookies=set_cookie,
            max_object=max_object,
            swr=stale_while_revalidate,
            sie=stale_if_error,
            keep=keep,
            random=random or Random(),  # noqa: S311 — spreads lifetimes, guards nothing
        )
        self._fetcher = Fetcher(
            self._shelf, recipe, self._server, self._background, pass_for=pass_for, clock=clock
        )
        self._leader = Leader(self._fetcher, self._background, coalesce, wait, clock)
        self._key = CacheKey() if key is None else key
        # Two caches in one store must not meet: they may have other recipes.
        self._space = digest_of([name.encode("ascii")])
        self._partition = partition
        self._vary_by_identity = vary_by_identity
        self._heeds = client_directives
        self._clock = clock
        self._purge = purge
        self._purger = Purger(self._shelf, self._key, self._space, not self._is_split)
        self._decisions = {
            reason: Decision(name, "allow" if reason in ("hit", "stale") else "skip", reason)
            for reason in ("hit", "stale", "miss", "bypass", "uncached")
        }

    @property
    def _is_split(self) -> bool:
        return self._vary_by_identity or self._partition is not None or not self._key.is_url

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        method = request.method
        if (method not in ("GET", "HEAD")) or request.is_websocket:
            return await self._other(request, call_next)
        ask = Ask(request.headers.share(), heeds_client=self._heeds)
        url = None if ask.is_foreign else self._key.url(request, ask.host)
        if url is None or not self._address(request, ask, url):
            return await self._bypass(request, call_next)
        if method == "HEAD":
            ask.is_head, ask.is_plain = True, False
        memory = self._memory
        looked = (
            self._shelf.look(memory, ask.key, ask.raw)
            if memory is not None
            else await self._shelf.find(request.io, ask.key, ask.raw)
        )
        if ask.asked.owned:
            looked = readable(ask, looked)
        entry = looked.entry
        if entry is not None:
            now = self._clock()
            use = use_of(entry, ask.asked.control, now)
            if use == "fresh":
                self._fetcher.counts.hits += 1
                note(request, self._decisions["hit"])
                if ask.is_plain:
                    return self._server.whole(entry, now)
                return self._server.hit(entry, ask, now)
            if use == "stale":
                return self._stale(request, ask, entry, now)
            return await self._validate(request, call_next, ask, looked, entry, now)
        if "only-if-cached" in ask.asked.control:
            return self._uncached(request)
        self._fetcher.counts.misses += 1
        note(request, self._decisions["miss"])
        why = "vary-miss" if looked.variants is not None else "uri-miss"
        return await self._leader.lead(request, call_next, ask, looked, why)

    async def _validate(
        self,
        request: Request,
        call_next: Handler,
        ask: Ask,
        looked: Looked,
        entry: Entry,
        now: float,
    ) -> Response:
        if "only-if-cached" in ask.asked.control:
            return self._uncached(request)
        if (
            not ask.is_special
            and may_serve_while_validating(entry, now)
            and self._leader.validates_behind(request, call_next, ask, looked)
        ):
            return self._stale(request, ask, entry, now)
        self._fetcher.counts.misses += 1
        note(request, self._decisions["miss"])
        if ask.is_head:
            response = await self._leader.lead(request, call_next, ask, looked, "stale")
            await after_head(request, self._fetcher, ask, looked, response)
            return response
        why = "request" if ask.is_special else "stale"
        return await self._leader.lead(request, call_next, ask, looked, why)

    def _stale(self, request: Request, ask: Ask, entry: Entry, now: float) -> Response:
        self._fetcher.counts.stale += 1
        note(request, self._decisions["stale"])
        return self._server.hit(entry, ask, now)

    async def _other(self, request: Request, call_next: Handler) -> Response:
        """A request that is answered by the origin alone, and may change what is stored."""
        if request.is_websocket:
            return await call_next(request)
        if request.method == "PURGE" and self._purge is not None:
            return await self._purger.answer(request, self._purge)
        response = await call_next(request)
        if not is_safe(request.method):
            await after_unsafe(
                request, response, self._purger, self._fetcher, self._key, self._space
            )
        self._server.say(response, "fwd=method")
        return response

    async def _bypass(self, request: Request, call_next: Handler) -> Response:
        self._fetcher.counts.bypassed += 1
        note(request, self._decisions["bypass"])
        response = await call_next(request)
        self._server.say(response, "fwd=bypass")
        return response

    def _uncached(self, request: Request) -> Response:
        """RFC 9111 §5.2.1.7: "it SHOULD respond with a 504 (Gateway Timeout) status code"."""
        note(request, self._decisions["uncached"])
        detail = "There is no stored answer, and the request asks for no other."
        response = problem(
            504, detail, type="urn:gatekit:not-cached", instance=request.correlation_id
        )
        self._server.say(response, "detail=only-if-cached")
        return response

    def _address(self, request: Request, ask: Ask, url: bytes) -> bool:
        """Finds the place of the answer; False where this request has none."""
        identity = request.identity
        known = identity is not None and not identity.is_anonymous
        if not self._is_split:
            if known:
                ask.asked = ask.asked._replace(owned=True)
            ask.key = digest_of([self._space + url])
            return True
        parts = [self._space + url, self._key.added(request)]
        if self._vary_by_identity:
            if identity is not None and known:
                if not identity.subject:
                    return False
                who = (identity.issuer or "", identity.subject, identity.tenant or "")
                parts += [each.encode("utf-8", "surrogateescape") for each in who]
            else:
                parts.append(b"")
        if self._partition is not None:
            part = self._partition(request)
            if part is None:
                return False
            parts.append(part.encode("utf-8", "surrogateescape"))
        # A credential that nobody has checked further out is in no partition.
        separated = self._partition is not None or (self._vary_by_identity and known)
        ask.asked = ask.asked._replace(owned=(ask.asked.owned or known) and not separated)
        ask.key = digest_of(parts)
        ask.tags = (self._purger.tag_of(url),)
        return True

    def invalidate(
        self,
        *,
        tags: str | Collection[str] = (),
        url: str | Collection[str] = (),
        soft: bool = False,
    ) -> int:
        """Purges what has one of the tags, and what is stored of the URLs; how much had a tag.

        A soft purge leaves it, stale, for as long as it is being asked for anew. Where the store
        cannot be reached, its error is raised: nobody should think that it is done.
        """
        return self._purger.purge(Purges.of(tags, url, soft))

    async def ainvalidate(
        self,
        *,
        tags: str | Collection[str] = (),
        url: str | Collection[str] = (),
        soft: bool = False,
    ) -> int:
        """`invalidate` in an event loop."""
        return await self._purger.apurge(Purges.of(tags, url, soft))

    def clear(self) -> None:
        """Forgets everything in this store."""
        self.store.clear()

    async def aclear(self) -> None:
        """`clear` in an event loop."""
        await self.store.aclear()

    def stats(self) -> CacheStats:
        """What was done so far in this process."""
        counts, memory = self._fetcher.counts, self._memory
        return CacheStats(
            hits=counts.hits,
            stale=counts.stale,
            misses=counts.misses,
            revalidated=counts.revalidated,
            collapsed=counts.collapsed,
            stored=counts.stored,
            bypassed=counts.bypassed,
            failures=self._shelf.guard.failures,
            bytes=None if memory is None else memory.bytes,
            entries=None if memory is None else len(memory),
        )

    def close(self) -> None:
        self._background.close()
        self.store.close()

    async def aclose(self) -> None:
        await self._background.aclose()
        await self.store.aclose()

    def __repr__(self) -> str:
        return f"Cache(name={self.name!r})"
