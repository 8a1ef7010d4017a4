"""Answers made of stored ones: whole, a part, a 304, or the head alone.

    server = Server("gatekit", show=True)
    response = server.hit(entry, asked, now)

`Cache-Status` is RFC 9211: what caches further up said stands before what this one says.
"""

from __future__ import annotations

from gatekit._core.messages import Response
from gatekit.middleware.cache.asking import Ask
from gatekit.middleware.cache.entry import SOFT, Entry
from gatekit.middleware.cache.follow import Follower
from gatekit.middleware.cache.ranges import cut, holds
from gatekit.middleware.cache.validators import head_of_304, not_modified
from gatekit.typing import RawHeaders

_STATUS = b"cache-status"


class Server:
    """`name` is this cache in `Cache-Status`; without `show` it adds none."""

    __slots__ = ("_hit", "_members", "name", "show")

    def __init__(self, name: str, *, show: bool) -> None:
        self.name = name
        self.show = show
        self._members: dict[str, bytes] = {}
        self._hit = f"{name}; hit; ttl=".encode("ascii")

    def whole(self, entry: Entry, now: float) -> Response:
        """The stored answer as it is. The fields are the same list within one second."""
        age = int(now - entry.born)
        if age != entry.shown:
            entry.wire = self._wire(entry, age)
            entry.shown = age
        return Response.from_head(entry.status, entry.wire, entry.body)

    def hit(self, entry: Entry, ask: Ask, now: float) -> Response:
        """What a client with these conditions gets of a stored answer."""
        return self._of(entry, ask, self._wire(entry, max(0, int(now - entry.born))))

    def forwarded(self, entry: Entry, ask: Ask, now: float, said: str) -> Response:
        """A stored answer for which the origin was asked."""
        return self._of(entry, ask, self._fields(entry, max(0, int(now - entry.born)), said))

    def followed(self, entry: Entry, ask: Ask, body: Follower, now: float, said: str) -> Response:
        """An answer of which another request reads the body."""
        fields = self._fields(entry, int(now - entry.born), said)
        if ask.is_conditional and not_modified(entry, ask.none_match, ask.since):
            return Response.from_head(304, head_of_304(fields), b"")
        return Response.from_head(entry.status, fields, body)

    def say(self, response: Response, said: str) -> None:
        """What this cache did, on an answer that passes."""
        if not self.show:
            return
        headers, member = response.headers, self._member(said)
        for name, _ in headers.raw:
            if name == _STATUS:
                headers.replace(_with_status(headers.raw, member))
                return
        headers.extend([(_STATUS, member)])

    def _member(self, said: str) -> bytes:
        member = self._members.get(said)
        if member is None:
            # A handful of texts with a status in them.
            member = self._members[said] = f"{self.name}; {said}".encode("ascii")
        return member

    def _of(self, entry: Entry, ask: Ask, fields: RawHeaders) -> Response:
        if ask.is_conditional and not_modified(entry, ask.none_match, ask.since):
            return Response.from_head(304, head_of_304(fields), b"")
        # RFC 9110 §14.2: "A server MUST ignore a Range header field received with a request method
        # that is unrecognized or for which range handling is not defined", that is but GET.
        if ask.range is not None and not ask.is_head and holds(entry, ask.if_range):
            part = cut(entry.status, fields, entry.body, ask.range)
            if part is not None:
                return Response.from_head(part.status, part.fields, part.body)
        return Response.from_head(entry.status, fields, b"" if ask.is_head else entry.body)

    def _wire(self, entry: Entry, age: int) -> RawHeaders:
        # RFC 9111 §4: a cache "MUST generate an Age header field, replacing any present".
        age = max(age, 0)
        fields = [*entry.fields, (b"age", b"%d" % age)]
        if not self.show:
            return fields
        left = 0 if entry.flags & SOFT else int(entry.lifetime) - age
        return _with_status(fields, self._hit + b"%d" % left)

    def _fields(self, entry: Entry, age: int, said: str) -> RawHeaders:
        fields = [*entry.fields, (b"age", b"%d" % max(age, 0))]
        return _with_status(fields, self._member(said)) if self.show else fields


def _with_status(fields: RawHeaders, member: bytes) -> RawHeaders:
    # RFC 9211 §2: "Intermediate caches SHOULD NOT remove [...]", each appends its own member.
    before = [value for name, value in fields if name == _STATUS]
    if not before:
        return [*fields, (_STATUS, member)]
    rest = [field for field in fields if field[0] != _STATUS]
    return [*rest, (_STATUS, b", ".join([*before, member]))]
