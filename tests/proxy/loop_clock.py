"""A clock for background work: it runs through a job's sleeps, and holds the job at an end."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from typing import Any

from gatekit._core.io import IO
from gatekit.testing import FakeIO


class _Held:
    def __await__(self) -> Generator[None, None, None]:
        yield


class LoopClock(FakeIO):
    """Sleeps take no time; `run` goes on with the job it is given first, for so many seconds."""

    def __init__(self, now: float = 1_000.0) -> None:
        super().__init__(now)
        self._end = now
        self._steps: list[tuple[float, Callable[[], object]]] = []
        self._job: Coroutine[Any, Any, None] | None = None

    def at(self, seconds: float, step: Callable[[], object]) -> None:
        """Does this when so many seconds from now have passed."""
        self._steps.append((self.now() + seconds, step))

    def run(self, job: Callable[[IO], Coroutine[Any, Any, None]], seconds: float) -> None:
        self._end = self.now() + seconds
        if self._job is None:
            self._job = job(self)
        self._job.send(None)

    async def sleep(self, seconds: float) -> None:
        assert seconds > 0
        self.slept.append(seconds)
        due = self.now() + seconds
        while self.now() < due:
            if self.now() >= self._end:
                await _Held()
                continue
            times = [due, self._end, *(time for time, _ in self._steps)]
            self.advance(max(min(times) - self.now(), 0.0))
            for step in [step for step in self._steps if step[0] <= self.now()]:
                self._steps.remove(step)
                step[1]()

    def close(self) -> None:
        if self._job is not None:
            self._job.close()
