"""A second run of what is inside of a middleware, for a request of its own: for work beside it.

    run = second_run(request, call_next)          # None where the door has no way to
    response = await run(io, fields, limit)       # whole; `fields` are the header fields to send

It is a `GET` without a body for the same URL, made while the first request is still there and run
whenever it suits, in the colour of the door. Nothing further out sees it. The first request must
not have called `call_next` itself.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeAlias

from gatekit._core.body import RequestBody
from gatekit._core.headers import Headers
from gatekit._core.io import IO
from gatekit._core.messages import Request, Response
from gatekit.typing import Handler, RawHeaders

Door: TypeAlias = Callable[[Request, Handler, int], Coroutine[Any, Any, Response]]
SecondRun: TypeAlias = Callable[[IO, RawHeaders, int], Coroutine[Any, Any, Response]]

# Seconds that a second run may take to its head; nobody waits for it.
_PATIENCE = 60.0

# What the copy inherits beside the request line: what was found out further out.
_KNOWN = (
    "_at",
    "_authenticators",
    "challenges",
    "client_ip",
    "correlation_id",
    "forwarded_host",
    "forwarded_scheme",
    "identity",
    "params",
    "plan",
    "route",
    "trace",
    "trusted_header",
    "trusted_peer",
)


def second_run(request: Request, call_next: Handler) -> SecondRun | None:
    """What runs it; the door's part is asked for now, as it keeps what it needs no longer."""
    opened = getattr(request, "open_again", None)
    door: Door | None = opened() if opened is not None else None
    if door is None:
        return None
    known = vars(request)
    facts = {name: known[name] for name in _KNOWN if name in known}
    head = (request.path, request.query, request.scheme, request.root_path, request._raw_path)
    client, version = request.client, request.http_version

    async def run(io: IO, fields: RawHeaders, limit: int) -> Response:
        path, query, scheme, root_path, raw_path = head
        copy = Request(
            "GET",
            path,
            io=io,
            headers=Headers(fields),
            query=query,
            scheme=scheme,
            root_path=root_path,
            raw_path=raw_path,
            client=client,
            http_version=version,
            body=RequestBody(_nothing(io)),
        )
        vars(copy).update(facts)
        copy.deadline = io.now() + _PATIENCE
        return await door(copy, call_next, limit)

    return run


def _nothing(io: IO) -> Callable[[], Coroutine[Any, Any, tuple[bytes, bool]]]:
    """The body of a client that sends none, and does not leave either."""
    asked = False

    async def pull() -> tuple[bytes, bool]:
        nonlocal asked
        if asked and io.is_async:
            await asyncio.Event().wait()
        asked = True
        return b"", False

    return pull
