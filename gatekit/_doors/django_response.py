"""Between Django's responses and a response: status, header fields and cookies, both ways.

Only what a middleware changed is written back. Cookies are fields to a middleware and objects to
Django: those that no middleware touched stay the very objects they were, and a new one is sent as
its line says, unless Django code behind it changes it once more.
"""

from __future__ import annotations

from collections.abc import Container
from http.cookies import CookieError, Morsel, SimpleCookie
from typing import Any

from django.http.response import HttpResponseBase

from gatekit._core.messages import Response
from gatekit._core.problems import reason
from gatekit.typing import RawHeaders

SET_COOKIE = b"set-cookie"


def fields_of(response: HttpResponseBase) -> RawHeaders:
    """The response's fields with a `set-cookie` for each of its cookies."""
    raw = [
        (name.lower().encode("ascii"), value.encode("latin-1")) for name, value in response.items()
    ]
    raw.extend((SET_COOKIE, _line(cookie)) for cookie in response.cookies.values())
    return raw


def put_head(response: HttpResponseBase, before: RawHeaders, answer: Response) -> None:
    """Writes what differs from `before`, the fields that the response had."""
    if answer.status != response.status_code:
        response.status_code = answer.status
        response.reason_phrase = reason(answer.status)
    after = [(name.lower(), value) for name, value in answer.raw_headers]
    if after == before:
        return
    spelling = {name.lower(): name for name, _ in response.items()}
    old, new = _grouped(before), _grouped(after)
    for name in {**old, **new}:
        key = name.decode("latin-1")
        if name == SET_COOKIE or old.get(name) == new.get(name):
            continue
        if name in new:
            # Django has one field of a name: several are joined as RFC 9110 §5.3 allows.
            response[spelling.get(key, key.title())] = b", ".join(new[name]).decode("latin-1")
        else:
            del response[key]
    if old.get(SET_COOKIE) != new.get(SET_COOKIE):
        _put_cookies(response, new.get(SET_COOKIE, []))


class SetCookie(Morsel[str]):
    """A cookie that came as a line and is sent as that line.

    It is a morsel of `http.cookies` for whoever reads it: name, value and the attributes known
    there. Changed through these, it is sent as they then say.
    """

    def __init__(self, line: str) -> None:
        super().__init__()
        self._line = line
        pair, *attributes = line.split(";")
        name, _, value = pair.partition("=")
        try:
            self.set(name.strip(), *SimpleCookie().value_decode(value.strip()))
            for attribute in attributes:
                key, _, text = attribute.strip().partition("=")
                if self.isReservedKey(key):
                    flag = key.lower() in self._flags  # type: ignore[attr-defined]
                    self[key] = True if flag else text.strip()
        except CookieError:
            pass  # A name or value that Python would not send: the line is still the upstream's.
        self._read = self._now()

    def OutputString(self, attrs: Container[str] | None = None) -> str:  # noqa: N802 — Morsel's name
        """The line, without a field name."""
        return self._line if self._now() == self._read else super().OutputString(attrs)

    def __reduce__(self) -> tuple[type[SetCookie], tuple[str]]:
        return type(self), (self.OutputString(),)

    def _now(self) -> tuple[object, ...]:
        return self.key, self.value, self.coded_value, dict(self)


def _put_cookies(response: HttpResponseBase, lines: list[bytes]) -> None:
    """Keeps the cookies whose lines are still there, drops the others, adds the rest."""
    missing = list(lines)
    for key, cookie in list(response.cookies.items()):
        if (line := _line(cookie)) in missing:
            missing.remove(line)
        else:
            del response.cookies[key]
    by_hand = response.get("Set-Cookie")
    if by_hand is not None and by_hand.encode("latin-1") in missing:
        missing.remove(by_hand.encode("latin-1"))
    elif by_hand is not None:
        del response["Set-Cookie"]
    for line in missing:
        cookie = SetCookie(_ascii(line))
        key = cookie.key or "?"
        # Two cookies of one name and different paths are two; Django's dictionary has one place.
        while key in response.cookies:
            key += ";"
        response.cookies[key] = cookie


def _line(cookie: Morsel[Any]) -> bytes:
    return cookie.OutputString().encode("latin-1", "replace")


def _ascii(line: bytes) -> str:
    """Django's ASGI handler sends cookies in ASCII only, and fails on any other."""
    return "".join(chr(byte) if byte < 0x80 else f"%{byte:02X}" for byte in line)


def _grouped(raw: RawHeaders) -> dict[bytes, list[bytes]]:
    fields: dict[bytes, list[bytes]] = {}
    for name, value in raw:
        fields.setdefault(name, []).append(value)
    return fields
