"""A store that counts its calls, and fails or hangs when it is told to."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping

from gatekit.keys import KeyRecord, MemoryKeys

SECRET = b"a secret of thirty-two bytes ..."


class Clock:
    """A wall clock that stands still until it is advanced."""

    def __init__(self, now: float = 1_800_000_000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        self.now += seconds


class Watched(MemoryKeys):
    """`calls` counts; `error` is raised by the next calls; `hangs` never answers, under ASGI."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: Counter[str] = Counter()
        self.error: Exception | None = None
        self.hangs = False
        self.turns = 0
        self.touched: list[dict[str, float]] = []

    def get(self, key_id: str) -> KeyRecord | None:
        self.calls["get"] += 1
        if self.error is not None:
            raise self.error
        return super().get(key_id)

    async def aget(self, key_id: str) -> KeyRecord | None:
        self.calls["aget"] += 1
        for _ in range(self.turns):
            await asyncio.sleep(0)
        if self.hangs:
            await asyncio.Event().wait()
        if self.error is not None:
            raise self.error
        return super().get(key_id)

    def touch(self, uses: Mapping[str, float]) -> None:
        self.calls["touch"] += 1
        if self.error is not None:
            raise self.error
        self.touched.append(dict(uses))
        super().touch(uses)

    async def atouch(self, uses: Mapping[str, float]) -> None:
        self.touch(uses)
