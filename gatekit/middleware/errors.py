"""Every error in the shape that its reader wants: problem+json, a page, or text; or your own.

    Errors()                                       # JSON for programs, HTML for browsers
    Errors(
        {
            "urn:gatekit:rate-limited": {"title": "Slow down", "plans": "https://api.example/plans"},
            404: {"detail": "There is nothing here."},
            "5xx": lambda request, members: {"detail": f"Tell us {members['instance']}."},
            ("/partner/*", 503): lambda request, members: Response(503, body=b"later"),
        },
        upstream="mask",
    )

Put it outside of all that refuses, so that it sees the answer. It says whose failure it was, in the
members `origin` and `flag`, and gives the app's exceptions the shape of all others. A route has its
own by having an `Errors` itself, or by a pair with its path.

**Accept.** Who takes JSON and HTML alike, or anything, is given JSON: programs do, browsers prefer
HTML. Who accepts none of the formats is given JSON too (RFC 9110 §15.5.7 allows it).

**The app's and the upstream's own errors** pass as they are. `upstream="mask"` hides what a 5xx of
theirs says; `"wrap"` shows it in a problem's member, up to `wrap_limit` bytes.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from typing import Literal, TypeAlias, cast

from gatekit._core.accept import accepted, preferred, quality
from gatekit._core.body import aclose_body
from gatekit._core.compose import answered
from gatekit._core.flags import FLAGS, INTERNAL, URN, Flag, flag_of_problem
from gatekit._core.messages import Request, Response
from gatekit._core.options import flag_problem, function_problem, integer_problem, known_keywords
from gatekit._core.problems import reason
from gatekit.errors import BodyTooLarge, check
from gatekit.middleware._access_record import route_of
from gatekit.middleware._error_pages import (
    TYPES,
    Format,
    Members,
    Templates,
    page_of,
    templates_problem,
)
from gatekit.typing import Handler

Key: TypeAlias = "str | int | tuple[str, str | int]"
Change: TypeAlias = "Mapping[str, object] | Callable[[Request, Members], Response | Members | None]"
Upstream: TypeAlias = Literal["pass", "mask", "wrap"]

_PROBLEM = "application/problem+json"
_JSON = (_PROBLEM, "application/json")
_KINDS: Mapping[Format, str] = {"html": "text/html", "text": "text/plain"}

# What tells of a body that is not shown any more, or of who made it.
_HIDDEN = frozenset(
    b"accept-ranges digest etag last-modified link refresh repr-digest server trailer".split()
) | {b"x-powered-by"}

_CLASSES = ("4xx", "5xx")


@known_keywords
class Errors:
    """`overrides` change problems by type, status, `"4xx"`, `"5xx"`, route path or (path, any).

    One is either members to set, where None takes one away, or a function of the request and the
    members that gives such members, a whole response, or None for no change. The most specific one
    counts: a pair before a type, then status, route and class. `formats` are those that may be
    chosen by `Accept` beside JSON. `type_base` takes the place of `urn:gatekit:`, such as the URL
    of your own documentation.
    """

    __slots__ = (
        "_formats", "_limit", "_origin", "_overrides", "_pages", "_type_base", "_upstream",
    )  # fmt: skip

    def __init__(
        self,
        overrides: Mapping[Key, Change] | None = None,
        *,
        formats: Collection[Format] = ("html", "text"),
        templates: Templates | None = None,
        upstream: Upstream = "pass",
        wrap_limit: int = 16_384,
        origin: bool = True,
        type_base: str = URN,
    ) -> None:
        overrides = {} if overrides is None else overrides
        templates = {} if templates is None else templates
        check(
            "Errors",
            overrides=_overrides_problem(overrides),
            formats=_formats_problem(formats),
            templates=templates_problem(templates),
            upstream=None
            if upstream in ("pass", "mask", "wrap")
            else f"must be 'pass', 'mask' or 'wrap', not {upstream!r}",
            wrap_limit=integer_problem(wrap_limit, 1),
            origin=flag_problem(origin),
            type_base=_base_problem(type_base),
        )
        self._overrides = dict(overrides)
        self._formats: dict[str, Format] = {_KINDS[kind]: kind for kind in formats}
        self._pages = {kind: page_of(kind, templates.get(kind)) for kind in formats}
        self._upstream = upstream
        self._limit = wrap_limit
        self._origin = origin
        self._type_base = type_base

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        response = await answered(request, call_next)
        if response.status < 400:
            return response
        members = response.problem
        if members is None:
            if response.status < 500 or self._upstream == "pass" or _is_grpc(response):
                return response
            response, members = await self._hide(request, response)
        return self._shaped(request, response, members)

    async def _hide(
        self, request: Request, response: Response
    ) -> tuple[Response, dict[str, object]]:
        """The problem that is shown instead of what the app or an upstream said."""
        said: object = None
        content_type = response.headers.get("content-type", "")
        if self._upstream == "wrap":
            with suppress(BodyTooLarge):
                said = _readable(await response.read(self._limit), content_type)
        await aclose_body(response.body)
        fields = [field for field in response.headers.raw if not _is_hidden(field[0])]
        members: dict[str, object] = {
            "type": URN + "upstream-error",
            "title": reason(response.status),
            "status": response.status,
            "detail": "The service behind failed.",
        }
        if self._upstream == "wrap":
            members |= {"upstream_content_type": content_type, "upstream_body": said}
        return Response.from_head(response.status, fields, b""), members

    def _shaped(self, request: Request, response: Response, made: Members) -> Response:
        kind = str(made.get("type", "about:blank"))
        members = dict(made)
        if members.get("instance") is None and request.correlation_id is not None:
            members["instance"] = request.correlation_id
        if self._origin:
            flag = _flag(request, kind, response.status)
            members |= {"origin": flag.source, "flag": flag.code}
        change = self._override(request, kind, response.status)
        if change is not None:
            changed = change(request, members) if callable(change) else change
            if isinstance(changed, Response):
                changed.problem = members if changed.problem is None else changed.problem
                return changed
            members |= {} if changed is None else changed
            members = {name: value for name, value in members.items() if value is not None}
            if _is_status(status := members.get("status", response.status)):
                response.status = cast("int", status)
            # RFC 9457 §3.1.2: the member has to be the status that is sent.
            members["status"] = response.status
        # Those further out know it by the type that it had.
        response.problem = {**members, "type": kind}
        shown = str(members.get("type", ""))
        if shown.startswith(URN):
            members["type"] = self._type_base + shown.removeprefix(URN)
        self._write(request, response, members)
        return response

    def _write(self, request: Request, response: Response, members: dict[str, object]) -> None:
        chosen = self._chosen(request)
        headers = response.headers
        if chosen is None:
            body = json.dumps(members, separators=(",", ":"), default=str).encode()
            headers["content-type"] = _PROBLEM
        else:
            body = self._pages[chosen](members).encode("utf-8", "replace")
            headers["content-type"] = TYPES[chosen]
            headers.setdefault("x-content-type-options", "nosniff")
        if self._formats:
            headers.vary("Accept")
        del headers["content-length"]
        del headers["content-encoding"]
        response.body, response.codecs = body, None

    def _chosen(self, request: Request) -> Format | None:
        """A page, if somebody would rather have one; None is JSON."""
        if not self._formats:
            return None
        ranges = accepted(request.headers.getlist("accept"))
        best = preferred(ranges, list(self._formats))
        if best is None or quality(ranges, best) <= max(quality(ranges, kind) for kind in _JSON):
            return None
        return self._formats[best]

    def _override(self, request: Request, kind: str, status: int) -> Change | None:
        overrides = self._overrides
        if not overrides:
            return None
        path, group = route_of(request), f"{status // 100}xx"
        keys: tuple[Key, ...] = (
            (path, kind), (path, status), (path, group), kind, status, path, group,
        )  # fmt: skip
        return next((overrides[key] for key in keys if key in overrides), None)


def _flag(request: Request, kind: str, status: int) -> Flag:
    if kind == INTERNAL and request.app_error is not None:
        return FLAGS["APP"]
    return flag_of_problem(kind, status)


def _is_hidden(name: bytes) -> bool:
    if name in _HIDDEN:
        return True
    return name.startswith(b"content-") and not name.startswith(b"content-security-policy")


def _is_grpc(response: Response) -> bool:
    """Its status is in trailers, and a client could not read anything else."""
    return response.headers.get("content-type", "").startswith("application/grpc")


def _readable(body: bytes, content_type: str) -> object:
    """JSON as it is, text as text; bytes of another kind are not shown."""
    if "json" in content_type:
        try:
            return cast("object", json.loads(body))
        except (ValueError, RecursionError):
            pass
    try:
        return body.decode()
    except UnicodeDecodeError:
        return None


def _overrides_problem(overrides: object) -> str | None:
    if not isinstance(overrides, Mapping):
        return f"must be changes by type, status or route, not {overrides!r}"
    wrong: list[str] = []
    for key, change in cast("Mapping[object, object]", overrides).items():
        pair = cast("tuple[object, ...]", key) if isinstance(key, tuple) else ("/", key)
        if len(pair) != 2 or not _is_path(pair[0]) or not _is_key(pair[1]):
            wrong.append(f"{key!r} is no type, status, '4xx', '5xx', path or pair of path and one")
        elif isinstance(change, Mapping):
            status = cast("Mapping[object, object]", change).get("status", 400)
            if not _is_status(status):
                wrong.append(f"{key!r}: {status!r} is no status that can be sent")
        elif change is None or function_problem(change) is not None:
            wrong.append(f"{key!r}: must be members or a plain function, not {change!r}")
    return "; ".join(wrong) or None


def _is_status(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 200 <= value <= 599


def _is_path(value: object) -> bool:
    return isinstance(value, str) and (value.startswith("/") or value == "<unmatched>")


def _is_key(value: object) -> bool:
    if isinstance(value, int):
        return 400 <= value <= 599
    return isinstance(value, str) and (":" in value or value in _CLASSES or _is_path(value))


def _formats_problem(formats: object) -> str | None:
    if isinstance(formats, str) or not isinstance(formats, Collection):
        return f"must be a list, not {formats!r}"
    unknown = [one for one in cast("Collection[object]", formats) if one not in TYPES]
    return f"{unknown[0]!r} is no format; there are 'html' and 'text'" if unknown else None


def _base_problem(base: object) -> str | None:
    if isinstance(base, str) and ":" in base and base.isprintable() and " " not in base:
        return None
    return f"must be the beginning of a URI, such as 'https://api.example/errors#', not {base!r}"
