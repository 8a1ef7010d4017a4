"""Frames towards an upstream, whole messages towards the gateway; no I/O.

    frames = Frames(max_message=1_048_576)
    for message in frames.feed(data): ...      # str or bytes, in order
    await tunnel.write(frames.output())        # pongs, the close: whatever is due
    data = frames.message(b"hello", is_text=True)       # bytes to write

The library `websockets` reads and writes the frames, answers pings and checks every rule of RFC
6455 on them. What it leaves to its caller is here: fragments become messages, their size is bounded
and text is UTF-8, looked at in every fragment, so that a wrong one ends the connection early.
"""

from __future__ import annotations

import logging
from codecs import IncrementalDecoder, getincrementaldecoder
from typing import NamedTuple, cast

from websockets.exceptions import ProtocolError
from websockets.frames import Frame, Opcode
from websockets.protocol import CLIENT, OPEN, Protocol

_TEXT, _BINARY = Opcode.TEXT, Opcode.BINARY
_DATA = (_TEXT, _BINARY, Opcode.CONT)
_UTF8 = getincrementaldecoder("utf-8")
# The library counts a ping between two fragments as a part of their message.
_LARGEST_CONTROL = 125
_NO_STATUS = 1005

logger = logging.getLogger("gatekit.websocket")


class Close(NamedTuple):
    """A close frame; `code` is 1005 where it has none (RFC 6455 §7.1.5)."""

    code: int
    reason: str


class Frames:
    """The client's end of one connection, after the handshake."""

    __slots__ = ("_fragments", "_max_message", "_mistake", "_protocol", "_utf8")

    def __init__(self, max_message: int) -> None:
        self._protocol = Protocol(CLIENT, max_size=max_message + _LARGEST_CONTROL, logger=logger)
        # Else it would log what people say to each other.
        self._protocol.debug = False
        self._max_message = max_message
        self._mistake: Close | None = None
        self._fragments: bytearray | None = None
        self._utf8: IncrementalDecoder | None = None

    def feed(self, data: bytes) -> list[str | bytes]:
        """The messages that are whole now; none after the upstream's close or its mistake."""
        protocol = self._protocol
        protocol.receive_data(data)
        messages: list[str | bytes] = []
        for event in cast("list[Frame]", protocol.events_received()):
            opcode = event.opcode
            try:
                if opcode is _TEXT and event.fin and len(event.data) <= self._max_message:
                    messages.append(str(event.data, "utf-8"))
                elif opcode in _DATA:
                    whole = self._piece(event)
                    if whole is not None:
                        messages.append(whole)
            except UnicodeDecodeError:
                self._fail(1007, "text is not UTF-8")
                break
            except _TooBig:
                self._fail(1009, "message too big")
                break
        return messages

    def end(self) -> None:
        """The upstream's stream of bytes is at its end."""
        self._protocol.receive_eof()

    def message(self, data: bytes, *, is_text: bool) -> bytes:
        """One message in one frame; text comes encoded. Only while it `is_open`."""
        # The protocol would keep it in a list until it is asked for it; nothing else is kept of it.
        return Frame(_TEXT if is_text else _BINARY, data).serialize(mask=True)

    def ping(self) -> bytes:
        self._protocol.send_ping(b"")
        return self.output()

    def close(self, code: int, reason: str) -> bytes:
        """A close frame, without a code for 1005 and for any that must not be in one."""
        protocol = self._protocol
        if protocol.state is not OPEN:
            return self.output()
        try:
            protocol.send_close(
                None if code == _NO_STATUS else code, "" if code == 1005 else reason
            )
        except ProtocolError:
            protocol.send_close()
        return self.output()

    def output(self) -> bytes:
        """What is due to be written."""
        return b"".join(self._protocol.data_to_send())

    @property
    def is_due(self) -> bool:
        """Whether there is something to write."""
        return bool(self._protocol.writes)

    @property
    def is_open(self) -> bool:
        """Neither side has closed it, nor made a mistake."""
        return self._protocol.state is OPEN

    @property
    def received_close(self) -> Close | None:
        close = self._protocol.close_rcvd
        return None if close is None or self.mistake else Close(int(close.code), close.reason)

    @property
    def mistake(self) -> Close | None:
        """What the upstream was told that it did wrong."""
        told = self._protocol.close_sent
        if self._mistake is not None or self._protocol.parser_exc is None or told is None:
            return self._mistake
        return Close(int(told.code), told.reason)

    def _fail(self, code: int, reason: str) -> None:
        self._mistake = Close(code, reason)
        self._protocol.fail(code, reason)

    def _piece(self, frame: Frame) -> str | bytes | None:
        """Adds a frame to its message, which is given when it is whole."""
        data, is_text = frame.data, frame.opcode is _TEXT
        if frame.opcode is not Opcode.CONT:
            if frame.fin and not is_text and len(data) <= self._max_message:
                return bytes(data)
            self._fragments = bytearray()
            self._utf8 = _UTF8() if is_text else None
        fragments = self._fragments
        assert fragments is not None
        fragments += data
        if len(fragments) > self._max_message:
            raise _TooBig
        if self._utf8 is not None:
            self._utf8.decode(data, frame.fin)
        if not frame.fin:
            return None
        self._fragments = None
        return bytes(fragments) if self._utf8 is None else fragments.decode()


class _TooBig(Exception):
    """A message is larger than is allowed."""
