"""Which networks may come in at all: lists of addresses and CIDR blocks.

    IPFilter(allow=["10.0.0.0/8", "2001:db8:f00::/48"])      # these and nobody else
    IPFilter(deny=["203.0.113.0/24"])                        # everybody but these
    IPFilter(allow=["10.0.0.0/8"], deny=["10.66.0.0/16"])    # deny wins

It goes by `request.client_ip`, which a `ClientIP` further out finds, and by the peer's address
where there is none. Behind a proxy without `ClientIP` that is the proxy's own, the same for
everybody: an allow-list then admits all the world or nobody.

An IPv4 address in IPv6 clothes (`::ffff:192.0.2.1`) is the IPv4 address, in the lists too. Put it
far out, before what costs something.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

from gatekit._core.addresses import Address, parse_address, parse_network
from gatekit._core.decisions import Decision, note
from gatekit._core.messages import Request, Response
from gatekit._core.options import each_problem, flag_problem, known_keywords, string_problem
from gatekit.errors import Rejected, check
from gatekit.typing import Handler

Unknown: TypeAlias = Literal["deny", "allow"]

# Addresses that one instance remembers having judged; who comes chooses how many there are.
_REMEMBERED = 8192

_SKIPPED = Decision("ip-filter", "skip", "no address, which is allowed")


@known_keywords
class IPFilter:
    """`deny` is refused; of the rest, if there is an `allow`, only what is in it comes in.

    `unknown` is what becomes of a peer without an address, as on a Unix socket. `status` and
    `detail` are what who is refused gets; a 404 hides that there is anything. `shadow` notes what
    it would refuse and lets it in.
    """

    __slots__ = ("_detail", "_judge", "_shadow", "_status", "_unknown")

    def __init__(
        self,
        *,
        allow: Collection[str] | None = None,
        deny: Collection[str] = (),
        unknown: Unknown = "deny",
        status: int = 403,
        detail: str | None = None,
        shadow: bool = False,
    ) -> None:
        check(
            "IPFilter",
            allow=None if allow is None else each_problem(allow, network_problem),
            deny=each_problem(deny, network_problem) or _nothing_problem(allow, deny),
            unknown=None if unknown in get_args(Unknown) else "must be 'deny' or 'allow'",
            status=_status_problem(status),
            detail=None if detail is None else string_problem(detail),
            shadow=flag_problem(shadow),
        )
        denied = Networks(deny)
        allowed = None if allow is None else Networks(allow)

        def judge(text: str) -> Decision | None:
            address = parse_address(text)
            if address is None:
                return None
            if address in denied:
                return Decision("ip-filter", "deny", "in the deny list")
            if allowed is not None and address not in allowed:
                return Decision("ip-filter", "deny", "not in the allow list")
            return Decision("ip-filter", "allow", "in the allow list" if allowed else "not denied")

        self._judge = lru_cache(_REMEMBERED)(judge)
        self._unknown: Unknown = unknown
        self._status = status
        self._detail = detail
        self._shadow = shadow

    async def __call__(self, request: Request, call_next: Handler) -> Response:
        address = request.client_ip
        if address is None and request.client is not None:
            address = request.client[0]
        decision = self._judge(address) if address else None
        if decision is None:
            decision = (
                _SKIPPED
                if self._unknown == "allow"
                else Decision("ip-filter", "deny", "no address")
            )
        if decision.outcome != "deny":
            note(request, decision)
            return await call_next(request)
        if self._shadow:
            note(request, Decision("ip-filter", "shadow_deny", decision.reason))
            return await call_next(request)
        note(request, decision)
        raise Rejected(self._status, self._detail, type=self._type)

    @property
    def _type(self) -> str:
        return "urn:gatekit:no-route" if self._status == 404 else "urn:gatekit:ip-refused"

    def __repr__(self) -> str:
        return f"IPFilter(status={self._status})"


class Networks:
    """Many networks, asked in as many steps as there are lengths of prefix among them."""

    __slots__ = ("_blocks",)

    def __init__(self, entries: Iterable[str]) -> None:
        blocks: dict[tuple[int, int], set[int]] = {}
        for entry in entries:
            network = parse_network(entry)
            shift = network.max_prefixlen - network.prefixlen
            numbers = blocks.setdefault((network.version, shift), set())
            numbers.add(int(network.network_address) >> shift)
        self._blocks = tuple((version, shift, found) for (version, shift), found in blocks.items())

    def __contains__(self, address: Address) -> bool:
        number, version = int(address), address.version
        return any(number >> shift in found for of, shift, found in self._blocks if of == version)


def network_problem(entry: object) -> str | None:
    """Of an address or a block; one with host bits set may be a typing error."""
    if not isinstance(entry, str):
        return f"{entry!r} is not a string"
    try:
        parse_network(entry)
    except ValueError as error:
        return f"{entry!r} is not a network in CIDR: {error}"
    return None


def _nothing_problem(allow: Collection[str] | None, deny: Collection[str]) -> str | None:
    if allow is None and not deny:
        return "say whom to admit (allow) or whom to refuse (deny)"
    return None


def _status_problem(status: object) -> str | None:
    if isinstance(status, int) and not isinstance(status, bool) and 400 <= status <= 499:
        return None
    return f"must be a status from 400 to 499, not {status!r}"
