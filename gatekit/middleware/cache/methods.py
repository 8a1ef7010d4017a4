"""What methods other than `GET` do to what is stored: HEAD updates, unsafe ones invalidate."""

from __future__ import annotations

from collections.abc import Sequence

from gatekit._core.messages import Request, Response
from gatekit.middleware.cache.asking import Ask
from gatekit.middleware.cache.entry import Entry
from gatekit.middleware.cache.fetch import Fetcher, Job
from gatekit.middleware.cache.key import CacheKey, digest_of
from gatekit.middleware.cache.policy import Control, explicit_lifetime, first_values, values
from gatekit.middleware.cache.purge import Purger
from gatekit.middleware.cache.shelf import Looked
from gatekit.middleware.cache.validators import freshened
from gatekit.typing import RawHeaders

# RFC 9110 §9.2.1, and those that others define as safe (RFC 4918, 3253, 5323, QUERY).
_SAFE = frozenset({"GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "QUERY"})
_SAME = (b"etag", b"last-modified", b"content-length")


def is_safe(method: str) -> bool:
    """RFC 9111 §4.4: unknown methods have to be taken for unsafe ones."""
    return method in _SAFE


async def after_unsafe(
    request: Request,
    response: Response,
    purger: Purger,
    fetcher: Fetcher,
    key: CacheKey,
    space: bytes,
) -> None:
    """RFC 9111 §4.4: "A cache MUST invalidate the target URI [...] when it receives a non-error
    status code in response to an unsafe request method", and may do so for two others.
    """
    # "A "non-error response" is one with a 2xx (Successful) or 3xx (Redirection) status code."
    if not 200 <= response.status < 400:
        return
    headers = response.headers
    targets = headers.getlist("location") + headers.getlist("content-location")
    await purger.forget_own(request)
    if targets:
        await purger.forget(request, targets)
    if request.method == "POST" and response.status == 200:
        await _keep_post(request, response, fetcher, key, space)


async def _keep_post(
    request: Request, response: Response, fetcher: Fetcher, key: CacheKey, space: bytes
) -> None:
    """RFC 9110 §9.3.3: a 200 to a POST with a lifetime and a `Content-Location` that is the
    target's URI is what a later GET may be answered with.
    """
    raw = response.headers.raw
    if not key.is_url or request.identity is not None or not values(raw, b"content-location"):
        return
    now = fetcher.now()
    control = Control.of(raw, fetcher.recipe.targets)
    if explicit_lifetime(first_values(raw), control, now) is None:
        return
    url = key.url(request, request.host.encode("latin-1"))
    said = values(raw, b"content-location")[0].decode("latin-1")
    scheme = request.forwarded_scheme or request.scheme
    if url is None or url not in key.of_url(said, scheme, request.forwarded_host or request.host):
        return
    ask = Ask(request.headers.raw, heeds_client=True)
    ask.key = digest_of([space + url])
    looked = await fetcher.shelf.find(request.io, ask.key, ask.raw)
    draft = fetcher.recipe.draft(ask, request.url_path, response, asked_at=now, received=now)
    if draft.entry is not None:
        job = Job(request, ask, looked._replace(entry=None), None, b"", "method")
        fetcher.record(job, response, draft.entry, draft.length)


async def after_head(
    request: Request, fetcher: Fetcher, ask: Ask, looked: Looked, response: Response
) -> None:
    """RFC 9111 §4.3.5: the answer to a HEAD freshens what is stored, or shows that it is old."""
    entry = looked.entry
    if entry is None or response.status != 200 or entry.status != 200:
        return
    raw = response.headers.raw
    if not _same(entry, raw, _SAME):
        await fetcher.drop(request, ask)
        return
    now = fetcher.now()
    # What this cache has said on it already is not the origin's.
    own = [field for field in raw if field[0] != b"cache-status"]
    fresh, stays = fetcher.recipe.refreshed(
        entry, request.url_path, freshened(entry.fields, own), asked_at=now, received=now
    )
    if stays:
        fresh.tags = (*fresh.tags, *(tag for tag in ask.tags if tag not in fresh.tags))
        await fetcher.shelf.keep(request.io, ask.key, ask.raw, fresh, looked)


def _same(entry: Entry, raw: RawHeaders, names: Sequence[bytes]) -> bool:
    for name in names:
        new = values(raw, name)
        old = entry.get(name)
        if new and old is not None and new[0] != old:
            return False
    return True
