"""One request as it is: nothing is followed, decoded or joined, and each piece has its moment."""

from __future__ import annotations

import http.client
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

PATIENCE = 10.0
"""Seconds that an answer may be silent."""


@dataclass(frozen=True, slots=True)
class Call:
    """What is asked. `data` is the body as a shell writes it, where it is too long to be shown."""

    method: str
    target: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    data: str | None = None

    def curl(self, url: str) -> str:
        """The same request from a shell."""
        words = ["curl", "-i"]
        if self.method != ("GET" if self.body is None else "POST"):
            words += ["-X", self.method]
        for name, value in self.headers.items():
            words += ["-H", shlex.quote(f"{name}: {value}")]
        if self.body is not None:
            words += ["-d", self.data or shlex.quote(self.body.decode())]
        return " ".join([*words, shlex.quote(url + self.target)])


@dataclass(frozen=True, slots=True)
class Answer:
    """`pieces` are those of the body, each with the seconds after the request at which it came."""

    status: int
    reason: str
    fields: list[tuple[str, str]]
    pieces: list[tuple[float, bytes]]

    def values(self, name: str) -> list[str]:
        return [value for key, value in self.fields if key.lower() == name.lower()]

    def header(self, name: str) -> str:
        """Its value, several joined, empty if there is none."""
        return ", ".join(self.values(name))

    @property
    def body(self) -> bytes:
        return b"".join(piece for _, piece in self.pieces)

    @property
    def text(self) -> str:
        return self.body.decode("utf-8", "replace")


def send(
    port: int,
    call: Call,
    on_head: Callable[[Answer], None],
    on_piece: Callable[[float, bytes], None],
) -> Answer:
    """The whole answer; the callbacks are told of its head, and of each piece, as they come."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        started = time.monotonic()
        connection.request(call.method, call.target, call.body, dict(call.headers))
        response = connection.getresponse()
        answer = Answer(response.status, response.reason, response.getheaders(), [])
        on_head(answer)
        while piece := response.read1(65536):
            answer.pieces.append((time.monotonic() - started, piece))
            on_piece(*answer.pieces[-1])
        return answer
    finally:
        connection.close()
