"""What the options of a health check must look like: what is wrong with one, or None."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import cast

from gatekit._core.options import function_problem, name_problem, value_problem
from gatekit.proxy.fields import is_host

_TARGET = re.compile(r"/[!\"$-~]*")


def path_problem(path: object) -> str | None:
    if isinstance(path, str) and _TARGET.fullmatch(path):
        return None
    return f"must be a path, with its query if any, such as '/health', not {path!r}"


def probe_problem(probe: object, mode: str) -> str | None:
    if probe is not None and mode != "http":
        return f"takes the place of mode={mode!r}: leave one of them out"
    return function_problem(probe, takes_async=True)


def expect_problem(expect: object) -> str | None:
    statuses = statuses_of(cast("int | Collection[int]", expect))
    if not statuses:
        return f"must be a status, a range or a list of them, not {expect!r}"
    for status in cast("Collection[object]", statuses):
        if not isinstance(status, int) or isinstance(status, bool) or not 200 <= status <= 599:
            return f"{status!r} is not a final status from 200 to 599"
    return None


def statuses_of(expect: int | Collection[int]) -> Collection[int] | None:
    if isinstance(expect, int) and not isinstance(expect, bool):
        return (expect,)
    if isinstance(expect, str | bytes | Mapping) or not isinstance(expect, Collection):
        return None
    return expect


def pattern_problem(body: object) -> str | None:
    if body is None:
        return None
    if isinstance(body, re.Pattern):
        text = cast("re.Pattern[str] | re.Pattern[bytes]", body).pattern
        return None if isinstance(text, bytes) else f"{text!r} must be a pattern of bytes"
    if not isinstance(body, str | bytes):
        return f"must be a regular expression in a string or bytes, not {body!r}"
    try:
        pattern_of(body)
    except re.error as error:
        return f"{body!r} is not a regular expression: {error}"
    return None


def pattern_of(body: str | bytes | re.Pattern[bytes]) -> re.Pattern[bytes]:
    return re.compile(body.encode() if isinstance(body, str) else body)


def headers_problem(headers: object) -> str | None:
    if headers is None:
        return None
    if not isinstance(headers, Mapping):
        return f"must be a mapping of names to values, not {type(headers).__name__}"
    found: list[str] = []
    for name, value in cast("Mapping[object, object]", headers).items():
        wrong = name_problem(name)
        if wrong is None and str(name).lower() == "host":
            wrong = "Host has an option of its own, host"
        if wrong is None and value_problem(value):
            # A value may be a secret: it is not shown.
            wrong = f"the value of {name!r} cannot stand in a header field"
        if wrong:
            found.append(wrong)
    return "; ".join(found) or None


def host_problem(host: object) -> str | None:
    if host is None or (isinstance(host, str) and is_host(host)):
        return None
    return f"{host!r} is not a host to send"


def port_problem(port: object) -> str | None:
    return None if port is None else required_port_problem(port)


def required_port_problem(port: object) -> str | None:
    if isinstance(port, int) and not isinstance(port, bool) and 0 < port < 65536:
        return None
    return f"must be a port from 1 to 65535, not {port!r}"


def jitter_problem(jitter: object, most: float = float("inf")) -> str | None:
    if not isinstance(jitter, int | float) or isinstance(jitter, bool) or not 0 <= jitter <= most:
        limit = "" if most == float("inf") else f" and at most {most}"
        return f"must be a number of at least 0{limit}, not {jitter!r}"
    return None
