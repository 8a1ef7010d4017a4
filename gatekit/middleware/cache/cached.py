"""What a view says of its own answer, to the cache in front of it and to nobody else.

    @app.get("/orders/{id}")
    @cached(60, tags=["orders", "order-{id}"])
    async def order(id: str) -> JSONResponse: ...

    cache.invalidate(tags="order-7")                    # in the view that changes it

It sets `Gatekit-Cache-Control` and `Surrogate-Key`, which `Cache` obeys before all others and takes
off. What the view sets itself stays; tags are added. An answer for somebody known is stored only
with `public=True`, or where the cache has a part for each.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Collection
from functools import wraps
from string import Formatter
from typing import Any, ParamSpec, TypeVar, cast
from urllib.parse import quote

from gatekit._core.options import each_problem, flag_problem, string_problem
from gatekit.errors import ConfigurationError, MisuseError, check
from gatekit.middleware.cache.rules import length_problem

P = ParamSpec("P")
T = TypeVar("T")

_CONTROL, _TAGS = "Gatekit-Cache-Control", "Surrogate-Key"


def cached(
    seconds: float,
    *,
    tags: Collection[str] = (),
    public: bool = False,
    stale_while_revalidate: float = 0.0,
    stale_if_error: float | None = None,
) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """For a view, sync or async, that returns a response of Starlette, Django or Flask.

    `tags` may name the view's arguments in braces; what has no place in a tag is percent-encoded.
    """
    check(
        "cached",
        seconds=length_problem(seconds),
        tags=each_problem(tags, _tag_problem),
        public=flag_problem(public),
        stale_while_revalidate=length_problem(stale_while_revalidate),
        stale_if_error=None if stale_if_error is None else length_problem(stale_if_error),
    )
    control = f"max-age={int(seconds)}"
    control += ", public" if public else ""
    if stale_while_revalidate:
        control += f", stale-while-revalidate={int(stale_while_revalidate)}"
    if stale_if_error is not None:
        control += f", stale-if-error={int(stale_if_error)}"
    patterns = tuple(tags)
    named = {name for each in patterns for name in _names(each)}

    def decorate(view: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(view) if patterns else None
        unknown = named if signature is None else named - signature.parameters.keys()
        if unknown:
            what = f"{min(unknown)!r} is no argument of the view"
            raise ConfigurationError("cached", {"tags": what})

        def mark(result: object, args: Any, kwargs: Any) -> Any:
            response = _response(result)
            headers = response.headers
            if _CONTROL not in headers:
                headers[_CONTROL] = control
            if signature is not None:
                known = signature.bind(*args, **kwargs)
                known.apply_defaults()
                given = {name: quote(str(known.arguments[name])) for name in named}
                own = [headers[_TAGS]] if _TAGS in headers else []
                headers[_TAGS] = " ".join([*own, *(each.format(**given) for each in patterns)])
            return response

        if inspect.iscoroutinefunction(view):

            @wraps(view)
            async def awaited(*args: P.args, **kwargs: P.kwargs) -> object:
                return mark(await view(*args, **kwargs), args, kwargs)

            return cast("Callable[P, T]", awaited)

        @wraps(view)
        def called(*args: P.args, **kwargs: P.kwargs) -> T:
            return cast("T", mark(view(*args, **kwargs), args, kwargs))

        return called

    return decorate


def _tag_problem(tag: object) -> str | None:
    if (what := string_problem(tag)) is not None:
        return what
    try:
        names = _names(cast("str", tag))
    except ValueError as error:
        return f"{tag!r}: {error}"
    wrong = [name for name in names if not name.isidentifier()]
    return f"{tag!r} must name arguments of the view in its braces" if wrong else None


def _names(tag: str) -> list[str]:
    return [name for _, name, _, _ in Formatter().parse(tag) if name is not None]


def _response(result: object) -> Any:
    """What has header fields; Flask makes that of whatever its views may return."""
    if hasattr(getattr(result, "headers", None), "__setitem__"):
        return result
    flask: Any = sys.modules.get("flask")
    if flask is not None and flask.has_request_context():
        return flask.make_response(result)
    kind = type(result).__name__
    raise MisuseError(f"@cached is for a view that returns a response, and this one gave a {kind}")
