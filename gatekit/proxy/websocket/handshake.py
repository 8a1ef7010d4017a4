"""The opening handshake with an upstream (RFC 6455 §4.1): what is asked, and what is an answer.

    handshake = Handshake(request, None)
    fields = handshake.fields(fields)          # on their way up
    subprotocol = handshake.agreed(headers)    # of the 101; UpstreamError where it is not one

The client's own key and extensions end here: this hop has its own key, and offers no extension, so
that messages are neither compressed nor framed anew by rules that two sides negotiated elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64encode
from collections.abc import Collection
from secrets import token_bytes

from gatekit._core.messages import Request
from gatekit.errors import Rejected, UpstreamError
from gatekit.typing import RawHeaders

# RFC 6455 §1.3: the server proves with it that it read the key as that of a WebSocket.
_GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_PREFIX = b"sec-websocket-"


class Handshake:
    """One handshake; `offered` are the subprotocols that the upstream may choose from."""

    __slots__ = ("key", "offered")

    def __init__(self, request: Request, allowed: Collection[str] | None) -> None:
        self.key = b64encode(token_bytes(16))
        self.offered = _offer(request, allowed)

    def fields(self, fields: RawHeaders) -> RawHeaders:
        """The end-to-end fields of the client's request, with those of this hop's handshake."""
        fields = [field for field in fields if not field[0].startswith(_PREFIX)]
        fields += (
            (b"connection", b"Upgrade"),
            (b"upgrade", b"websocket"),
            (b"sec-websocket-version", b"13"),
            (b"sec-websocket-key", self.key),
        )
        if self.offered:
            fields.append((b"sec-websocket-protocol", ", ".join(self.offered).encode("ascii")))
        return fields

    def agreed(self, headers: RawHeaders) -> str | None:
        """The subprotocol of a 101; raises `UpstreamError` where the upstream did not agree."""
        found: dict[bytes, list[bytes]] = {}
        for name, value in headers:
            if name in (b"upgrade", b"connection") or name.startswith(_PREFIX):
                found.setdefault(name, []).append(value)
        # RFC 6455 §4.1, the client's steps 2 to 6.
        if b"".join(found.get(b"upgrade", [])).strip().lower() != b"websocket":
            raise _no("it names no upgrade to websocket")
        options = b",".join(found.get(b"connection", [])).lower().split(b",")
        if b"upgrade" not in (option.strip() for option in options):
            raise _no("its Connection does not name the upgrade")
        if found.get(b"sec-websocket-accept") != [accept_of(self.key)]:
            raise _no("Sec-WebSocket-Accept is not that of the key")
        if b"".join(found.get(b"sec-websocket-extensions", [])).strip():
            raise _no("it uses an extension that was not offered")
        chosen = found.get(b"sec-websocket-protocol")
        if chosen is None:
            return None
        subprotocol = b",".join(chosen).strip().decode("latin-1")
        if subprotocol not in self.offered:
            raise _no("it chose a subprotocol that was not offered")
        return subprotocol


def accept_of(key: bytes) -> bytes:
    """What the server answers a key with."""
    return b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


def without_handshake(fields: RawHeaders) -> RawHeaders:
    """The fields of an answer without those that the client's own server writes.

    Some servers fail where their `Date` would be the second one.
    """
    return [
        field
        for field in fields
        if not field[0].startswith(_PREFIX) and field[0] not in (b"date", b"server")
    ]


def _offer(request: Request, allowed: Collection[str] | None) -> list[str]:
    """What the client offers, each once and in its order, and no more than is allowed."""
    offered: dict[str, None] = {}
    for line in request.headers.getlist("sec-websocket-protocol"):
        for element in line.split(","):
            token = element.strip(" \t")
            if not token:
                continue
            if not _TOKEN.fullmatch(token):
                raise Rejected(
                    400,
                    "Sec-WebSocket-Protocol holds more than names.",
                    type="urn:gatekit:malformed-request",
                )
            if allowed is None or token in allowed:
                offered[token] = None
    return list(offered)


def _no(why: str) -> UpstreamError:
    return UpstreamError("protocol", f"the answer to the WebSocket handshake is wrong: {why}")
