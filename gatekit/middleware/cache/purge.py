"""Purging: by URL, by tag, softly or for good; from code, by `PURGE`, and after unsafe methods.

    cache.invalidate(tags=["user-7"])
    cache.invalidate(url="https://shop.example/orders/7")
    curl -X PURGE -H "Authorization: Bearer $SECRET" -H "Surrogate-Key: user-7" https://shop.example/

An answer that is being fetched while it is purged is not stored.
"""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import TypeAlias
from urllib.parse import urljoin, urlsplit

from gatekit._core.decisions import Decision, note
from gatekit._core.io import resolve
from gatekit._core.messages import Request, Response
from gatekit._core.options import function_problem
from gatekit._core.problems import problem
from gatekit.errors import ConfigurationError
from gatekit.middleware.cache.key import CacheKey, digest_of
from gatekit.middleware.cache.shelf import Shelf

Purge: TypeAlias = "str | Callable[[Request], bool | Awaitable[bool]]"

_LEAST_SECRET = 16


class Purges:
    """What is to be purged."""

    __slots__ = ("soft", "tags", "urls")

    def __init__(self, tags: Sequence[str], urls: Sequence[str], soft: bool) -> None:
        self.tags = tags
        self.urls = urls
        self.soft = soft

    @classmethod
    def of(cls, tags: str | Collection[str], url: str | Collection[str], soft: bool) -> Purges:
        """From arguments, each one or a list."""
        listed = [tags] if isinstance(tags, str) else list(tags)
        urls = [url] if isinstance(url, str) else list(url)
        urls = [each for each in urls if each]
        listed = [each for each in listed if each]
        problems: dict[str, str] = {}
        if not listed and not urls:
            problems["tags"] = "name a tag or a URL"
        if soft and urls:
            problems["soft"] = "a soft purge is by tags"
        relative = [each for each in urls if not urlsplit(each).scheme or not urlsplit(each).netloc]
        if relative:
            problems["url"] = f"{relative[0]!r} is not absolute; write https://host/path"
        if problems:
            raise ConfigurationError("invalidate", problems)
        return cls(listed, urls, soft)


class Purger:
    """`by_key` says that an answer has one place, found from its URL alone."""

    __slots__ = ("_by_key", "_key", "_shelf", "_space")

    def __init__(self, shelf: Shelf, key: CacheKey, space: bytes, by_key: bool) -> None:
        self._shelf = shelf
        self._key = key
        self._space = space
        self._by_key = by_key

    def tag_of(self, url: bytes) -> str:
        """The tag of all that is stored of a URL, where that is in several places."""
        return f"url:{digest_of([self._space + url]).hex()}"

    def purge(self, purges: Purges) -> int:
        """Blocking; the store's errors are raised."""
        store, keys, tags = self._shelf.store, *self._places(purges)
        if keys:
            store.delete(keys)
        if tags:
            store.purge(tags, False)
        return store.purge(purges.tags, purges.soft) if purges.tags else 0

    async def apurge(self, purges: Purges) -> int:
        store, keys, tags = self._shelf.store, *self._places(purges)
        if keys:
            await store.adelete(keys)
        if tags:
            await store.apurge(tags, False)
        return await store.apurge(purges.tags, purges.soft) if purges.tags else 0

    async def forget(self, request: Request, targets: Sequence[str]) -> None:
        """Purges URLs, which may be relative to the request's, if they are of its origin."""
        scheme = request.forwarded_scheme or request.scheme
        host = request.forwarded_host or request.host
        base = f"{scheme}://{host}{request.url_path}"
        here = urlsplit(base)
        urls: list[str] = []
        for target in targets:
            try:
                parts = urlsplit(urljoin(base, target))
            except ValueError:
                continue
            # RFC 9111 §4.4: "only when the origin [...] differs" is it left alone, "to help prevent
            # denial-of-service attacks".
            if (parts.scheme, parts.netloc.lower()) == (here.scheme, here.netloc.lower()):
                urls.append(parts.geturl())
        await self._forget(request, [each for url in urls for each in self._urls(url)])

    async def forget_own(self, request: Request) -> None:
        """Purges the URL of the request itself."""
        url = self._key.url(request, request.host.encode("latin-1"))
        if url is not None:
            await self._forget(request, [url])

    async def _forget(self, request: Request, urls: list[bytes]) -> None:
        if not urls:
            return
        shelf, store, io = self._shelf, self._shelf.store, request.io
        if self._by_key:
            keys = [digest_of([self._space + url]) for url in urls]
            await shelf.guard.ask(io, store.delete, store.adelete, keys)
        else:
            tags = [self.tag_of(url) for url in urls]
            await shelf.guard.ask(io, store.purge, store.apurge, tags, False)

    async def answer(self, request: Request, purge: Purge) -> Response:
        """The answer to a `PURGE`."""
        if not await _admits(purge, request):
            note(request, Decision("cache", "deny", "purge"))
            return problem(403, "You may not purge here.", type="urn:gatekit:purge-refused")
        await self.forget_own(request)
        lines = request.headers.getlist("surrogate-key") + request.headers.getlist("cache-tag")
        tags = [tag for line in lines for tag in line.replace(",", " ").split()]
        count = 0
        if tags:
            soft = request.headers.get("soft-purge", "") == "1"
            store = self._shelf.store
            found = await self._shelf.guard.ask(request.io, store.purge, store.apurge, tags, soft)
            if found is None:
                kind = "urn:gatekit:cache-unavailable"
                return problem(503, "The store cannot be reached.", type=kind)
            count = found
        note(request, Decision("cache", "allow", "purge"))
        return Response.json({"purged": count})

    def _places(self, purges: Purges) -> tuple[list[bytes], list[str]]:
        urls = [each for url in purges.urls for each in self._urls(url)]
        if self._by_key:
            return [digest_of([self._space + url]) for url in urls], []
        return [], [self.tag_of(url) for url in urls]

    def _urls(self, url: str) -> list[bytes]:
        parts = urlsplit(url)
        return self._key.of_url(url, parts.scheme, parts.netloc)


def purge_problem(purge: object) -> str | None:
    """Of what admits a `PURGE`; a secret is never shown."""
    if purge is None:
        return None
    if isinstance(purge, str):
        return None if len(purge) >= _LEAST_SECRET else f"needs at least {_LEAST_SECRET} characters"
    return function_problem(purge, takes_async=True)


async def _admits(purge: Purge, request: Request) -> bool:
    if not isinstance(purge, str):
        return await resolve(purge(request)) is True
    scheme, _, given = request.headers.get("authorization", "").partition(" ")
    same = hmac.compare_digest(given.strip().encode("latin-1"), purge.encode())
    return scheme.lower() == "bearer" and same
