"""Keys in this process alone: for tests, and for a table that is filled at start.

    store = MemoryKeys([record, another])

Each worker process has its own, so what one of them creates or revokes the others do not know.
"""

from __future__ import annotations

from bisect import bisect_right, insort
from collections.abc import Iterable, Mapping
from dataclasses import replace

from gatekit._core.latch import Latch
from gatekit.keys.record import KeyRecord


class MemoryKeys:
    """`records` are there from the beginning."""

    __slots__ = ("_latch", "_order", "_records")

    def __init__(self, records: Iterable[KeyRecord] = ()) -> None:
        self._records = {record.id: record for record in records}
        self._order = sorted(self._records)
        self._latch = Latch()

    def get(self, key_id: str) -> KeyRecord | None:
        return self._records.get(key_id)

    async def aget(self, key_id: str) -> KeyRecord | None:
        return self._records.get(key_id)

    def add(self, record: KeyRecord) -> None:
        lock = self._latch.take()
        try:
            if record.id in self._records:
                raise KeyError(record.id)
            self._records[record.id] = record
            insort(self._order, record.id)
        finally:
            lock.release()

    async def aadd(self, record: KeyRecord) -> None:
        self.add(record)

    def replace(self, record: KeyRecord) -> None:
        lock = self._latch.take()
        try:
            known = self._records[record.id]
            if known.revoked_at is not None:
                raise KeyError(record.id)
            self._records[record.id] = replace(record, last_used_at=known.last_used_at)
        finally:
            lock.release()

    async def areplace(self, record: KeyRecord) -> None:
        self.replace(record)

    def page(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        lock = self._latch.take()
        try:
            found: list[KeyRecord] = []
            for key_id in self._order[bisect_right(self._order, after) :]:
                record = self._records[key_id]
                if subject is None or record.subject == subject:
                    found.append(record)
                    if len(found) >= limit:
                        break
            return found
        finally:
            lock.release()

    async def apage(self, after: str, limit: int, subject: str | None = None) -> list[KeyRecord]:
        return self.page(after, limit, subject)

    def touch(self, uses: Mapping[str, float]) -> None:
        lock = self._latch.take()
        try:
            for key_id, moment in uses.items():
                record = self._records.get(key_id)
                if record is not None and (record.last_used_at or 0) < moment:
                    self._records[key_id] = replace(record, last_used_at=moment)
        finally:
            lock.release()

    async def atouch(self, uses: Mapping[str, float]) -> None:
        self.touch(uses)

    def __repr__(self) -> str:
        return f"MemoryKeys({len(self._records)} keys)"
