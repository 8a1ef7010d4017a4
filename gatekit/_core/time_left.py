"""Header fields in which one side tells the other how much time a request still has.

    seconds_in("x-request-timeout", "2.5")      # 2.5
    seconds_in("grpc-timeout", "250m")          # 0.25
    field_for(b"grpc-timeout", 0.25)            # b"250m"

`grpc-timeout` has units of its own (PROTOCOL-HTTP2 of gRPC); every other field holds seconds.
"""

from __future__ import annotations

import re

GRPC_TIMEOUT = "grpc-timeout"

_SECONDS = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9})?")
_WITH_UNIT = re.compile(r"([0-9]{1,8})([HMSmun])")
_UNITS = {"H": 3600.0, "M": 60.0, "S": 1.0, "m": 1e-3, "u": 1e-6, "n": 1e-9}


def seconds_in(name: str, value: str) -> float | None:
    """None where it does not say a time above 0."""
    if name == GRPC_TIMEOUT:
        found = _WITH_UNIT.fullmatch(value)
        seconds = 0.0 if found is None else int(found[1]) * _UNITS[found[2]]
    else:
        seconds = float(value) if _SECONDS.fullmatch(value) else 0.0
    return seconds if seconds > 0 else None


def field_for(name: bytes, seconds: float) -> bytes:
    """The value that says it, to the millisecond below."""
    # Eight digits are all that gRPC allows: 27 hours.
    milliseconds = min(int(seconds * 1000), 99_999_999)
    if name == b"grpc-timeout":
        return b"%dm" % milliseconds
    return b"%d.%03d" % divmod(milliseconds, 1000)
