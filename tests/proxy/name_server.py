"""A name server on loopback that says what a test wants, by UDP.

with NameServer({"orders.test.": {"A": (30, ["10.0.0.1", "10.0.0.2"])}}) as server:
    DNS("orders.test", port=80, ttl=True, nameservers=[server.address])
    server.zone["orders.test."]["A"] = (30, [])     # the name stays, the addresses go
    del server.zone["orders.test."]                 # NXDOMAIN
    server.fails = "SERVFAIL"                       # or "silent", or "garbage"
"""

from __future__ import annotations

import socket
import threading
from types import TracebackType
from typing import Literal, Self, TypeAlias

import dns.flags
import dns.message
import dns.rcode
import dns.rdatatype
import dns.rrset

Zone: TypeAlias = dict[str, dict[str, tuple[int, list[str]]]]


class NameServer:
    """`asked` lists the questions, such as `"orders.test. A"`."""

    def __init__(self, zone: Zone) -> None:
        self.zone = zone
        self.fails: Literal["SERVFAIL", "silent", "garbage"] | None = None
        self.asked: list[str] = []
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self._socket.getsockname()[1]}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # An empty datagram: closing a socket does not wake who waits for it.
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.sendto(b"", self._socket.getsockname())
        self._thread.join(10.0)
        self._socket.close()

    def _serve(self) -> None:
        while True:
            data, client = self._socket.recvfrom(4096)
            if not data:
                return
            if (answer := self._answer(data)) is not None:
                self._socket.sendto(answer, client)

    def _answer(self, data: bytes) -> bytes | None:
        query = dns.message.from_wire(data)
        [question] = query.question
        name, kind = question.name.to_text(), dns.rdatatype.to_text(question.rdtype)
        self.asked.append(f"{name} {kind}")
        if self.fails == "silent":
            return None
        if self.fails == "garbage":
            return b"\x00" * 7
        answer = dns.message.make_response(query)
        answer.flags |= dns.flags.RA
        if self.fails == "SERVFAIL":
            answer.set_rcode(dns.rcode.SERVFAIL)
        elif name not in self.zone:
            answer.set_rcode(dns.rcode.NXDOMAIN)
        else:
            ttl, records = self.zone[name].get(kind, (0, []))
            if records:
                answer.answer.append(dns.rrset.from_text_list(name, ttl, "IN", kind, records))
        return answer.to_wire()
