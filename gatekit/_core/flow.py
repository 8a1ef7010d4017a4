"""The hand-driven onion: how one coroutine runs around an app that it never calls.

Two things differ between WSGI and ASGI. *Colour*: I/O blocks in one and is awaited in the other.
*Direction*: a WSGI app is asked for its body, an ASGI app pushes it through `send`. An ordinary
`response = await app(request)` can serve only one of each. So the app is not called from inside
the onion at all:

    door                                   onion: one coroutine of nested `await call_next(request)`
    ────                                   ─────
    resume(onion, None)  ────────────────▶ middlewares on their way in
                  ◀────── APP ──────────── the innermost call_next *yields* the signal and stands
    call the app as its protocol wants,
    until the head of its answer is there
    resume(onion, response)  ────────────▶ middlewares on their way out
                  ◀────── ReadBody ─────── `response.read()`: hold the body, then resume(…, bytes)
                  ◀────── Response ─────── the end: send this head, let the body pass

What the coroutine yields that is not a `Signal` is a real await. Under ASGI it is handed up to the
event loop as it came and its result handed down again, so that no task, queue or thread is
needed; the onion may be resumed in another task than it was started in, for apps that send from a
child task. Under WSGI there is no loop to hand it to, and it is an error that names who waited.

A middleware that replies itself never yields APP: the first step then gives its `Response` at once.
An exception of the app is thrown into the onion where `call_next` stands (`fail`), so an ordinary
`try`/`except` around `await call_next(request)` gives a fallback. It travels unchanged through
those that do not catch it; `compose.link` turns every *other* exception into a 500 on the spot, so
that it still passes through the outer middlewares. The door answers what comes out at the top.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any, TypeAlias, TypeGuard

from gatekit._core.io import suspended
from gatekit._core.messages import Response
from gatekit._core.signals import Signal

Step: TypeAlias = Signal | Response
Onion: TypeAlias = Coroutine[Any, Any, Response]


def poke(onion: Onion, value: Response | bytes | None) -> object:
    """Goes on with what the onion waits for; None starts it.

    Gives the next step, or, if the onion really awaits, what it awaits: `settle` that.
    """
    try:
        return onion.send(value)
    except StopIteration as stop:
        return stop.value


def poke_error(onion: Onion, error: BaseException) -> object:
    """Raises where the onion waits; gives what `poke` gives."""
    try:
        return onion.throw(error)
    except StopIteration as stop:
        return stop.value


async def resume(onion: Onion, value: Response | bytes | None) -> Step:
    """`poke`, then `settle` if need be."""
    return await settle(onion, poke(onion, value))


async def fail(onion: Onion, error: BaseException) -> Step:
    """`poke_error`, then `settle` if need be."""
    return await settle(onion, poke_error(onion, error))


def resume_blocking(onion: Onion, value: Response | bytes | None) -> Step:
    """`resume` without an event loop: to really await is the middleware's error."""
    step = poke(onion, value)
    return step if is_step(step) else fail_blocking(onion, suspended(onion))


def fail_blocking(onion: Onion, error: BaseException) -> Step:
    """`fail` without an event loop."""
    step = poke_error(onion, error)
    return step if is_step(step) else fail_blocking(onion, suspended(onion))


def is_step(yielded: object) -> TypeGuard[Step]:
    """Whether it is the onion's own, not something to await; every link sees to its `Response`."""
    return isinstance(yielded, (Signal, Response))


@types.coroutine
def settle(onion: Onion, yielded: Any) -> Generator[Any, Any, Step]:
    """Hands real awaits up to the event loop until the onion signals or ends."""
    try:
        while not is_step(yielded):
            try:
                value = yield yielded
            except BaseException as error:
                yielded = onion.throw(error)
            else:
                yielded = onion.send(value)
    except StopIteration as stop:
        result: Response = stop.value
        return result
    return yielded
