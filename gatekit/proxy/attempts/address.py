"""What differs between two attempts of one request: where it goes, and what it says of that.

address = Address(host="upstream", attempt_header=True)
address.put_on(request, outgoing, member)                    # the first one, in place
again = address.readdressed(request, outgoing, member, other, number=2, body=body)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from gatekit._core.messages import Request
from gatekit._core.time_left import field_for
from gatekit.proxy.transport.exchange import RequestBody, UpstreamRequest
from gatekit.typing import RawHeaders

if TYPE_CHECKING:
    from gatekit.proxy.clusters.members import Member

ATTEMPT = b"x-gatekit-attempt"


class Address:
    """`host` is "upstream", "pass" or what to send. The header fields are left out where not asked.

    `deadline_header` is the field that tells the upstream how much time is left: `grpc-timeout` in
    its own units, any other in seconds.
    """

    __slots__ = ("_attempt_header", "_deadline_header", "_host", "_is_bare")

    def __init__(
        self, host: str, *, attempt_header: bool = False, deadline_header: str | None = None
    ) -> None:
        self._host = host
        self._attempt_header = attempt_header
        self._deadline_header = (
            None if deadline_header is None else deadline_header.lower().encode("ascii")
        )
        self._is_bare = not attempt_header and deadline_header is None

    def put_on(self, request: Request, outgoing: UpstreamRequest, member: Member) -> None:
        """Makes a request without base path and `Host` one for this member."""
        outgoing.target = _below(member.origin.base, outgoing.target)
        if not self._is_bare:
            outgoing.headers = self._with_ours(request, outgoing.headers, 1)
        # RFC 9110 §7.2: "SHOULD send Host as the first field".
        outgoing.headers.insert(0, (b"host", self.host_for(request, member)))

    def readdressed(
        self,
        request: Request,
        outgoing: UpstreamRequest,
        was: Member,
        member: Member,
        *,
        number: int,
        body: RequestBody,
    ) -> UpstreamRequest:
        """Another request for another member, out of one that went to `was`."""
        fields = outgoing.headers[1:]
        if not self._is_bare:
            fields = self._with_ours(request, fields, number)
        again = UpstreamRequest(
            outgoing.method,
            _below(member.origin.base, outgoing.target[len(was.origin.base) :]),
            [(b"host", self.host_for(request, member)), *fields],
            body,
            upgrade=outgoing.upgrade,
            on_informational=outgoing.on_informational,
        )
        again.earlier = outgoing.earlier
        return again

    def host_for(self, request: Request, member: Member) -> bytes:
        """What `Host` says to this member."""
        if self._host == "upstream":
            return member.host
        if self._host == "pass":
            return request.host.encode("latin-1") or member.host
        return self._host.encode("latin-1")

    def _with_ours(self, request: Request, fields: RawHeaders, number: int) -> RawHeaders:
        """In the place of what the client, or the attempt before, said in these fields."""
        name = self._deadline_header
        found = [field for field in fields if field[0] != ATTEMPT or not self._attempt_header]
        if self._attempt_header:
            found.append((ATTEMPT, b"%d" % number))
        if name is not None:
            found = [field for field in found if field[0] != name]
            if request.deadline is not None:
                left = max(request.deadline - request.io.now(), 0.0)
                found.append((name, field_for(name, left)))
        return found


def _below(base: bytes, target: bytes) -> bytes:
    if not base:
        return target
    return base + target if target.startswith(b"/") else base + b"/" + target
