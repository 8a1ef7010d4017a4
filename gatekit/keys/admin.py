"""API keys over HTTP, for those who administer them: a handler to mount.

    Route("/admin/keys/*", KeyAdmin(keys, roles=["admin"], prefix="/admin/keys"))

    GET    /admin/keys                   a page of keys: ?subject=acme&limit=50&after=<id>
    POST   /admin/keys                   {"subject": "acme", "scopes": ["read"], "expires_in": 3600}
    GET    /admin/keys/<id>
    POST   /admin/keys/<id>/rotate       {"overlap": 86400}
    DELETE /admin/keys/<id>              revokes it; it stays in the list

A new key is in the answer that made it, as `key`, and nowhere else; no answer may be cached, and
none holds a hash. An authenticator has to stand around it: without an identity it answers 401, and
403 to one that has none of the `roles`, or not all `scopes`. What changes something is
`application/json`, which no other site's form can send.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Collection
from typing import Any
from urllib.parse import parse_qs

from gatekit._core.messages import Request, Response
from gatekit._core.options import known_keywords
from gatekit._core.paths import AmbiguousPath, PathRules, segments
from gatekit._core.problems import problem
from gatekit.errors import ConfigurationError, Rejected, check
from gatekit.keys.manager import KeyManager, KeyOver, NewKey, NoSuchKey
from gatekit.middleware.auth._challenges import CredentialsRequired, insufficient_scope
from gatekit.middleware.auth._json import strict_object
from gatekit.middleware.auth._requirement import Requirement

logger = logging.getLogger("gatekit.keys")

_LARGEST = 16_384
_PAGE, _LARGEST_PAGE = 100, 1000
_SMALL = re.compile("[0-9]{1,4}")
_TIMEOUT = 5.0
_CREATE = frozenset(
    ("subject", "name", "scopes", "roles", "groups", "tenant", "plan", "expires_in")
)
_LISTS = ("scopes", "roles", "groups")
_ROTATE = frozenset(("overlap", "expires_in"))


@known_keywords
class KeyAdmin:
    """A handler for the keys of one `KeyManager`.

    `roles` are those of which one is needed, `scopes` those that are needed all; one of the two has
    to be given. `prefix` is the path under which it answers, "" where it is mounted as an app.
    """

    __slots__ = ("_keys", "_prefix", "_requirement")

    def __init__(
        self,
        keys: KeyManager,
        *,
        roles: Collection[str] = (),
        scopes: Collection[str] = (),
        prefix: str = "",
    ) -> None:
        problems: dict[str, str | None] = {
            "keys": None if _is_manager(keys) else f"must be a KeyManager, not {keys!r}",
            "prefix": _prefix_problem(prefix),
        }
        try:
            self._requirement = Requirement(roles=roles, scopes=scopes)
        except ConfigurationError as error:
            problems |= error.problems
        if not roles and not scopes:
            problems["roles"] = "say who may: roles, or scopes"
        check("KeyAdmin", **problems)
        self._keys = keys
        self._prefix = prefix.split("/")[1:]

    async def __call__(self, request: Request) -> Response:
        await self._check(request)
        path = self._below(request)
        try:
            async with request.io.timeout(_TIMEOUT):
                response = await self._answer(request, path)
        except NoSuchKey:
            raise Rejected(404, "There is no such key.", type="urn:gatekit:no-such-key") from None
        except KeyOver as over:
            raise Rejected(409, f"{over}.", type="urn:gatekit:key-over") from None
        except ConfigurationError as error:
            raise _unfit(error.problems) from None
        except Rejected:
            raise
        except Exception as error:
            # The message of a driver may hold a password; its name says enough.
            logger.warning("%r does not answer: %s", self._keys.store, type(error).__name__)
            raise Rejected(
                503,
                "The store of keys does not answer.",
                type="urn:gatekit:keys-unavailable",
                headers={"retry-after": "1"},
            ) from error
        response.headers["cache-control"] = "no-store"
        return response

    async def _check(self, request: Request) -> None:
        identity = request.identity
        if identity is None or identity.is_anonymous:
            raise CredentialsRequired(request.challenges or ("Bearer",))
        verdict = await self._requirement.judge(request, identity, None)
        if not verdict.allowed and verdict.scopes:
            raise insufficient_scope(None, verdict.scopes, verdict.reason)
        if not verdict.allowed:
            raise Rejected(403, "This is not allowed.", type="urn:gatekit:forbidden")

    async def _answer(self, request: Request, path: list[str]) -> Response:
        keys, io = self._keys, request.io
        match request.method, path:
            case (("GET" | "HEAD"), []):
                return await self._list(request)
            case "POST", []:
                members = await _members(request, _CREATE)
                made = await keys.create_by(io, keys.draft(**members))
                return self._new(made)
            case (("GET" | "HEAD"), [key_id]):
                record = await keys.get_by(io, key_id)
                return Response.json(record.shown(keys.now()))
            case "DELETE", [key_id]:
                record = await keys.revoke_by(io, key_id)
                return Response.json(record.shown(keys.now()))
            case "POST", [key_id, "rotate"]:
                members = await _members(request, _ROTATE)
                overlap = members.get("overlap", 86400)
                made = await keys.rotate_by(io, key_id, overlap, members.get("expires_in"))
                return self._new(made)
            case _, [] | [_] | [_, "rotate"]:
                allow = ("GET, HEAD, POST", "DELETE, GET, HEAD", "POST")[len(path)]
                return problem(
                    405,
                    f"The methods here are {allow}.",
                    type="urn:gatekit:method-not-allowed",
                    headers={"allow": allow},
                )
            case _:
                raise _nothing()

    async def _list(self, request: Request) -> Response:
        try:
            asked = parse_qs(request.query.decode("latin-1"), max_num_fields=10)
        except ValueError:
            raise _unfit({"query": "has too many parameters"}) from None
        limit = asked.get("limit", [str(_PAGE)])[0]
        if not _SMALL.fullmatch(limit) or not 1 <= int(limit) <= _LARGEST_PAGE:
            raise _unfit({"limit": f"must be from 1 to {_LARGEST_PAGE}"})
        subject = asked.get("subject", [None])[0]
        after = asked.get("after", [""])[0]
        if not after.isprintable() or not (subject or "").isprintable():
            raise _unfit({"subject": "must be printable, and `after` too"})
        found = await self._keys.list_by(request.io, subject, after, int(limit))
        now = self._keys.now()
        return Response.json(
            {
                "keys": [record.shown(now) for record in found],
                "next": found[-1].id if len(found) == int(limit) else None,
            }
        )

    def _new(self, made: NewKey) -> Response:
        shown = made.record.shown(self._keys.now())
        return Response.json({"key": made.text, **shown}, 201)

    def _below(self, request: Request) -> list[str]:
        """The segments behind the prefix; a slash at the end makes no difference."""
        try:
            path = segments(request.raw_path, PathRules())
        except AmbiguousPath:
            raise _nothing() from None
        size = len(self._prefix)
        if path[:size] != self._prefix:
            raise _nothing()
        rest = path[size:]
        return rest[:-1] if rest and not rest[-1] else rest

    def close(self) -> None:
        self._keys.close()

    async def aclose(self) -> None:
        await self._keys.aclose()

    def __repr__(self) -> str:
        return f"KeyAdmin({self._keys!r})"


async def _members(request: Request, known: frozenset[str]) -> dict[str, Any]:
    """Of a JSON object; what nobody knows may be misspelt, and would be missing."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json":
        raise Rejected(415, "Send application/json.", type="urn:gatekit:unsupported-media-type")
    try:
        members: dict[str, Any] = strict_object(await request.body.read(_LARGEST) or b"{}")
    except ValueError as error:
        # Not what the parser says, which may quote the body.
        what = "is no JSON" if isinstance(error, json.JSONDecodeError) else str(error)
        raise _unfit({"body": what}) from None
    unknown = sorted(members.keys() - known)
    if unknown:
        raise _unfit(dict.fromkeys(unknown, f"is unknown; known are {', '.join(sorted(known))}"))
    wrong = [name for name in _LISTS if not isinstance(members.get(name, []), list)]
    if wrong:
        raise _unfit(dict.fromkeys(wrong, "must be a list"))
    if known is _CREATE and "subject" not in members:
        raise _unfit({"subject": "is missing"})
    return members


def _unfit(problems: dict[str, str]) -> Rejected:
    return Rejected(
        422,
        "The request is not one for a key.",
        type="urn:gatekit:invalid-key-request",
        extensions={"errors": problems},
    )


def _nothing() -> Rejected:
    return Rejected(404, "Nothing answers at this path.", type="urn:gatekit:no-route")


def _is_manager(value: object) -> bool:
    return isinstance(value, KeyManager)


def _prefix_problem(prefix: object) -> str | None:
    if prefix == "":
        return None
    if not isinstance(prefix, str) or not prefix.startswith("/") or prefix.endswith("/"):
        return f"must begin with a slash and not end with one, not be {prefix!r}"
    return None
