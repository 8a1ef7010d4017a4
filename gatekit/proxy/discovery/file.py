"""Destinations in a file, which is read again when it has changed.

    Cluster("orders", resolver=File("/etc/gateway/orders.json"))

Either a JSON list of URLs and objects,

    ["http://orders-1:8002", {"url": "http://orders-2:8002", "weight": 3, "zone": "eu-1"}]

or lines of one URL each, with `#` before comments; the last line ends like the others. Which of
the two it is tells the first character.

**Replace it whole**: write another file beside it and rename that. One that is caught half-written
is most often refused, for its JSON or its last line is not complete; but nobody can tell a list
that ends early, at the end of a line, from a short one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any, cast

from gatekit._core.aside import Aside
from gatekit._core.io import IO
from gatekit._core.options import flag_problem, integer_problem, known_keywords, seconds_problem
from gatekit.errors import ConfigurationError, check
from gatekit.proxy.clusters.destination import Destination

_KEYS = ("url", "weight", "priority", "zone", "metadata", "host", "name")


@known_keywords
class File:
    """Looked at every `interval` seconds: it is read where its time, size or inode is another.

    At most `max_bytes` are read; a larger file is an error.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        interval: float = 5.0,
        timeout: float = 5.0,
        allow_empty: bool = False,
        max_bytes: int = 1_048_576,
    ) -> None:
        check(
            "File",
            path=_path_problem(path),
            interval=seconds_problem(interval),
            timeout=seconds_problem(timeout),
            allow_empty=flag_problem(allow_empty),
            max_bytes=integer_problem(max_bytes, 1),
        )
        self.path = Path(path)
        self.interval = interval
        self.timeout = timeout
        self.allow_empty = allow_empty
        self._max_bytes = max_bytes
        self._aside = Aside()
        self._known: tuple[tuple[int, ...], tuple[Destination, ...]] | None = None

    async def resolve(self, io: IO) -> tuple[Destination, ...]:
        # A disk may hang, such as one across a network.
        return await self._aside.call(io, self._read, seconds=self.timeout)

    def _read(self) -> tuple[Destination, ...]:
        with self.path.open("rb") as file:
            before = _signature(os.fstat(file.fileno()))
            known = self._known
            if known is not None and known[0] == before:
                return known[1]
            data = file.read(self._max_bytes + 1)
            after = _signature(os.fstat(file.fileno()))
        if before != after:
            raise ValueError(f"{self.path} was changed while it was read")
        if len(data) > self._max_bytes:
            raise ValueError(f"{self.path} is larger than {self._max_bytes} bytes")
        try:
            found = parse(data.decode("utf-8-sig"))
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from None
        self._known = after, found
        return found


class _Wrong(ValueError):
    """What the file says cannot be used."""


def parse(text: str) -> tuple[Destination, ...]:
    """What a file says; `ValueError` where it is wrong in any place."""
    text = text.lstrip()
    if not text:
        return ()
    if text[0] in "[{":
        return _of_json(text)
    if not text.endswith("\n"):
        raise _Wrong("the last line is not ended: is it half-written?")
    lines = (line.partition("#")[0].strip() for line in text.splitlines())
    return tuple(Destination(line) for line in lines if line)


def _path_problem(path: object) -> str | None:
    if isinstance(path, str | os.PathLike) and path:
        return None
    return f"must be a path, not {path!r}"


def _of_json(text: str) -> tuple[Destination, ...]:
    listed: object = json.loads(text)
    if not isinstance(listed, list):
        raise _Wrong("the JSON must be a list of URLs and objects")
    return tuple(_destination(entry) for entry in cast("list[object]", listed))


def _destination(entry: object) -> Destination:
    if isinstance(entry, str):
        return Destination(entry)
    if not isinstance(entry, dict):
        raise _Wrong(f"an entry must be a URL or an object, not {type(entry).__name__}")
    fields = cast("dict[str, Any]", dict(cast("dict[str, object]", entry)))
    unknown = sorted(fields.keys() - set(_KEYS))
    if unknown:
        raise _Wrong(f"unknown is {', '.join(unknown)}; known are {', '.join(_KEYS)}")
    url = fields.pop("url", None)
    if not isinstance(url, str):
        raise _Wrong('an object must have a "url"')
    try:
        return Destination(url, **fields)
    except ConfigurationError as error:
        wrong = "; ".join(f"{name} {what}" for name, what in error.problems.items())
        raise _Wrong(wrong) from None


def _signature(stat: os.stat_result) -> tuple[int, ...]:
    return stat.st_mtime_ns, stat.st_size, stat.st_ino, stat.st_dev
