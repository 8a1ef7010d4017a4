"""What a request asks of a cache: read once, in one pass over its fields."""

from __future__ import annotations

from gatekit.middleware.cache.directives import Directives, parse
from gatekit.middleware.cache.policy import Asked
from gatekit.typing import RawHeaders

_COUNTS = frozenset(
    {
        b"host",
        b"cache-control",
        b"pragma",
        b"authorization",
        b"range",
        b"if-range",
        b"if-none-match",
        b"if-modified-since",
        b"if-match",
        b"if-unmodified-since",
        b"content-length",
        b"transfer-encoding",
    }
)
_CONDITIONS = frozenset({b"if-none-match", b"if-modified-since", b"if-range", b"range"})
_NOTHING: Directives = {}


class Ask:
    """`key` is where the answer is looked up; `is_plain` is a request that asks for nothing more
    than the resource, `is_foreign` one that only the origin can answer.
    """

    __slots__ = (
        "asked", "host", "if_range", "is_conditional", "is_foreign", "is_head", "is_plain",
        "is_special", "key", "none_match", "range", "raw", "since", "tags",
    )  # fmt: skip

    key: bytes

    def __init__(self, raw: RawHeaders, *, heeds_client: bool) -> None:
        self.raw = raw
        self.is_head = False
        self.is_foreign = False
        self.is_conditional = False
        self.range: bytes | None = None
        self.if_range: bytes | None = None
        self.none_match: list[bytes] = []
        self.since: bytes | None = None
        self.tags: tuple[str, ...] = ()
        self.host: bytes | None = None
        found: list[tuple[bytes, bytes]] | None = None
        for field in raw:
            if field[0] in _COUNTS:
                if field[0] == b"host" and self.host is None:
                    self.host = field[1]
                elif found is None:
                    found = [field]
                else:
                    found.append(field)
        if found is None:
            self.is_plain, self.is_special = True, False
            self.asked = _PLAIN
        else:
            self.is_plain = False
            self._read(found, heeds_client)

    @property
    def lane(self) -> bytes:
        """Those who say who they are get other answers, of which others need not know."""
        return self.key + b"+" if self.asked.owned else self.key

    def _read(self, found: RawHeaders, heeds_client: bool) -> None:
        lines: dict[bytes, list[bytes]] = {}
        for name, value in found:
            lines.setdefault(name, []).append(value)
        self.none_match = lines.get(b"if-none-match", [])
        self.since = lines.get(b"if-modified-since", [None])[0]
        self.range = lines.get(b"range", [None])[0]
        self.if_range = lines.get(b"if-range", [None])[0]
        # A second Host: nobody knows which one the app will believe. A body that may change the
        # answer and is in no key. A precondition that RFC 9111 §4.3.2 leaves to the origin.
        self.is_foreign = (
            not _FOREIGN.isdisjoint(lines)
            or len(lines.get(b"range", ())) > 1
            or any(value.strip() != b"0" for value in lines.get(b"content-length", ()))
        )
        control = parse(lines[b"cache-control"]) if b"cache-control" in lines else _NOTHING
        if b"cache-control" not in lines and any(
            b"no-cache" in value.lower() for value in lines.get(b"pragma", ())
        ):
            # RFC 9111 §5.4: only where there is no Cache-Control.
            control = {"no-cache": None}
        if not heeds_client:
            kept = {"no-store", "only-if-cached"}
            control = {name: value for name, value in control.items() if name in kept}
        self.is_conditional = bool(self.none_match) or self.since is not None
        self.asked = Asked(control, b"authorization" in lines)
        self.is_special = bool(control.keys() & _SPECIAL)
        self.is_plain = not (self.is_special or self.is_conditional or self.range)


_FOREIGN = frozenset({b"host", b"if-match", b"if-unmodified-since", b"transfer-encoding"})
_SPECIAL = frozenset(
    {"no-cache", "no-store", "max-age", "min-fresh", "only-if-cached", "max-stale"}
)
_PLAIN = Asked(_NOTHING, False)


def without_conditions(raw: RawHeaders) -> RawHeaders:
    """The fields of a request that asks for the whole answer whatever the client has."""
    return [field for field in raw if field[0] not in _CONDITIONS]
